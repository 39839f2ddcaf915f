// One directory of a workspace, or its roots.

import { announce, button, h, notice } from "./dom.js";
import { addressOf, date, parentRef, previewKind, segmentName, sentence, size, time, visible } from "./format.js";
import { filterBox, Grid } from "./rows.js";
import { T } from "./strings.js";
import { problem } from "./views.js";

/** Entries that are loaded without being asked for; after that, a button loads more. */
const UNASKED = 100_000;
const SLOW_MS = 200;

export class Directory {
  /**
   * @param {import("./api.js").Api} api
   * @param {{workspace: string, ref: string}} place `ref` is empty for the roots.
   * @param {Object<string, (entry) => void>} actions download, downloadAll, share and preview.
   * @param {{signal: AbortSignal, tools: Node[], fresh: Set<string>}} options `tools` are further
   *   buttons; `fresh` has the refs of files that have just been uploaded.
   */
  constructor(api, place, actions, { signal, tools, fresh }) {
    Object.assign(this, { api, place, actions, signal, fresh });
    this.selected = new Set();
    this.next = null;
    this.loading = false;
    this.grid = place.ref ? this.#files() : this.#roots();
    this.filter = filterBox((text) => this.#filter(text));
    this.count = h("span", { class: "note" });
    this.chosen = h("div", { class: "chosen", hidden: true });
    this.title = h("h1", { tabindex: -1, text: place.ref ? this.name : T.roots });
    this.body = h("div", { class: "list" });
    this.more = h("div", { class: "more", hidden: true },
      button(T.loadMore, () => this.#load()), h("span", { class: "note", text: T.moreNote }));
    this.tools = h("div", { class: "buttons" }, ...this.#folderTools(), ...tools);
    this.element = h("div", { class: "directory" },
      h("div", { class: "bar" }, this.title, this.tools),
      h("div", { class: "bar search" }, this.filter, this.count, this.chosen),
      this.body, this.more);
    this.watcher = new IntersectionObserver((seen) => {
      const asked = this.grid.items.length >= UNASKED;
      if (seen.at(-1).isIntersecting && !asked) this.#load();
    }, { rootMargin: "1500px" });
    signal.addEventListener("abort", () => this.watcher.disconnect());
  }

  get name() {
    return visible(segmentName(this.place.ref.split("/").at(-1)));
  }

  /** Loads the first page.  Throws `ApiError` where the place is not a directory. */
  async open() {
    const slow = setTimeout(() => this.body.replaceChildren(h("p", { class: "note", text: T.loading })), SLOW_MS);
    try {
      await this.#first();
    } catch (error) {
      if (error.name === "AbortError" || error.code === "not_a_directory") throw error;
      this.element.classList.add("failed");
      this.body.replaceChildren(problem(error, () => this.open()));
      announce(sentence(error), { quiet: true });
    } finally {
      clearTimeout(slow);
    }
  }

  async #first() {
    const { workspace, ref } = this.place;
    const path = `workspaces/${workspace}/fs/`;
    const page = await this.api.get(ref ? `${path}entries?path=${ref}` : `${path}roots`, { signal: this.signal });
    this.element.classList.remove("failed");
    this.next = page.next ?? null;
    const entries = ref ? page.entries : page.roots.map(rootEntry);
    this.grid.set(this.next ? entries : foldersFirst(entries));
    this.#show();
    announce(T.opened(this.title.textContent, entries.length, this.next), { quiet: true });
  }

  /** Focuses the entry with this ref, a new upload, or the first entry. */
  focus(ref) {
    const wanted = (entry) => (ref ? entry.ref === ref : this.fresh.has(entry.ref));
    if (!this.grid.focus(wanted)) this.title.focus();
  }

  async #load() {
    if (this.loading || !this.next) return;
    this.loading = true;
    const { workspace, ref } = this.place;
    try {
      const page = await this.api.get(
        `workspaces/${workspace}/fs/entries?path=${ref}&after=${encodeURIComponent(this.next)}`, { signal: this.signal });
      this.next = page.next ?? null;
      this.grid.append(page.entries);
    } catch (error) {
      if (error.name === "AbortError") return;
      announce(sentence(error));
      this.loading = false;
      return; // the button tries again
    }
    this.loading = false;
    this.#show();
  }

  #show() {
    const { items, shown } = this.grid;
    const more = Boolean(this.next);
    this.count.textContent = this.grid.filter
      ? T.entriesShown(shown.length, items.length, more) : T.entries(items.length, more);
    this.more.hidden = !more;
    if (shown.length) this.body.replaceChildren(this.grid.element);
    else if (items.length) this.body.replaceChildren(notice("empty", T.noMatch(this.filter.value)));
    else if (this.place.ref) this.body.replaceChildren(notice("empty", T.emptyTitle, T.emptyHint));
    else this.body.replaceChildren(notice("empty", T.noRoots));
    this.watcher.unobserve(this.more);
    if (more) this.watcher.observe(this.more); // responds at once where it is in sight
  }

  #filter(text) {
    this.grid.filter = text;
    this.grid.render();
    this.#show();
    announce(this.count.textContent, { quiet: true });
  }

  #folderTools() {
    const { ref } = this.place;
    if (!ref) return [];
    const entry = { name: segmentName(ref.split("/").at(-1)), ref, type: "directory" };
    return [button(T.downloadFolder, () => this.actions.download(entry), { icon: "download", class: "folder" })];
  }

  // -- the two tables

  #roots() {
    return new Grid(T.files, {
      name: { label: T.name, value: (root) => root.name, cell: (root) => [this.#link(root)] },
      state: { label: T.state, cell: (root) => [root.available ? T.available : T.unavailable] },
    }, { nameOf: (root) => root.name, rowClass: () => "directory" });
  }

  #files() {
    return new Grid(T.files, {
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
    if (!movable(entry)) return [];
    return [
      button(T.download(entry.name), () => this.actions.download(entry), { icon: "download", text: "", class: "plain" }),
      button(T.share(entry.name), () => this.actions.share(entry), { icon: "share", text: "", class: "plain" }),
    ];
  }

  #pick(entry) {
    if (!movable(entry)) return [];
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
    this.chosen.replaceChildren(h("span", { class: "note", text: T.selected(count) }),
      button(T.downloadSelected, () => this.actions.downloadAll([...this.selected]), { icon: "download" }),
      button(T.clearSelection, clear, { icon: "close", text: "", class: "plain" }));
    announce(T.selected(count), { quiet: true });
  }
}

const movable = (entry) => !entry.error && (entry.type === "file" || entry.type === "directory");

/** The accessible name where the visible text is another one. */
const exact = (name) => (visible(name) === name ? null : name);

const rootEntry = (root) => ({ ...root, name: root.path, ref: root.path, type: "directory" });

/** Folders before files.  Only for a list that is complete: pages come in the order of names. */
function foldersFirst(entries) {
  const folders = entries.filter((entry) => entry.type === "directory");
  return folders.concat(entries.filter((entry) => entry.type !== "directory"));
}

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
