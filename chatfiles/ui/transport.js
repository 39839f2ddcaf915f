// Sends files: each in one form, or so that it continues where it was interrupted.

import { ApiError, errorOf } from "./api.js";
import { T } from "./strings.js";

/**
 * Not `fetch`: only this tells how much has been sent.
 *
 * @returns {Promise<XMLHttpRequest>} whatever the status is; rejects if there is no response.
 */
export function exchange(method, url, { headers = {}, body = null, progress, signal } = {}) {
	return new Promise((resolve, reject) => {
		signal?.throwIfAborted();
		const request = new XMLHttpRequest();
		request.open(method, url);
		for (const [name, value] of Object.entries({ Accept: "application/json", ...headers })) {
			request.setRequestHeader(name, value);
		}
		if (progress) request.upload.onprogress = (event) => progress(event.loaded);
		request.onload = () => resolve(request);
		request.onerror = () => reject(new ApiError(0, null, T.connectionLost));
		request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
		signal?.addEventListener("abort", () => request.abort());
		request.send(body);
	});
}

/**
 * @param {URL} url that takes the form.
 * @param {() => object} headers of the request.
 * @param {() => void} refused called when the credential is not valid any more.
 * @returns {import("./queue.js").Transport}
 */
export function formTransport(url, headers = () => ({}), refused = () => {}) {
	return {
		async send({ file }, { progress, signal }) {
			const body = new FormData();
			body.append("files", file, file.name);
			const { status, responseText } = await exchange("POST", url, { headers: headers(), body, progress, signal });
			if (status === 401) refused();
			try {
				if (status !== 200) throw status;
				const path = JSON.parse(responseText).files[0].uri.replace(/^workspace:/, "");
				return { ref: path.split("/").map(encodeURIComponent).join("/") };
			} catch {
				throw errorOf(status, responseText);
			}
		},
	};
}
