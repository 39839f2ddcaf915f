// What is listed: a directory of a workspace, its roots, or the workspaces.

import { changesOf } from "./changes.js";
import { announce, button, h, iconButton, note, whisper } from "./dom.js";
import { addressOf, date, parentRef, previewKind, segmentName, size, time, visible } from "./format.js";
import { Listing } from "./listing.js";
import { Grid } from "./rows.js";
import { T } from "./strings.js";

export class Directory extends Listing {
	/**
	 * @param {import("./api.js").Api} api
	 * @param {{workspace: string, ref: string}} place `ref` is empty for the roots.
	 * @param {Object<string, (entry) => void>} actions download, downloadAll, share and preview.
	 * @param {{signal: AbortSignal, tools: Node[], fresh: Set<string>, write: boolean}} options
	 *   `tools` are further buttons; `fresh` has the refs of files that have just been uploaded;
	 *   `write`: whether the token has that scope.
	 */
	constructor(api, place, actions, { signal, tools, fresh, write }) {
		const { ref } = place;
		const name = segmentName(ref.split("/").at(-1));
		const folder = () => actions.download({ name, ref, type: "directory" });
		const chosen = h("div", { class: "chosen", hidden: true });
		const create = button(T.newFolder, () => this.changes.create(), { icon: "add", hidden: true });
		super(ref ? visible(name) : T.roots, new Grid(T.files), {
			signal, beside: [chosen], empty: ref ? [T.emptyTitle, T.emptyHint] : [T.noRoots],
			tools: [ref ? button(T.downloadFolder, folder, { icon: "download", class: "folder" }) : "", create, ...tools],
		});
		Object.assign(this, { api, place, actions, fresh, write, chosen, create });
		this.changes = null; // where entries can be changed: what does it
		this.selected = new Set();
		if (ref) this.#files();
		else this.#roots();
	}

	async page(after) {
		const { api, place: { workspace, ref }, signal } = this;
		if (!ref) return { items: (await api.roots(workspace, { signal })).map(rootEntry), next: null };
		const from = after ? `&after=${encodeURIComponent(after)}` : "";
		const [{ entries, next = null }, writable] = await Promise.all([
			api.get(`workspaces/${workspace}/fs/entries?path=${ref}${from}`, { signal }),
			this.write && !after && api.changes(workspace, ref),
		]);
		if (writable) this.#allowChanges();
		return { items: after || next ? entries : foldersFirst(entries), next };
	}

	#allowChanges() {
		this.changes = changesOf(this.api, this.place, (removed, added) => {
			removed.forEach((entry) => this.selected.delete(entry));
			this.#choose();
			const { items } = this.grid;
			// A folder that was created may have been listed.
			const old = removed.length ? removed : items.filter(({ ref }) => ref === added[0].ref);
			this.change(old, added);
		});
		this.create.hidden = false;
		this.grid.element.classList.add("writable");
		this.grid.options.keys = {
			F2: (entry) => changeable(entry) && this.changes.rename(entry),
			Delete: (entry) => changeable(entry) && this.changes.remove([entry]),
		};
	}

	/** Focuses the entry with this ref, a new upload, or the first entry. */
	focus(ref) {
		super.focus((entry) => (ref ? entry.ref === ref : this.fresh.has(entry.ref)));
	}

	// -- the two tables

	#roots() {
		this.grid.define("roots", {
			name: { label: T.name, value: (root) => root.name, cell: (root) => [this.#link(root)] },
			state: { label: T.state, cell: (root) => [root.available ? T.available : T.unavailable] },
		}, { nameOf: (root) => root.name, rowClass: () => "directory" });
	}

	#files() {
		this.grid.define("files", {
			pick: { label: T.selection, unseen: true, cell: (entry) => this.#pick(entry) },
			name: { label: T.name, value: (entry) => entry.name, cell: (entry) => this.#name(entry) },
			size: { label: T.size, value: (entry) => entry.size ?? -1, cell: (entry) => [
				entry.size === undefined ? T.kinds[entry.type] ?? "" : size(entry.size)] },
			time: { label: T.modified, value: (entry) => entry.mtime ?? "", cell: (entry) => [
				entry.mtime ? time(date(entry.mtime)) : ""] },
			actions: { label: T.actions, unseen: true, cell: (entry) => this.#buttons(entry) },
		}, {
			nameOf: (entry) => entry.name,
			rowClass: (entry) => `${entry.type}${this.fresh.has(entry.ref) ? " fresh" : ""}`,
		});
	}

	#name(entry) {
		const tag = entry.readable === false ? [h("span", { class: "tag", text: T.unreadable })] : [];
		if (entry.type === "directory" && !entry.error) return [this.#link(entry), ...tag];
		const closed = entry.error ? "error" : entry.type in T.closedKinds ? entry.type : null;
		const open = () => {
			if (closed) announce(T.closedKinds[closed](visible(entry.name), entry.error));
			else if (previewKind(entry.media_type)) this.actions.preview(entry);
			else this.actions.download(entry);
		};
		return [h("button", { type: "button", class: "main", "aria-disabled": closed ? "true" : null,
			"aria-label": exact(entry.name), text: visible(entry.name), on: { click: open } }), ...tag];
	}

	#link(entry) {
		const href = addressOf(this.place.workspace, entry.ref);
		return h("a", { class: "main", href, "aria-label": exact(entry.name), text: visible(entry.name) });
	}

	#buttons(entry) {
		const { name } = entry;
		const { download, share } = this.actions;
		const open = sendable(entry) ? [
			iconButton(T.download(name), "download", () => download(entry)),
			iconButton(T.share(name), "share", () => share(entry)),
		] : [];
		return this.changes && changeable(entry) ? [...open,
			iconButton(T.rename(name), "edit", () => this.changes.rename(entry)),
			iconButton(T.remove(name), "delete", () => this.changes.remove([entry])),
		] : open;
	}

	#pick(entry) {
		if (!sendable(entry)) return [];
		const change = (event) => {
			if (event.target.checked) this.selected.add(entry);
			else this.selected.delete(entry);
			this.#choose();
		};
		entry.box = h("input", { type: "checkbox", "aria-label": T.select(entry.name), on: { change } });
		return [entry.box];
	}

	#choose() {
		const { size: count } = this.selected;
		this.chosen.hidden = !count;
		if (!count) return;
		const clear = () => {
			this.selected.forEach((entry) => (entry.box.checked = false));
			this.selected.clear();
			this.#choose();
		};
		this.chosen.replaceChildren(note(T.selected(count)),
			button(T.downloadSelected, () => this.actions.downloadAll([...this.selected]), { icon: "download" }),
			this.changes ? button(T.deleteSelected, () => this.changes.remove([...this.selected]), { icon: "delete" }) : "",
			iconButton(T.clearSelection, "close", clear));
		whisper(T.selected(count));
	}
}

