// Sends a file so that it continues where it was interrupted, also after a reload: tus 1.0.0.

import { errorOf } from "./api.js";
import { exchange } from "./transport.js";

/** What may pass: no response, another request for the same upload, a limit, a restart. */
const PASSING = [0, 409, 423, 429, 502, 503, 504];
/** After as many failures without a new byte, ten minutes, the person decides. */
const MOST_FAILURES = 24;
const LONGEST_WAIT_S = 30;
const UNTIL_ONLINE_MS = 2 ** 31 - 1;
const KEY = "chatfiles-upload ";

export class TusTransport {
	#offered = null;
	#running = new Map(); // uploads, by the keys of their records

	/**
	 * @param {URL} url where uploads are created.
	 * @param {() => object} headers with the credential, or empty.
	 * @param {() => void} refused called when the credential is not valid any more.
	 * @param {import("./queue.js").Transport} form for those that do not have these uploads.
	 */
	constructor(url, headers, refused, form) {
		Object.assign(this, { url, headers, refused, form });
	}

	/** @returns what an earlier page of this tab has not finished: `{name, size, lastModified, url}`. */
	unfinished() {
		const prefix = KEY + this.url;
		return Object.entries(sessionStorage).filter(([key]) => key.startsWith(prefix))
			.map(([key, url]) => ({ ...JSON.parse(key.slice(prefix.length)), url }));
	}

	async send(upload, events) {
		const key = this.#key(upload);
		if (!this.#running.has(key)) this.#running.set(key, upload); // the same file twice: two uploads
		if (this.#running.get(key) === upload) upload.url ??= sessionStorage.getItem(key);
		events.signal.addEventListener("abort", () => this.discard(upload));
		try {
			return await this.#persist(upload, events);
		} finally {
			if (this.#running.get(key) === upload) this.#running.delete(key);
		}
	}

	/** Removes what was sent.  Without a credential it is kept, for after the next sign-in. */
	discard(upload) {
		if (!upload.url || !this.headers().Authorization) return;
		this.#ask("DELETE", upload.url).catch(() => {}); // then it expires
		this.#forget(upload);
	}

	async #persist(upload, events) {
		let failures = 0;
		let furthest = 0;
		for (;;) {
			try {
				return await this.#attempt(upload, events);
			} catch (error) {
				if (upload.offset > furthest) failures = 0;
				furthest = upload.offset;
				const passes = PASSING.includes(error.status) || error.code === "upload_not_found";
				if (!passes || failures >= MOST_FAILURES) throw error;
				events.waits(error);
				await pause(error.retryAfter || Math.min(2 ** failures, LONGEST_WAIT_S), events.signal);
				failures += 1;
			}
		}
	}

	async #attempt(upload, { progress, waits, signal }) {
		this.#offered ??= await this.#isOffered(signal);
		let answer = this.#offered && ((await this.#look(upload, signal)) ?? (await this.#create(upload, signal)));
		if (!answer) return this.form.send(upload, { progress, waits, signal });
		upload.offset = Number(answer.getResponseHeader("Upload-Offset"));
		if (!uriOf(answer)) {
			progress(upload.offset, true);
			const headers = { "Content-Type": "application/offset+octet-stream", "Upload-Offset": upload.offset };
			const rest = upload.file.slice(upload.offset);
			const sent = (bytes) => progress(upload.offset + bytes);
			answer = await this.#ask("PATCH", upload.url, { headers, body: rest, progress: sent, signal });
		}
		if (!uriOf(answer)) throw errorOf(answer.status, "");
		this.#forget(upload);
		return { ref: uriOf(answer) };
	}

	/** @returns the response that has the offset; null if there is no such upload, or no longer. */
	async #look(upload, signal) {
		if (!upload.url) return null;
		try {
			return await this.#ask("HEAD", upload.url, { signal });
		} catch (error) {
			if (![403, 404, 410].includes(error.status)) throw error;
			this.#forget(upload);
			return null;
		}
	}

	/** @returns the response; null if the workspace does not have these uploads. */
	async #create(upload, signal) {
		const { name, type, size } = upload.file;
		const metadata = `filename ${base64(name)}${type && `,filetype ${base64(type)}`}`;
		try {
			const headers = { "Upload-Length": size, "Upload-Metadata": metadata };
			const made = await this.#ask("POST", this.url, { headers, signal });
			// The path is not that of a platform below a prefix.
			upload.url = `${this.url}/${made.getResponseHeader("Location").split("/").at(-1)}`;
			const key = this.#key(upload);
			if (this.#running.get(key) === upload) sessionStorage.setItem(key, upload.url);
			return made;
		} catch (error) {
			if (error.status !== 501) throw error;
			this.#offered = false;
			return null;
		}
	}

	async #isOffered(signal) {
		const answer = await exchange("OPTIONS", this.url, { signal });
		if (PASSING.includes(answer.status)) throw errorOf(answer.status, answer.responseText);
		return (answer.getResponseHeader("Tus-Extension") ?? "").includes("creation");
	}

	async #ask(method, url, { headers, ...more } = {}) {
		const all = { "Tus-Resumable": "1.0.0", ...this.headers(), ...headers };
		const answer = await exchange(method, url, { headers: all, ...more });
		const { status, responseText } = answer;
		if (status >= 200 && status < 300) return answer;
		if (status === 401) this.refused();
		const retryAfter = Number(answer.getResponseHeader("Retry-After"));
		throw Object.assign(errorOf(status, responseText), { retryAfter });
	}

	#key({ name, file: { size, lastModified } }) {
		return KEY + this.url + JSON.stringify({ name, size, lastModified });
	}

	#forget(upload) {
		const key = this.#key(upload);
		if (sessionStorage.getItem(key) === upload.url) sessionStorage.removeItem(key);
		upload.url = null;
	}
}

/** Where the file is: a response has it once the upload is finished. */
const uriOf = (answer) => answer.getResponseHeader("Chatfiles-Uri")?.replace(/^workspace:/, "");

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

/** Waits; until the browser is online again if it is not. */
function pause(seconds, signal) {
	return new Promise((resolve, reject) => {
		setTimeout(resolve, navigator.onLine ? seconds * 1000 : UNTIL_ONLINE_MS);
		addEventListener("online", resolve, { once: true, signal });
		signal.addEventListener("abort", () => reject(signal.reason));
	});
}
