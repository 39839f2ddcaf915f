// Sends one file as one form.  Resumable uploads will be another transport.

import { ApiError, errorOf } from "./api.js";
import { T } from "./strings.js";

/**
 * @param {URL} url that takes the form.
 * @param {() => object} headers of the request.
 * @param {() => void} refused called when the credential is not valid any more.
 * @returns {import("./queue.js").Transport}
 */
export function formTransport(url, headers = () => ({}), refused = () => {}) {
	return {
		send: (file, { progress, signal }) =>
			new Promise((resolve, reject) => {
				// Not `fetch`: only this tells how much has been sent.
				const request = new XMLHttpRequest();
				request.open("POST", url);
				request.setRequestHeader("Accept", "application/json");
				for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
				request.upload.onprogress = (event) => progress(event.loaded);
				request.onload = () => {
					if (request.status === 401) refused();
					const stored = storedFile(request);
					if (stored) resolve(stored);
					else reject(errorOf(request.status, request.responseText));
				};
				request.onerror = () => reject(new ApiError(0, null, T.interrupted));
				request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
				signal.addEventListener("abort", () => request.abort());
				const form = new FormData();
				form.append("files", file, file.name);
				request.send(form);
			}),
	};
}

/** The file that was stored, or null. */
function storedFile({ status, responseText }) {
	try {
		const file = status === 200 && JSON.parse(responseText).files[0];
		return typeof file.uri === "string" ? file : null;
	} catch {
		return null;
	}
}

/** The files of a drop, those in folders too, as `{file, name}` with the path as name. */
export async function droppedFiles(transfer) {
	// The entries must be taken before the first wait: the list is empty afterwards.
	const items = [...(transfer.items ?? [])].filter((item) => item.kind === "file");
	const entries = items.map((item) => item.webkitGetAsEntry?.() ?? null);
	const plain = [...transfer.files].map((file) => ({ file, name: file.name }));
	if (!entries.some((entry) => entry?.isDirectory)) return plain;
	const found = [];
	for (const entry of entries) if (entry) await collect(entry, "", found);
	return found;
}

async function collect(entry, above, found) {
	const name = above + entry.name;
	if (entry.isFile) {
		const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
		if (file) found.push({ file, name });
		return;
	}
	const reader = entry.createReader();
	for (;;) {
		// Entries come in batches of about a hundred, until there are none.
		const batch = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
		if (!batch.length) return;
		for (const each of batch) await collect(each, `${name}/`, found);
	}
}
