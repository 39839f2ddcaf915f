// Renames, deletes and creates, in the folders that the workspace allows to change.

import { announce, button, h, openDialog } from "./dom.js";
import { parentRef, visible } from "./format.js";
import { T } from "./strings.js";
import { form, labelled } from "./views.js";

/**
 * @param {import("./api.js").Api} api
 * @param {{workspace: string, ref: string}} place the folder.
 * @param {(removed: object[], added: object[]) => void} changed called with entries afterwards.
 */
export function changesOf(api, { workspace, ref }, changed) {
	const at = `workspaces/${workspace}/fs/`;
	const look = async (path) => (await api.get(`${at}entries?depth=0&path=${path}`)).entry;

	function create() {
		const field = nameField("");
		ask(T.newFolder, T.create, [field], async () => {
			const path = below(ref, field.value);
			await api.call("POST", `${at}directories?path=${path}`);
			const made = await look(path);
			return () => {
				changed([], [made]);
				announce(T.created(visible(made.name)));
			};
		});
	}

	function rename(entry) {
		const field = nameField(entry.name);
		ask(T.renameTitle, T.renameTitle, [field], async () => {
			if (field.value === entry.name) return () => {};
			const to = { ref: below(parentRef(entry.ref), field.value) };
			const body = { from: { ref: entry.ref }, to };
			await api.call("POST", `${at}move`, { body, headers: condition(entry) });
			const made = await look(to.ref);
			return () => {
				changed([entry], [made]);
				announce(T.renamed(visible(entry.name), visible(made.name)));
			};
		});
		const stem = entry.type === "file" ? entry.name.lastIndexOf(".") : 0;
		field.setSelectionRange(0, stem > 0 ? stem : entry.name.length);
	}

	/** Deletes one after the other, after one question. */
	function remove(entries) {
		const left = [...entries];
		const gone = [];
		const [{ name, type }] = entries;
		const lead = h("p", { text: T.deleteLead(left.length, visible(name), type === "directory") });
		const dialog = ask(T.deleteTitle, T.deleteTitle, [lead], async () => {
			for (; left.length; gone.push(left.shift())) await discard(left[0]);
			return () => announce(T.deleted(gone.length, visible(name)));
		});
		dialog.addEventListener("close", () => gone.length && changed(gone, []));
	}

	async function discard(entry) {
		const folder = entry.type === "directory" ? "&directory=1" : "";
		try {
			await api.call("DELETE", `${at}file?path=${entry.ref}${folder}`, { headers: condition(entry) });
		} catch (error) {
			error.sentence &&= `${entry.name}: ${error.sentence}`;
			throw error;
		}
	}

	return { create, rename, remove };
}

/** Only the version that is listed.  The tag of a file that was a moment old is weak, and never matches. */
const condition = ({ etag }) => (etag ? { "If-Match": etag.replace("W/", "") } : {});

const below = (ref, name) => `${ref}/${encodeURIComponent(name)}`;

const nameField = (value) => h("input", { value, autocomplete: "off", spellcheck: "false", required: true, autofocus: true });

/** A dialog with a form.  `act` returns what is done when the dialog is closed. */
function ask(title, verb, [first], act) {
	const isField = first.tagName === "INPUT";
	const cancel = button(T.cancelShort, () => dialog.close(), { autofocus: !isField });
	const submit = async () => {
		const after = await act();
		dialog.close();
		after();
	};
	const content = isField ? labelled(T.newName, "name", first) : [first];
	const dialog = openDialog(title, form(verb, submit, content, [cancel]));
	return dialog;
}
