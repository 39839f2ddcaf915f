// Renames, deletes and creates, in the folders that the workspace allows to change.

import { button, h, openDialog } from "./dom.js";
import { parentRef, visible } from "./format.js";
import { T } from "./strings.js";
import { form, labelled } from "./views.js";

/** For a folder; `changed(removed, added)` is called with entries afterwards. */
export function changesOf(api, { workspace, ref }, changed) {
	const at = `workspaces/${workspace}/fs/`;
	const look = async (path) => (await api.get(`${at}entries?depth=0&path=${path}`)).entry;

	function create() {
		const field = nameField("");
		ask(T.newFolder, T.create, labelled(T.newName, "name", field), async () => {
			const path = below(ref, field.value);
			await api.call("POST", `${at}directories?path=${path}`);
			const made = await look(path);
			return () => changed([], [made], T.created(visible(made.name)));
		});
	}

	function rename(entry) {
		const field = nameField(entry.name);
		ask(T.renameTitle, T.renameTitle, labelled(T.newName, "name", field), async () => {
			if (field.value === entry.name) return () => {};
			const to = below(parentRef(entry.ref), field.value);
			const body = { from: { ref: entry.ref }, to: { ref: to } };
			await api.call("POST", `${at}move`, { body, headers: condition(entry) });
			const made = await look(to);
			return () => changed([entry], [made], T.renamed(visible(entry.name), visible(made.name)));
		});
		const stem = entry.type === "file" ? entry.name.lastIndexOf(".") : 0;
		field.setSelectionRange(0, stem > 0 ? stem : entry.name.length);
	}

	/** Deletes one after the other, after one question. */
	function remove(entries) {
		const left = [...entries];
		const gone = [];
		const what = left.length > 1 ? T.entries(left.length) : visible(left[0].name);
		const lead = h("p", { text: T.deleteLead(what) });
		const act = async () => {
			for (; left.length; gone.push(left.shift())) {
				const [{ name, ref: path, type }] = left;
				lead.textContent = T.deleteLead(visible(name)); // the one that fails is named
				const folder = type === "directory" ? "&directory=1" : "";
				await api.call("DELETE", `${at}file?path=${path}${folder}`, { headers: condition(left[0]) });
			}
			return () => {};
		};
		ask(T.deleteTitle, T.deleteTitle, [lead], act).addEventListener("close", () => {
			if (gone.length) changed(gone, [], T.deleted(left.length ? T.entries(gone.length) : what));
		});
	}

	return { create, rename, remove };
}

/** Only the version that is listed; its tag was weak, and would not match, if it had just been written. */
const condition = ({ etag }) => (etag ? { "If-Match": etag.replace("W/", "") } : {});

const below = (ref, name) => `${ref}/${encodeURIComponent(name)}`;

const nameField = (value) => h("input", { value, autocomplete: "off", spellcheck: "false", required: true, autofocus: true });

function ask(title, verb, content, act) {
	const submit = async () => {
		const after = await act();
		dialog.close();
		after();
	};
	const cancel = button(T.cancelShort, () => dialog.close(), { autofocus: true });
	const dialog = openDialog(title, form(verb, submit, content, [cancel]));
	return dialog;
}
