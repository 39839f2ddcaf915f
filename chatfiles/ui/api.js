// Requests to the platform.  The token is in `sessionStorage` and travels only in `Authorization`.

import { segmentName } from "./format.js";
import { T } from "./strings.js";

const KEY = "chatfiles-token";

/** The platform, also where it is mounted below a prefix: this page is at ui/ or links/upload. */
export const BASE = new URL("../", location.href);

export class ApiError extends Error {
	constructor(status, body, fallback) {
		super(body?.error ?? fallback ?? T.unexpected(status));
		this.status = status;
		this.sentence = this.message;
		this.code = body?.code ?? "";
		this.requestId = body?.request_id ?? "";
	}
}

/** The error in a response, of which `text` is the body. */
export function errorOf(status, text) {
	let body = null;
	try {
		body = JSON.parse(text);
	} catch {
		// a proxy between us and the platform may respond with anything
	}
	return new ApiError(status, typeof body?.error === "string" ? body : null);
}

export class Api {
	/** @param {() => void} refused called when the token is not valid any more. */
	constructor(refused) {
		this.refused = refused;
		this.writable = {};
		this.token = sessionStorage.getItem(KEY) ?? "";
	}

	remember(token) {
		this.token = token;
		if (token) sessionStorage.setItem(KEY, token);
		else sessionStorage.removeItem(KEY);
	}

	get headers() {
		return this.token ? { Authorization: `Bearer ${this.token}` } : {};
	}

	/** @returns what the platform responds; throws `ApiError`. */
	async call(method, path, { body, signal, headers, asks = false } = {}) {
		// Typographic quotes around a token, for example: no request can have them.
		if (/[^!-~]/.test(this.token)) throw new ApiError(401, null, T.tokenInvalid);
		const all = { ...this.headers, Accept: "application/json", ...headers };
		if (body) all["Content-Type"] = "application/json";
		const response = await send(new URL(path, BASE), {
			method, headers: all, signal, body: body && JSON.stringify(body), cache: "no-store",
		});
		const text = await response.text();
		if (response.ok) return text ? JSON.parse(text) : null;
		if (response.status === 401 && !asks) {
			this.refused();
			return new Promise(() => {}); // what waits for this is no longer on the page
		}
		throw errorOf(response.status, text);
	}

	get(path, more) {
		return this.call("GET", path, more);
	}

	/** @returns the roots of a workspace.  Which of their directories can be changed is kept. */
	async roots(workspace, more) {
		const { roots } = await this.get(`workspaces/${workspace}/fs/roots`, more);
		this.writable[workspace] = roots.flatMap((root) => root.writable ?? []);
		return roots;
	}

	/** @returns whether entries of a directory can be changed. */
	async changes(workspace, ref) {
		if (!this.writable[workspace]) await this.roots(workspace).catch(() => {});
		const directory = `${segmentName(ref)}/`;
		return (this.writable[workspace] ?? []).some((prefix) => directory.startsWith(`${prefix}/`));
	}

	/** Makes a link.  @returns {{url: URL, shown: string, expires: string}} */
	async link(workspace, body) {
		const made = await this.call("POST", `workspaces/${workspace}/links`, { body });
		// The platform's public address may differ from the one that this page was opened at.  What
		// the page loads itself must be of its own origin.
		const { pathname, search } = new URL(made.url, BASE);
		const own = new URL(/links\/(file|archive|upload)$/.exec(pathname)[0] + search, BASE);
		const shown = made.url.startsWith("/") ? own.href : made.url;
		return { url: own, shown, expires: made.expires_at };
	}

	/** Makes a link to download a file or folder, and checks that it works. */
	async downloadLink(workspace, entry) {
		const operation = entry.type === "directory" ? "archive" : "file";
		const { url } = await this.link(workspace, { operation, ref: entry.ref, expires_in: 3600 });
		const headers = { Accept: "application/json" };
		if ((await send(url, { method: "HEAD", headers })).ok) return url;
		const refusal = await send(url, { headers }); // a response to HEAD has no sentence
		if (!refusal.ok) throw errorOf(refusal.status, await refusal.text());
		refusal.body?.cancel();
		return url;
	}
}

async function send(url, options) {
	try {
		return await fetch(url, { credentials: "omit", ...options });
	} catch (error) {
		if (error.name === "AbortError") throw error;
		throw new ApiError(0, null, T.offline);
	}
}
