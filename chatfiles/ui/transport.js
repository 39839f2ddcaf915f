// Sends a file as a form.

import { exchange } from "./api.js";

/** A transport; `ask` sends its requests. */
export function formTransport(url, ask = exchange) {
	return {
		async send({ file }, { progress, signal }) {
			const body = new FormData();
			body.append("files", file, file.name);
			const { responseText } = await ask("POST", url, { body, progress, signal });
			const path = JSON.parse(responseText).files[0].uri.replace("workspace:", "");
			return { ref: path.split("/").map(encodeURIComponent).join("/") };
		},
	};
}
