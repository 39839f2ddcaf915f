// The panel that shows a file.  The browser loads what it shows by a link of five minutes.

import { button, div, h, iconButton, note, notice, whisper } from "./dom.js";
import { previewKind, sentence, size, time, visible } from "./format.js";
import { T } from "./strings.js";

const SECONDS = 300;
const TEXT_BYTES = 256 * 1024;
const BLOCK_LINES = 100;

export class Preview {
	opened = 0;
	from = null;

	constructor(api, actions) {
		Object.assign(this, { api, actions });
		this.element = h("aside", { class: "preview", "aria-label": T.preview, hidden: true });
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
		const { download, share } = this.actions;
		return h("header", {},
			div("", h("h2", { tabindex: -1, text: visible(entry.name) }), note(`${size(entry.size)} · ${time(entry.mtime)}`)),
			div("buttons",
				button(T.downloadShort, () => download(entry), { icon: "download" }),
				button(T.shareTitle, () => share(entry), { icon: "share" }),
				iconButton(T.closePreview, "close", () => this.close())));
	}

	async #content(workspace, entry) {
		const kind = previewKind(entry.media_type);
		const make = async () => (await this.api.link(workspace, {
			ref: entry.ref, expires_in: SECONDS, disposition: "inline",
		})).url;
		const url = await make();
		const label = T.previewOf(entry.name);
		if (kind === "text") return text(url, entry, label);
		if (kind === "pdf") return [h("iframe", { src: `${url}#navpanes=0`, title: label })];
		if (kind === "image") return [failing(h("img", { src: url, alt: label }))];
		return [failing(h(kind, { src: url, controls: true, preload: "metadata", "aria-label": label }), make)];
	}
}

/** With a sentence where it cannot load.  A player whose link has expired gets a new one. */
function failing(element, make) {
	let made = performance.now();
	element.addEventListener("error", async () => {
		const { currentTime } = element;
		if (currentTime === undefined || performance.now() - made < SECONDS * 1000) {
			element.replaceWith(notice("warning", T.previewFailed));
			return whisper(T.previewFailed);
		}
		made = performance.now();
		element.src = await make().catch(() => element.src);
		element.currentTime = currentTime;
	});
	return element;
}

async function text(url, entry, label) {
	const range = { Range: `bytes=0-${TEXT_BYTES - 1}`, Accept: "text/plain, application/json;q=0.9" };
	const response = await fetch(url, { headers: range, credentials: "omit" });
	if (response.status === 416) return [note(T.previewEmpty)];
	if (!response.ok) return [notice("warning", T.unexpected(response.status))];
	const bytes = await start(response.body);
	if (!bytes.byteLength) return [note(T.previewEmpty)];
	const shown = h("pre", { tabindex: 0, "aria-label": label, role: "region" },
		...blocks(new TextDecoder().decode(bytes)));
	return bytes.byteLength < entry.size ? [note(T.previewPart(size(bytes.byteLength), size(entry.size))), shown] : [shown];
}

/** The first bytes: a workspace may ignore the range. */
async function start(body) {
	let left = TEXT_BYTES;
	const transform = (piece, to) => {
		to.enqueue(piece.subarray(0, left));
		left -= piece.length;
		if (left <= 0) to.terminate();
	};
	return new Response(body.pipeThrough(new TransformStream({ transform }))).arrayBuffer();
}

/** Blocks of lines: the browser skips those that are not in sight. */
function* blocks(content) {
	const lines = content.split("\n");
	for (let at = 0; at < lines.length; at += BLOCK_LINES) {
		yield h("div", { text: lines.slice(at, at + BLOCK_LINES).join("\n") || "\n" });
	}
}
