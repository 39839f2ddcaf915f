// A table of many rows: sorted, filtered, and walked with the keyboard.

import { button, h } from "./dom.js";

/** Rows of one `tbody`: style.css lets the browser skip those that are not in sight. */
const CHUNK = 100;
/** Rows that are built before the first frame: a large window full. */
const AT_ONCE = 50;
const natural = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

export class Grid {
	items = []; // have names
	shown = [];
	waiting = []; // shown, and still without a row
	scheduled = false;
	filter = "";
	sort = null;
	current = null;
	headers = {};
	keys = {}; // what a key does with the item of a row

	constructor(label) {
		this.head = h("tr", { role: "row" });
		this.element = h("table", {
			role: "table", "aria-label": label,
			on: { keydown: (event) => this.#key(event), focusin: (event) => this.#focused(event) },
		}, h("thead", { role: "rowgroup" }, this.head));
	}

	/** Columns, by their CSS classes, have a `label`, a `cell`, and a `value` to sort by. */
	define(kind, columns, rowClass) {
		Object.assign(this, { columns, rowClass });
		this.element.className = `grid ${kind}`;
		for (const [key, column] of Object.entries(columns)) this.head.append(this.#header(key, column));
	}

	set(items) {
		this.items = items;
		this.render();
	}

	append(items) {
		this.items = this.items.concat(items);
		if (this.filter || this.sort) this.render();
		else {
			this.shown = this.items;
			this.#add(items);
		}
	}

	/** Shows `added` in place of `removed`, or first.  @returns what is there now. */
	replace(removed, added) {
		const [first] = removed;
		const place = this.shown.indexOf(first);
		const items = [...this.items];
		items.splice(Math.max(0, items.indexOf(first)), 0, ...added);
		this.set(items.filter((item) => !removed.includes(item)));
		return added[0] ?? this.shown[Math.min(place, this.shown.length - 1)];
	}

	render() {
		const wanted = this.filter.toLowerCase();
		this.shown = wanted ? this.items.filter(({ name }) => name.toLowerCase().includes(wanted)) : this.items;
		if (this.sort) this.shown = this.#sorted(this.shown);
		this.element.querySelectorAll("tbody").forEach((body) => body.remove());
		this.current = null;
		this.waiting = [];
		this.#add(this.shown);
	}

	/** Or the first row. */
	focus(matches = () => true) {
		const item = this.shown.find(matches) ?? this.shown[0];
		if (item && !item.row?.isConnected) this.#build();
		if (item) this.#enter(item.row);
		return Boolean(item);
	}

	#header(key, { label, value, unseen }) {
		const content = value
			? button(label, () => this.#sortBy(key), { class: "sort" })
			: h("span", { class: unseen ? "unseen" : null, text: label });
		return (this.headers[key] = h("th", { role: "columnheader", scope: "col", class: key }, content));
	}

	#sortBy(key) {
		const descending = this.sort?.key === key && !this.sort.descending;
		this.sort = { key, descending };
		Object.values(this.headers).forEach((cell) => cell.removeAttribute("aria-sort"));
		this.headers[key].setAttribute("aria-sort", descending ? "descending" : "ascending");
		this.render();
	}

	#sorted(items) {
		const { value } = this.columns[this.sort.key];
		const sign = this.sort.descending ? -1 : 1;
		const compare = ([a], [b]) => sign * (typeof a === "string" ? natural.compare(a, b) : a - b);
		return items.map((item) => [value(item), item]).sort(compare).map(([, item]) => item);
	}

	#add(items) {
		this.waiting = this.waiting.concat(items);
		this.#build(this.current ? Infinity : AT_ONCE);
	}

	#build(count = Infinity) {
		let body = this.element.lastElementChild;
		for (const item of this.waiting.splice(0, count)) {
			if (body.tagName !== "TBODY" || body.childElementCount >= CHUNK) {
				body = h("tbody", { role: "rowgroup" });
				this.element.append(body);
			}
			item.row ??= this.#row(item);
			body.append(item.row);
		}
		if (!this.current && this.shown.length) this.#mark(this.shown[0].row);
		if (!this.waiting.length || this.scheduled) return;
		this.scheduled = true;
		requestAnimationFrame(() => setTimeout(() => { // these are seen first
			this.scheduled = false;
			this.#build(CHUNK);
		}));
	}

	#row(item) {
		const row = h("tr", { role: "row", class: this.rowClass(item) });
		for (const [key, { cell }] of Object.entries(this.columns)) {
			row.append(h("td", { role: "cell", class: key }, ...cell(item)));
		}
		controls(row).forEach((control) => (control.tabIndex = -1));
		return row;
	}

	// -- One row is in the tab order; the arrow keys choose which.

	#mark(row) {
		if (this.current === row) return;
		if (this.current) controls(this.current).forEach((control) => (control.tabIndex = -1));
		this.current = row;
		controls(row).forEach((control) => (control.tabIndex = 0));
	}

	#enter(row, place) {
		this.#mark(row);
		const all = controls(row);
		(all[place] ?? all.find((each) => each.matches(".main")) ?? all[0])?.focus();
		row.scrollIntoView({ block: "nearest" });
	}

	#focused({ target }) {
		const row = target.closest("tbody tr");
		if (row) this.#mark(row);
	}

	#key(event) {
		const { key, target } = event;
		const row = target.closest("tbody tr");
		if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
		this.#build();
		const act = this.keys[key];
		const next = this.#neighbour(row, key);
		if (act || next) event.preventDefault();
		if (act) act(this.shown.find((item) => item.row === row));
		else if (next) this.#enter(next, controls(row).indexOf(target));
	}

	#neighbour(row, key) {
		const { shown } = this;
		const at = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[key];
		if (!at) return null;
		const place = shown.findIndex((item) => item.row === row) + at;
		return shown[Math.min(shown.length - 1, Math.max(0, place))].row;
	}
}

const controls = (row) => [...row.querySelectorAll("a, button, input")];
