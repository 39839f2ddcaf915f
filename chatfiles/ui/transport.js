// Sends a file as a form.

import { errorOf, exchange } from "./api.js";

/** A transport; `ask` sends its requests. */
export function formTransport(url, ask = exchange) {
	return {
		async send({ file }, { progress, signal }) {
			const body = new FormData();
			body.append("files", file, file.name);
			const response = await ask("POST", url, { body, progress, signal });
			try {
				const path = JSON.parse(response.responseText).files[0].uri.replace("workspace:", "");
				return { ref: path.split("/").map(encodeURIComponent).join("/") };
			} catch {
				throw errorOf(response); // something else responded
			}
		},
	};
}
