// The dialog that makes a link.

import { announce, button, div, h, iconButton, note, status, whisper } from "./dom.js";
import { date, previewKind, sentence, time, visible } from "./format.js";
import { T } from "./strings.js";

/** Opens it.  `entry` is what is shared; null for a link to send files. */
export function share(api, workspace, entry) {
	const operation = !entry ? "upload" : entry.type === "directory" ? "archive" : "file";
	const leads = { upload: T.shareUpload, archive: T.shareFolder, file: T.shareFile };
	const expiry = select(T.expiresAfter, T.expiries);
	const opens = operation === "file" && previewKind(entry.media_type)
		? select(T.opensAs, T.dispositions) : null;
	const result = div("result");
	const make = button(T.createLink, create, { class: "primary" });
	const dialog = h("dialog", { "aria-labelledby": "share-title" },
		h("header", {},
			h("h2", { id: "share-title", text: T.shareTitle }),
			iconButton(T.close, "close", () => dialog.close())),
		entry ? h("p", { class: "subject", text: visible(entry.name) }) : null,
		h("p", { text: leads[operation] }),
		div("choices", expiry, opens),
		result,
		h("footer", {}, make));

	async function create() {
		const body = { operation, expires_in: Number(expiry.lastChild.value) };
		if (entry) body.ref = entry.ref;
		if (opens) body.disposition = opens.lastChild.value;
		try {
			const link = await api.link(workspace, body);
			show(link);
		} catch (error) {
			result.replaceChildren(h("p", { class: "problem", text: sentence(error) }));
			whisper(sentence(error));
		}
	}

	function show({ shown, expires }) {
		const field = h("input", { id: "share-link", readonly: true, value: shown, spellcheck: "false",
			on: { focus: () => field.select() } });
		result.replaceChildren(
			h("label", { for: "share-link", text: T.link }),
			div("copy", field, button(T.copy, () => copy(field), { class: "primary" })),
			note(T.linkExpires(time(date(expires)))));
		make.className = "";
		whisper(T.linkMade);
		field.focus();
	}

	dialog.addEventListener("change", () => {
		result.replaceChildren(); // the link has the choices before
		make.className = "primary";
	});
	dialog.addEventListener("close", () => {
		document.body.append(status);
		dialog.remove();
	});
	dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
	document.body.append(dialog);
	dialog.append(status); // what is outside of a modal dialog is not announced
	dialog.showModal();
	expiry.lastChild.focus();
}

function copy(field) {
	field.focus();
	field.select();
	// Not `navigator.clipboard`: that exists only over HTTPS, and the page allows itself nothing.
	announce(document.execCommand("copy") ? T.copied : T.copyManually);
}

let labels = 0;

function select(label, options) {
	const id = `choice-${(labels += 1)}`;
	return div("choice", h("label", { for: id, text: label }),
		h("select", { id }, ...options.map(([text, value]) => h("option", { value, text }))));
}
