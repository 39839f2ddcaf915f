// The list of uploads, the button that adds to it, and the area that files are dropped on.

import { announce, button, h, icon, iconButton, note } from "./dom.js";
import { sentence, size, visible } from "./format.js";
import { T } from "./strings.js";
import { droppedFiles } from "./transport.js";

/** A button that opens the file dialog, beside its hidden input. */
export function uploadButton(label, add, more = {}) {
	const input = h("input", {
		type: "file", multiple: true, hidden: true, tabindex: -1, "aria-label": label,
		on: {
			change: () => {
				add([...input.files].map((file) => ({ file, name: file.name })));
				input.value = "";
			},
		},
	});
	return [button(label, () => input.click(), { icon: "upload", class: "primary", ...more }), input];
}

/** Lets files be dropped anywhere on the page.  `adder` returns what takes them, or null. */
export function acceptDrops(adder) {
	const veil = h("div", { class: "veil", hidden: true, "aria-hidden": "true" },
		icon("upload"), T.dropHere);
	document.body.append(veil);
	let leaving = 0;
	const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
	document.addEventListener("dragover", (event) => {
		if (!carries(event)) return;
		event.preventDefault(); // otherwise the browser leaves the page for the file
		const add = adder();
		event.dataTransfer.dropEffect = add ? "copy" : "none";
		veil.hidden = !add;
		clearTimeout(leaving);
		leaving = setTimeout(() => (veil.hidden = true), 300);
	});
	document.addEventListener("drop", async (event) => {
		if (!carries(event)) return;
		event.preventDefault();
		veil.hidden = true;
		const add = adder();
		if (add) add(await droppedFiles(event.dataTransfer));
	});
}

export class UploadPanel {
	/**
	 * @param {import("./queue.js").UploadQueue} queue
	 * @param {{open?: (upload) => void}} options `open` shows where a file is.
	 */
	constructor(queue, { open = null } = {}) {
		this.queue = queue;
		this.open = open;
		this.rows = new Map();
		this.list = h("ul");
		this.opener = button(T.openUploads, () => this.#open());
		this.summary = h("span", { class: "note" });
		this.element = h("section", { class: "uploads", "aria-label": T.uploads, hidden: true },
			h("header", {}, h("h2", { text: T.uploads }), this.summary,
				this.opener, iconButton(T.clearUploads, "close", () => this.#clear())),
			this.list);
		queue.addEventListener("change", ({ detail }) => this.#update(detail));
	}

	#open() {
		this.open(this.queue.uploads.findLast((each) => each.state === "stored"));
	}

	#clear() {
		this.queue.clear();
		for (const [upload, row] of this.rows) {
			if (this.queue.uploads.includes(upload)) continue;
			row.remove();
			this.rows.delete(upload);
		}
		this.#summarize();
	}

	#summarize() {
		const { uploads } = this.queue;
		const done = uploads.filter((each) => each.state === "stored").length;
		this.summary.textContent = T.uploadsSummary(done, uploads.length);
		this.element.hidden = !uploads.length;
		document.body.classList.toggle("covered", !this.element.hidden); // the list can be scrolled above it
		this.opener.hidden = !done || !this.open;
	}

	#update(upload) {
		let row = this.rows.get(upload);
		if (!row) {
			row = h("li");
			this.rows.set(upload, row);
			this.list.append(row);
		}
		if (row.state === upload.state && upload.state === "sending") {
			row.bar.value = upload.sent;
			row.bar.max = upload.size || 1;
			row.facts.textContent = this.#facts(upload);
			return;
		}
		const focused = row.contains(document.activeElement);
		row.state = upload.state;
		row.className = upload.state;
		row.replaceChildren(...this.#content(upload, row));
		if (focused) (row.querySelector("button") ?? this.element.querySelector("button")).focus();
		if (upload.state === "failed") announce(T.uploadFailed(visible(upload.name), sentence(upload.error)), "unseen");
		this.#summarize();
	}

	#content(upload, row) {
		const symbols = { stored: "done", failed: "warning", cancelled: "close" };
		row.facts = note(this.#facts(upload));
		row.bar = null;
		const content = [icon(symbols[upload.state] ?? "file"),
			h("p", { class: "subject", text: visible(upload.name) }), row.facts];
		if (upload.active) {
			row.bar = h("progress", { "aria-label": upload.name, max: upload.size || 1, value: upload.sent });
			content.push(iconButton(T.cancel(upload.name), "close", () => this.queue.cancel(upload)));
			content.push(row.bar);
		} else if (upload.state !== "stored") {
			content.push(iconButton(T.retry(upload.name), "again", () => this.queue.retry(upload)));
		}
		return content;
	}

	#facts(upload) {
		const { state, error } = upload;
		if (state === "failed") {
			return [sentence(error), T.hints[error.code], error.requestId && T.requestId(error.requestId)].filter(Boolean).join(" · ");
		}
		if (state === "sending" && upload.sent >= upload.size) return T.storing;
		if (state === "sending") {
			const speed = upload.speed ? size(upload.speed) : "";
			return T.sending(size(upload.sent), size(upload.size), speed);
		}
		if (state === "stored") {
			const path = upload.result.uri.replace(/^workspace:/, "");
			return this.open ? T.storedIn(path.slice(0, path.lastIndexOf("/"))) : T.stored;
		}
		return T[state];
	}
}
