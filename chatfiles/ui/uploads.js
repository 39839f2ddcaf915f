// The list of uploads, and how files get into it.

import { announce, button, h, iconButton, note } from "./dom.js";
import { parentRef, reason, segmentName, sentence, size, visible } from "./format.js";
import { T } from "./strings.js";

export function uploadButton(label, add) {
	const input = h("input", {
		type: "file", multiple: true, hidden: true, on: {
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
	const carries = (event) => event.dataTransfer?.types.includes("Files");
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
	const items = [...transfer.items].filter((item) => item.kind === "file");
	const entries = items.map((item) => item.webkitGetAsEntry());
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
		// Entries come in batches, until there are none.
		const batch = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
		if (!batch.length) return;
		for (const each of batch) await collect(each, `${name}/`, found);
	}
}

/** The list of a queue; `names`: whether it says where files are. */
export function uploadPanel(queue, names) {
	const summary = note("");
	const list = h("ul");
	const panel = h("section", { class: "uploads", "aria-label": T.uploads, hidden: true },
		h("header", {}, h("h2", { text: T.uploads }), summary,
			iconButton(T.clearUploads, "close", () => queue.clear())), list);

	function facts({ state, error, sent, size: all, speed, result }) {
		if (state === "failed") return reason(error);
		if (state === "stored" && names) return T.storedIn(segmentName(parentRef(result.ref)));
		if (state !== "sending") return T[state];
		if (error) return `${sentence(error)} · ${T.again}`;
		return sent >= all ? T.storing : T.sending(size(sent), size(all), speed && size(speed));
	}

	function content(upload) {
		const { name, state, row } = upload;
		row.facts = note("");
		row.bar = h("progress", { "aria-label": name, max: upload.size || 1 });
		return [h("p", { class: "subject", text: visible(name) }), row.facts,
			!upload.ended ? iconButton(T.cancel(name), "close", () => queue.cancel(upload))
			: state !== "stored" ? iconButton(T.retry(name), "again", () => queue.retry(upload)) : "",
			upload.active ? row.bar : ""];
	}

	queue.addEventListener("change", ({ detail: upload }) => {
		const { uploads } = queue;
		summary.textContent = T.uploadsSummary(queue.count("stored"), uploads.length);
		panel.hidden = !uploads.length;
		const row = (upload.row ??= h("li"));
		if (!uploads.includes(upload)) return row.remove();
		if (!row.isConnected) list.append(row);
		if (row.className !== upload.state) {
			const focused = row.contains(document.activeElement);
			row.className = upload.state;
			row.replaceChildren(...content(upload));
			if (focused) (row.querySelector("button") ?? panel.querySelector("button")).focus();
		}
		row.bar.value = upload.sent;
		row.facts.textContent = facts(upload);
		if (upload.error && row.error !== upload.error) announce(`${visible(upload.name)}: ${row.facts.textContent}`, "unseen");
		row.error = upload.error;
	});
	return panel;
}