const sendable = (entry) => !entry.error && (entry.type === "file" || entry.type === "directory");
const changeable = (entry) => sendable(entry) || (!entry.error && entry.type === "symlink");

/** The accessible name where the visible text is another one. */
const exact = (name) => (visible(name) === name ? null : name);

const rootEntry = (root) => ({ ...root, name: root.path, ref: root.path, type: "directory" });

/** Folders before files.  Only for a list that is complete: pages come in the order of names. */
function foldersFirst(entries) {
	const folders = entries.filter((entry) => entry.type === "directory");
	return folders.concat(entries.filter((entry) => entry.type !== "directory"));
}

/** The administrator's list. */
export class Workspaces extends Listing {
	constructor(api, names, signal) {
		super(T.workspaces, new Grid(T.workspaces), {
			signal, empty: [T.noWorkspaces, T.noWorkspacesHint], tools: [note(T.workspacesLead)],
		});
		Object.assign(this, { api, names });
		this.grid.define("workspaces", {
			name: { label: T.name, value: nameOf, cell: (each) => [
				h("a", { class: "main", href: addressOf(each.id), text: visible(nameOf(each)) })] },
			state: { label: T.state, value: stateOf, cell: (each) => [stateOf(each)] },
			time: { label: T.lastHeard, value: (each) => each.last_heartbeat_at ?? "", cell: (each) => [
				each.last_heartbeat_at ? time(date(each.last_heartbeat_at)) : ""] },
		}, { nameOf, rowClass: () => "workspace" });
	}

	async page(after) {
		const from = after ? `?after=${encodeURIComponent(after)}` : "";
		const { workspaces, next } = await this.api.get(`workspaces${from}`, { signal: this.signal });
		workspaces.forEach((each) => this.names.set(each.id, nameOf(each)));
		return { items: workspaces, next };
	}
}

const nameOf = (workspace) => workspace.name || workspace.id;
const stateOf = (workspace) => T.states[workspace.status] ?? workspace.status ?? "";

/** The way from the roots to a directory. */
export function breadcrumbs(place, name, above) {
	const crumbs = [...above];
	if (place) {
		crumbs.push([name, addressOf(place.workspace)]);
		const segments = place.ref.split("/").slice(1);
		segments.forEach((segment, at) => crumbs.push([visible(segmentName(segment)),
			addressOf(place.workspace, `/${segments.slice(0, at + 1).join("/")}`)]));
	}
	const items = crumbs.map(([text, href], at) => h("li", {},
		h("a", { href, text, "aria-current": at === crumbs.length - 1 ? "page" : null })));
	return h("nav", { "aria-label": T.breadcrumbs }, h("ol", {}, ...items));
}

/** The address above a place; null above everything. */
export function addressAbove(place, isAdmin) {
	if (!place) return null;
	if (place.ref) return addressOf(place.workspace, parentRef(place.ref));
	return isAdmin ? "#/" : null;
}
