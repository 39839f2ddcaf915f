// The panel that shows a file.  The browser loads what it shows by a link of five minutes.

import { button, div, h, iconButton, note, notice, whisper } from "./dom.js";
import { date, previewKind, sentence, size, time, visible } from "./format.js";
import { T } from "./strings.js";

const SECONDS = 300;
const TEXT_BYTES = 256 * 1024;
const BLOCK_LINES = 100;

export class Preview {
	/** @param {Object<string, (entry) => void>} actions download and share. */
	constructor(api, actions) {
		this.api = api;
		this.actions = actions;
		this.element = h("aside", { class: "preview", "aria-label": T.preview, hidden: true });
		this.opened = 0;
		this.from = null;
	}

	close() {
		if (this.element.hidden) return;
		this.opened += 1;
		this.element.hidden = true;
		this.element.replaceChildren(); // ends what plays
		if (this.from?.isConnected) this.from.focus();
	}

	async open(workspace, entry) {
		const opened = (this.opened += 1);
		if (this.element.hidden) this.from = document.activeElement;
		const body = div("body", note(T.loading));
		this.element.replaceChildren(this.#header(entry), body);
		this.element.hidden = false;
		this.element.querySelector("h2").focus();
		let content;
		try {
			content = await this.#content(workspace, entry);
		} catch (error) {
			content = [notice("warning", sentence(error), T.hints[error.code] ?? T.previewFailed)];
		}
		if (opened === this.opened) body.replaceChildren(...content);
	}

	#header(entry) {
		const facts = [size(entry.size), time(date(entry.mtime))].filter(Boolean).join(" · ");
		return h("header", {},
			div("", h("h2", { tabindex: -1, text: visible(entry.name) }),
				note(facts)),
			div("buttons",
				button(T.downloadShort, () => this.actions.download(entry), { icon: "download" }),
				button(T.shareShort, () => this.actions.share(entry), { icon: "share" }),
				iconButton(T.closePreview, "close", () => this.close())));
	}

	async #content(workspace, entry) {
		const kind = previewKind(entry.media_type);
		const make = async () => (await this.api.link(workspace, {
			ref: entry.ref, expires_in: SECONDS, disposition: "inline",
		})).url;
		const url = await make();
		if (kind === "text") return text(url, entry);
		if (kind === "pdf") return [h("iframe", { src: `${url}#navpanes=0`, title: T.previewOf(entry.name) })];
		if (kind === "image") return [failing(h("img", { src: url, alt: T.previewOf(entry.name) }))];
		const player = h(kind, { src: url, controls: true, preload: "metadata",
			"aria-label": T.previewOf(entry.name) });
		return [renewed(player, make)];
	}
}

/** Replaces an element that cannot load by a sentence. */
function failing(element) {
	element.addEventListener("error", () => {
		element.replaceWith(notice("warning", T.previewFailed));
		whisper(T.previewFailed);
	});
	return element;
}

/** A player whose link has expired continues with a new one, where it was. */
function renewed(player, make) {
	let made = performance.now();
	const retry = async (event) => {
		if (performance.now() - made < SECONDS * 1000) return;
		event.stopImmediatePropagation();
		const at = player.currentTime;
		made = performance.now();
		player.src = await make().catch(() => player.src);
		player.currentTime = at;
	};
	player.addEventListener("error", retry);
	return failing(player);
}

async function text(url, entry) {
	const range = { Range: `bytes=0-${TEXT_BYTES - 1}`, Accept: "text/plain, application/json;q=0.9" };
	const response = await fetch(url, { headers: range, credentials: "omit" });
	if (response.status === 416) return [note(T.previewEmpty)];
	if (!response.ok) return [notice("warning", T.unexpected(response.status))];
	const bytes = await start(response.body);
	const part = bytes.byteLength < entry.size
		? note(T.previewPart(size(bytes.byteLength), size(entry.size))) : null;
	const shown = h("pre", { tabindex: 0, "aria-label": T.previewOf(entry.name), role: "region" },
		...blocks(new TextDecoder().decode(bytes)));
	return [part, bytes.byteLength ? shown : note(T.previewEmpty)].filter(Boolean);
}

/** The first bytes: a workspace may ignore the range. */
async function start(body) {
	const reader = body.getReader();
	const bytes = new Uint8Array(TEXT_BYTES);
	let length = 0;
	while (length < TEXT_BYTES) {
		const { done, value } = await reader.read();
		if (done) break;
		const piece = value.subarray(0, TEXT_BYTES - length);
		bytes.set(piece, length);
		length += piece.length;
	}
	reader.cancel().catch(() => {});
	return bytes.subarray(0, length);
}

/** Blocks of lines: the browser skips those that are not in sight. */
function* blocks(content) {
	const lines = content.split("\n");
	for (let at = 0; at < lines.length; at += BLOCK_LINES) {
		yield h("div", { text: lines.slice(at, at + BLOCK_LINES).join("\n") || "\n" });
	}
}
