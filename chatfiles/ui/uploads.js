// The list of uploads, the button that adds to it, and the area that files are dropped on.

import { announce, button, h, iconButton, note } from "./dom.js";
import { parentRef, reason, segmentName, size, visible } from "./format.js";
import { T } from "./strings.js";

/** A button that opens the file dialog, beside its hidden input. */
export function uploadButton(label, add) {
	const input = h("input", {
		type: "file", multiple: true, hidden: true, tabindex: -1, "aria-label": label,
		on: {
			change: () => {
				add([...input.files].map((file) => ({ file, name: file.name })));
				input.value = "";
			},
		},
	});
	return [button(label, () => input.click(), { icon: "upload", class: "primary" }), input];
}

/** Lets files be dropped anywhere on the page.  `adder` returns what takes them, or null. */
export function acceptDrops(adder) {
	const veil = h("div", { class: "veil icon upload", hidden: true, "aria-hidden": "true", text: T.dropHere });
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

/** The files of a drop, those in folders too, as `{file, name}` with the path as name. */
async function droppedFiles(transfer) {
	// The entries must be taken before the first wait: the list is empty afterwards.
	const items = [...(transfer.items ?? [])].filter((item) => item.kind === "file");
	const entries = items.map((item) => item.webkitGetAsEntry?.() ?? null);
	const plain = [...transfer.files].map((file) => ({ file, name: file.name }));
	if (!entries.some((entry) => entry?.isDirectory)) return plain;
	const found = [];
	for (const entry of entries) if (entry) await collect(entry, "", found);
	return found;
}

async function collect(entry, above, found) {
	const name = above + entry.name;
	if (entry.isFile) {
		const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
		if (file) found.push({ file, name });
		return;
	}
	const reader = entry.createReader();
	for (;;) {
		// Entries come in batches of about a hundred, until there are none.
		const batch = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
		if (!batch.length) return;
		for (const each of batch) await collect(each, `${name}/`, found);
	}
}

export class UploadPanel {
	rows = new Map();
	list = h("ul");

	/** `names` says where files are; false where the person cannot see that. */
	constructor(queue, names) {
		Object.assign(this, { queue, names });
		this.summary = note("");
		this.element = h("section", { class: "uploads", "aria-label": T.uploads, hidden: true },
			h("header", {}, h("h2", { text: T.uploads }), this.summary,
				iconButton(T.clearUploads, "close", () => queue.clear())),
			this.list);
		queue.addEventListener("change", ({ detail }) => this.#update(detail));
	}

	#summarize() {
		const { uploads } = this.queue;
		const done = uploads.filter((each) => each.state === "stored").length;
		this.summary.textContent = T.uploadsSummary(done, uploads.length);
		this.element.hidden = !uploads.length;
		document.body.classList.toggle("covered", !this.element.hidden); // the list can be scrolled above it
	}

	#update(upload) {
		const row = this.rows.get(upload) ?? h("li");
		if (!this.queue.uploads.includes(upload)) {
			row.remove();
			this.rows.delete(upload);
			return this.#summarize();
		}
		if (!this.rows.has(upload)) this.list.append(row);
		this.rows.set(upload, row);
		const { state, error } = upload;
		if (row.state === state && state === "sending") {
			row.bar.value = upload.sent;
			row.facts.textContent = this.#facts(upload);
		} else {
			const focused = row.contains(document.activeElement);
			row.state = row.className = state;
			row.replaceChildren(...this.#content(upload, row));
			if (focused) (row.querySelector("button") ?? this.element.querySelector("button")).focus();
			this.#summarize();
		}
		if (error && row.error !== error) announce(`${visible(upload.name)}: ${row.facts.textContent}`, "unseen");
		row.error = error;
	}

	#content(upload, row) {
		row.facts = note(this.#facts(upload));
		const content = [h("p", { class: "subject", text: visible(upload.name) }), row.facts];
		if (!upload.ended) content.push(iconButton(T.cancel(upload.name), "close", () => this.queue.cancel(upload)));
		else if (upload.state !== "stored") content.push(iconButton(T.retry(upload.name), "again", () => this.queue.retry(upload)));
		if (upload.active) {
			row.bar = h("progress", { "aria-label": upload.name, max: upload.size || 1, value: upload.sent });
			content.push(row.bar);
		}
		return content;
	}

	#facts(upload) {
		const { state, error } = upload;
		if (state === "failed") return reason(error);
		if (state === "sending" && error) return `${reason(error)} · ${T.again}`;
		if (state === "sending" && upload.sent >= upload.size) return T.storing;
		if (state === "sending") {
			const speed = upload.speed > 0 ? size(upload.speed) : "";
			return T.sending(size(upload.sent), size(upload.size), speed);
		}
		if (state === "stored" && this.names) return T.storedIn(segmentName(parentRef(upload.result.ref)));
		return T[state];
	}
}
