// Requests to the platform.  The token is kept in `sessionStorage`.

import { segmentName } from "./format.js";
import { T } from "./strings.js";

const KEY = "chatfiles-token";

/** The platform, also where it is mounted below a prefix: this page is at ui/ or links/upload. */
export const BASE = new URL("../", location.href);

/** What is thrown for a request that fails; `sentence` is for people. */
const failure = (status, sentence, more = {}) => Object.assign(new Error(sentence), { status, sentence, ...more });

/** The error in a response; `wait` are seconds. */
function errorOf(response) {
	const { status, responseText } = response;
	let body = {};
	try {
		body = JSON.parse(responseText);
	} catch {
		// a proxy may respond with anything
	}
	const { error, code, request_id: requestId } = body ?? {};
	const wait = Number(response.getResponseHeader("Retry-After"));
	return failure(status, typeof error === "string" ? error : T.unexpected(status), { code, requestId, wait });
}

/** Sends a request.  Not `fetch`: only this tells how much has been sent. */
export function exchange(method, url, { headers, body = null, progress, signal } = {}) {
	return new Promise((resolve, reject) => {
		signal?.throwIfAborted();
		const request = new XMLHttpRequest();
		request.open(method, url);
		for (const [name, value] of Object.entries({ Accept: "application/json", ...headers })) {
			request.setRequestHeader(name, value);
		}
		if (progress) request.upload.onprogress = (event) => progress(event.loaded);
		request.onload = () => {
			if (request.status >= 200 && request.status < 300) resolve(request);
			else reject(errorOf(request));
		};
		request.onerror = () => reject(failure(0, T.offline));
		request.onabort = () => reject(signal.reason);
		signal?.addEventListener("abort", () => request.abort());
		request.send(body);
	});
}

export class Api {
	token = sessionStorage.getItem(KEY) ?? "";
	writable = {}; // which directories of a workspace can be changed

	/** `refused` is called when the token is not valid any more. */
	constructor(refused) {
		this.refused = refused;
	}

	remember(token) {
		this.token = token;
		if (token) sessionStorage.setItem(KEY, token);
		else sessionStorage.removeItem(KEY);
	}

	/** As `exchange`, with the token.  `asks`: whether it is valid. */
	ask = async (method, url, { headers, asks = false, ...more } = {}) => {
		try {
			// Typographic quotes, for example.
			if (/[^!-~]/.test(this.token)) throw failure(401, T.tokenInvalid);
			const all = { Authorization: `Bearer ${this.token}`, ...headers };
			return await exchange(method, url, { headers: all, ...more });
		} catch (error) {
			if (error.status !== 401 || asks) throw error;
			this.refused();
			return new Promise(() => {}); // what waits for this is no longer on the page
		}
	};

	async call(method, path, { body, headers, ...more } = {}) {
		const all = body ? { "Content-Type": "application/json", ...headers } : headers;
		const options = { ...more, headers: all, body: body && JSON.stringify(body) };
		const { responseText } = await this.ask(method, new URL(path, BASE), options);
		return responseText ? JSON.parse(responseText) : null;
	}

	get(path, more) {
		return this.call("GET", path, more);
	}

	async roots(workspace, more) {
		const { roots } = await this.get(`workspaces/${workspace}/fs/roots`, more);
		this.writable[workspace] = roots.flatMap((root) => root.writable ?? []);
		return roots;
	}

	/** Whether entries of a directory can be changed. */
	async changes(workspace, ref) {
		if (!this.writable[workspace]) await this.roots(workspace).catch(() => {});
		return this.writable[workspace]?.some((prefix) => `${segmentName(ref)}/`.startsWith(`${prefix}/`));
	}

	async link(workspace, body) {
		const made = await this.call("POST", `workspaces/${workspace}/links`, { body });
		// What the page loads itself must be of its own origin, which is not always the public one.
		const { pathname, search } = new URL(made.url, BASE);
		const own = new URL(/links\/(file|archive|upload)$/.exec(pathname)[0] + search, BASE);
		return { url: own, shown: made.url.startsWith("/") ? own.href : made.url, expires: made.expires_at };
	}

	/** A link to download a file or folder, which works. */
	async downloadLink(workspace, entry) {
		const operation = entry.type === "directory" ? "archive" : "file";
		const { url } = await this.link(workspace, { operation, ref: entry.ref, expires_in: 3600 });
		// A response to HEAD has no sentence.
		const again = () => exchange("GET", url, { headers: { Range: "bytes=0-0" }, signal: AbortSignal.timeout(5000) });
		await exchange("HEAD", url).catch(again);
		return url;
	}
}
