// What is listed: a directory of a workspace, its roots, or the workspaces.

import { changesOf } from "./changes.js";
import { announce, button, h, iconButton, note, whisper } from "./dom.js";
import { addressOf, parentRef, previewKind, segmentName, size, time, visible } from "./format.js";
import { Listing } from "./listing.js";
import { Grid } from "./rows.js";
import { T } from "./strings.js";

const MOST_CRUMBS = 24;

export class Directory extends Listing {
	selected = new Set();
	changes = null; // what changes entries, where that is allowed

	/** `place.ref` is empty for the roots. */
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
		if (ref) this.#files();
		else this.#roots();
	}

	async page(after) {
		const { api, place: { workspace, ref }, signal } = this;
		if (!ref) return { items: (await api.roots(workspace, { signal })).map(rootEntry), next: null };
		const from = after ? `&after=${encodeURIComponent(after)}` : "";
		const [{ entries, next = null }, changes] = await Promise.all([
			api.get(`workspaces/${workspace}/fs/entries?path=${ref}${from}`, { signal }),
			this.write && !after && api.changes(workspace, ref),
		]);
		if (changes) this.#allowChanges();
		const folder = ({ type }) => Number(type === "directory");
		// Pages come in the order of names, so only a complete list can have folders first.
		if (!after && !next) entries.sort((a, b) => folder(b) - folder(a));
		return { items: entries, next };
	}

	focus(ref) {
		super.focus((entry) => (ref ? entry.ref === ref : this.fresh.has(entry.ref)));
	}

	#allowChanges() {
		this.changes = changesOf(this.api, this.place, (removed, added, text) => {
			removed.forEach((entry) => this.selected.delete(entry));
			this.#choose();
			announce(text);
			// It may have been there.
			const old = removed.length ? removed : this.grid.items.filter(({ ref }) => ref === added[0].ref);
			this.change(old, added);
		});
		this.create.hidden = false;
		this.grid.element.classList.add("writable");
		this.grid.keys = {
			F2: (entry) => changeable(entry) && this.changes.rename(entry),
			Delete: (entry) => changeable(entry) && this.changes.remove([entry]),
		};
	}

	#roots() {
		this.grid.define("roots", {
			name: { label: T.name, value: nameOf, cell: (root) => [this.#link(root)] },
			state: { label: T.state, cell: (root) => [root.available ? T.available : T.unavailable] },
		}, () => "directory");
	}

	#files() {
		this.grid.define("files", {
			pick: { label: T.selection, unseen: true, cell: (entry) => this.#pick(entry) },
			name: { label: T.name, value: nameOf, cell: (entry) => this.#name(entry) },
			size: { label: T.size, value: (entry) => entry.size ?? -1, cell: (entry) => [
				entry.size === undefined ? T.kinds[entry.type] : size(entry.size)] },
			time: { label: T.modified, value: (entry) => entry.mtime ?? "", cell: (entry) => [time(entry.mtime)] },
			actions: { label: T.actions, unseen: true, cell: (entry) => this.#buttons(entry) },
		}, (entry) => `${entry.type}${this.fresh.has(entry.ref) ? " fresh" : ""}`);
	}

	#name(entry) {
		const tag = entry.readable === false ? [h("span", { class: "note", text: T.unreadable })] : [];
		if (entry.type === "directory" && !entry.error) return [this.#link(entry), ...tag];
		const closed = entry.error ?? T.kinds[entry.type];
		const open = () => {
			if (closed) announce(T.closed(visible(entry.name), closed));
			else if (previewKind(entry.media_type)) this.actions.preview(entry);
			else this.actions.download(entry);
		};
		return [button(entry.name, open, { text: visible(entry.name), class: "main", "aria-disabled": closed && "true" }), ...tag];
	}

	#link({ name, ref }) {
		// The accessible name is the exact one.
		const label = visible(name) === name ? null : name;
		return h("a", { class: "main", href: addressOf(this.place.workspace, ref), text: visible(name), "aria-label": label });
	}

	#buttons(entry) {
		const { name } = entry;
		const { changes, actions } = this;
		const buttons = sendable(entry) ? [
			iconButton(T.download(name), "download", () => actions.download(entry)),
			iconButton(T.share(name), "share", () => actions.share(entry)),
		] : [];
		if (changes && changeable(entry)) {
			buttons.push(iconButton(T.rename(name), "edit", () => changes.rename(entry)),
				iconButton(T.remove(name), "delete", () => changes.remove([entry])));
		}
		return buttons;
	}

	#pick(entry) {
		if (!sendable(entry)) return [];
		const change = () => {
			if (entry.box.checked) this.selected.add(entry);
			else this.selected.delete(entry);
			this.#choose();
		};
		entry.box = h("input", { type: "checkbox", "aria-label": T.select(entry.name), on: { change } });
		return [entry.box];
	}

	#choose() {
		const chosen = [...this.selected];
		this.chosen.hidden = !chosen.length;
		if (!chosen.length) return;
		const clear = () => {
			chosen.forEach((entry) => (entry.box.checked = false));
			this.selected.clear();
			this.#choose();
		};
		this.chosen.replaceChildren(note(T.selected(chosen.length)),
			button(T.downloadSelected, () => this.actions.download(...chosen), { icon: "download" }),
			this.changes ? button(T.deleteSelected, () => this.changes.remove(chosen), { icon: "delete" }) : "",
			iconButton(T.clearSelection, "close", clear));
		whisper(T.selected(chosen.length));
	}
}

