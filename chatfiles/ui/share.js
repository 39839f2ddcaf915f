// The dialog that makes a link.

import { announce, button, div, h, note, openDialog } from "./dom.js";
import { previewKind, time, visible } from "./format.js";
import { T } from "./strings.js";
import { form, labelled } from "./views.js";

/** Opens it.  `entry` is what is shared; null for a link to send files. */
export function share(api, workspace, entry) {
	const operation = !entry ? "upload" : entry.type === "directory" ? "archive" : "file";
	const expiry = select(T.expiries, { autofocus: true });
	const opens = operation === "file" && previewKind(entry.media_type) ? select(T.dispositions) : null;
	const result = div("result");

	async function create() {
		const body = { operation, expires_in: Number(expiry.value) };
		if (entry) body.ref = entry.ref;
		if (opens) body.disposition = opens.value;
		result.replaceChildren();
		show(await api.link(workspace, body));
	}

	function show({ shown, expires }) {
		const field = h("input", { readonly: true, value: shown, spellcheck: "false",
			on: { focus: () => field.select() } });
		const copy = () => {
			field.focus();
			// Not `navigator.clipboard`: that needs HTTPS.
			if (document.execCommand("copy")) announce(T.copied);
		};
		const [label] = labelled(T.link, "link", field);
		result.replaceChildren(label, div("copy", field, button(T.copy, copy, { class: "primary" })),
			note(T.linkExpires(time(expires))));
		field.focus();
	}

	const made = form(T.createLink, create, [
		entry && h("p", { class: "subject", text: visible(entry.name) }),
		h("p", { text: T.shareLeads[operation] }),
		...labelled(T.expiresAfter, "expires", expiry), ...(opens ? labelled(T.opensAs, "opens", opens) : []),
		result]);
	made.addEventListener("change", () => result.replaceChildren()); // the link has the choices before
	openDialog(T.shareTitle, made);
}

const select = (options, more = {}) =>
	h("select", more, ...options.map(([text, value]) => h("option", { value, text })));
