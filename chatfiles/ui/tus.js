// Sends a file so that it continues where it was interrupted: tus 1.0.0 (reference/resumable).

import { T } from "./strings.js";

/** What may pass: no response, another request for the same upload, a limit, a restart. */
const PASSING = [0, 409, 423, 429, 502, 503, 504];
/** After so many failures without a new byte, ten minutes, the person decides. */
const MOST_FAILURES = 24;
const LONGEST_WAIT_S = 30;
const SMALL = 1 << 20; // sent in one request

/** A transport; `form` is that for small files, and where there are no such uploads. */
export function tusTransport(url, api, form) {
	// What is unfinished is recorded in this tab, for after a reload.
	const prefix = `chatfiles-upload ${url}`;
	const keyOf = ({ name, size, lastModified }) => prefix + JSON.stringify({ name, size, lastModified });
	const ask = (method, address, { headers, ...more } = {}) =>
		api.ask(method, address, { headers: { "Tus-Resumable": "1.0.0", ...headers }, ...more });

	function forget(upload) {
		sessionStorage.removeItem(keyOf(upload));
		upload.url = null;
	}

	/** Removes what was sent.  Without a token it is kept, for after the next sign-in. */
	function discard(upload) {
		if (!upload.url || !api.token) return;
		ask("DELETE", upload.url).catch(() => {}); // then it expires
		forget(upload);
	}

	/** Null if there is none. */
	async function look(upload, signal) {
		upload.url ??= sessionStorage.getItem(keyOf(upload));
		if (!upload.url) return null;
		try {
			return await ask("HEAD", upload.url, { signal });
		} catch (error) {
			if (![403, 404].includes(error.status)) throw error;
			return forget(upload) ?? null;
		}
	}

	async function create(upload, signal) {
		const { name, type, size } = upload.file;
		const metadata = `filename ${base64(name)}${type && `,filetype ${base64(type)}`}`;
		const made = await ask("POST", url, { headers: { "Upload-Length": size, "Upload-Metadata": metadata }, signal });
		// The path in `Location` is not right for a platform below a prefix.
		upload.url = `${url}/${made.getResponseHeader("Location").split("/").at(-1)}`;
		sessionStorage.setItem(keyOf(upload), upload.url);
		return made;
	}

	async function attempt(upload, { progress, signal }) {
		let answer = (await look(upload, signal)) ?? (await create(upload, signal));
		if (!refOf(answer)) {
			const offset = Number(answer.getResponseHeader("Upload-Offset"));
			upload.offset = offset;
			progress(offset, true);
			answer = await ask("PATCH", upload.url, {
				headers: { "Content-Type": "application/offset+octet-stream", "Upload-Offset": offset },
				body: upload.file.slice(offset), progress: (sent) => progress(offset + sent), signal,
			});
		}
		const ref = refOf(answer);
		if (!ref) throw new Error("no Chatfiles-Uri");
		forget(upload);
		return { ref };
	}

	async function send(upload, events) {
		if (upload.size <= SMALL) return form.send(upload, events);
		const { signal, waits } = events;
		signal.addEventListener("abort", () => discard(upload));
		for (let failures = 0, furthest = 0; ; failures += 1) {
			try {
				return await attempt(upload, events);
			} catch (error) {
				const { status, code, wait } = error;
				if (status === 501 || code === "no_route") return form.send(upload, events);
				if (upload.offset > furthest) [failures, furthest] = [0, upload.offset];
				const passes = PASSING.includes(status) || code === "upload_not_found";
				if (!passes || failures === MOST_FAILURES) throw error;
				waits(status === 409 ? { sentence: T.offline } : error); // the browser has sent it again
				await pause(wait || Math.min(2 ** failures, LONGEST_WAIT_S), signal);
			}
		}
	}

	const unfinished = () => Object.entries(sessionStorage).filter(([key]) => key.startsWith(prefix))
		.map(([key, address]) => ({ ...JSON.parse(key.slice(prefix.length)), url: address }));

	return { send, discard, unfinished };
}

/** Where the file is: a response says so once the upload is finished. */
const refOf = (answer) => answer.getResponseHeader("Chatfiles-Uri")?.replace("workspace:", "");

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

/** Waits, if the browser is offline until it no longer is. */
function pause(seconds, signal) {
	return new Promise((resolve, reject) => {
		if (navigator.onLine) setTimeout(resolve, seconds * 1000);
		addEventListener("online", resolve, { once: true, signal });
		signal.addEventListener("abort", () => reject(signal.reason));
	});
}