const nameOf = ({ name }) => name;
const sendable = (entry) => !entry.error && (entry.type === "file" || entry.type === "directory");
const changeable = (entry) => sendable(entry) || (!entry.error && entry.type === "symlink");

const rootEntry = (root) => ({ ...root, name: root.path, ref: root.path, type: "directory" });

export class Workspaces extends Listing {
	constructor(api, names, signal) {
		super(T.workspaces, new Grid(T.workspaces), {
			signal, empty: [T.noWorkspaces, T.noWorkspacesHint], tools: [],
		});
		Object.assign(this, { api, names });
		this.grid.define("workspaces", {
			name: { label: T.name, value: nameOf, cell: (each) => [
				h("a", { class: "main", href: addressOf(each.id), text: visible(each.name) })] },
			state: { label: T.state, value: stateOf, cell: (each) => [stateOf(each)] },
			time: { label: T.lastHeard, value: (each) => each.last_heartbeat_at ?? "", cell: (each) => [
				time(each.last_heartbeat_at)] },
		}, () => "workspace");
	}

	async page(after) {
		const from = after ? `?after=${encodeURIComponent(after)}` : "";
		const { workspaces, next } = await this.api.get(`workspaces${from}`, { signal: this.signal });
		for (const each of workspaces) {
			each.name ||= each.id;
			this.names.set(each.id, each.name);
		}
		return { items: workspaces, next };
	}
}

const stateOf = ({ status }) => T.states[status] ?? status ?? "";

/** The way from the roots to a directory. */
export function breadcrumbs(place, name, above) {
	const crumbs = [...above];
	if (place) {
		crumbs.push([name, addressOf(place.workspace)]);
		let ref = "";
		for (const segment of place.ref.split("/").slice(1)) {
			ref += `/${segment}`;
			crumbs.push([visible(segmentName(segment)), addressOf(place.workspace, ref)]);
		}
	}
	const hidden = crumbs.splice(3, Math.max(0, crumbs.length - MOST_CRUMBS));
	if (hidden.length) crumbs.splice(3, 0, ["…", hidden.at(-1)[1]]);
	const items = crumbs.map(([text, href], at) => h("li", {},
		h("a", { href, text, "aria-current": at === crumbs.length - 1 ? "page" : null })));
	const element = h("nav", { "aria-label": T.breadcrumbs }, h("ol", {}, ...items));
	return { element, titles: crumbs.map(([text]) => text) };
}

/** The address above a place; null above everything. */
export function addressAbove(place, isAdmin) {
	if (!place) return null;
	if (place.ref) return addressOf(place.workspace, parentRef(place.ref));
	return isAdmin ? "#/" : null;
}
