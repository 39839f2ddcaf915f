// A table of many rows: sorted, filtered, and walked with the keyboard.

import { h } from "./dom.js";
import { T } from "./strings.js";

/** Rows of one `tbody`: the browser skips those that are not in sight, after the first ten. */
const CHUNK = 100;
/** Rows that are built before the first frame: a large window full. */
const AT_ONCE = 50;
const natural = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/**
 * @typedef {{label: string, unseen?: boolean, value?: (item) => (number|string),
 *   cell: (item) => (Node|string)[]}} Column `value` is what it is sorted by; an `unseen` label is
 *   for assistive technology only.
 */

export class Grid {
	items = [];
	shown = [];
	waiting = []; // shown, and still without a row
	scheduled = false;
	filter = "";
	sort = null;
	current = null;
	headers = {};

	/** @param {string} label the table's accessible name. */
	constructor(label) {
		this.head = h("tr", { role: "row" });
		this.element = h("table", {
			role: "table", "aria-label": label,
			on: { keydown: (event) => this.#key(event), focusin: (event) => this.#focused(event) },
		}, h("thead", { role: "rowgroup" }, this.head));
	}

	/**
	 * @param {string} kind the CSS class of the table.
	 * @param {Object<string, Column>} columns by their CSS classes.
	 * @param {{nameOf: (item) => string, rowClass: (item) => string,
	 *   keys?: Object<string, (item) => void>}} options `keys`: what a key does in a row.
	 */
	define(kind, columns, options) {
		Object.assign(this, { columns, options });
		this.element.className = `grid ${kind}`;
		for (const [key, column] of Object.entries(columns)) this.head.append(this.#header(key, column));
	}

	/** Shows these items, in this order unless the person has sorted them. */
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

	render() {
		const wanted = this.filter.toLowerCase();
		const { nameOf } = this.options;
		this.shown = wanted
			? this.items.filter((item) => nameOf(item).toLowerCase().includes(wanted))
			: this.items;
		if (this.sort) this.shown = this.#sorted(this.shown);
		this.element.querySelectorAll("tbody").forEach((body) => body.remove());
		this.current = null;
		this.waiting = [];
		this.#add(this.shown);
	}

	/** Shows `added` in place of `removed`, or first, and focuses the place. */
	replace(removed, added) {
		const [first] = removed;
		const shown = this.shown.indexOf(first);
		const at = Math.max(0, this.items.indexOf(first));
		this.items.splice(at, 0, ...added);
		this.items = this.items.filter((item) => !removed.includes(item));
		this.render();
		const next = added[0] ?? this.shown[Math.min(shown, this.shown.length - 1)];
		return this.focus((item) => item === next);
	}

	/** Focuses the main control of the first row that matches, or of the first row. */
	focus(matches = () => true) {
		const item = this.shown.find(matches) ?? this.shown[0];
		if (item && !item.row?.isConnected) this.#build();
		if (item) this.#enter(item.row);
		return Boolean(item);
	}

	#header(key, column) {
		const cell = h("th", { role: "columnheader", scope: "col", class: key });
		this.headers[key] = cell;
		if (column.value) {
			const sort = () => this.#sortBy(key);
			cell.append(h("button", { type: "button", class: "sort", text: column.label, on: { click: sort } }));
		} else cell.append(h("span", { class: column.unseen ? "unseen" : null, text: column.label }));
		return cell;
	}

	#sortBy(key) {
		const descending = this.sort?.key === key && !this.sort.descending;
		this.sort = { key, descending };
		for (const [each, cell] of Object.entries(this.headers)) {
			if (each !== key) cell.removeAttribute("aria-sort");
		}
		this.headers[key].setAttribute("aria-sort", descending ? "descending" : "ascending");
		this.render();
	}

	#sorted(items) {
		const { value } = this.columns[this.sort.key];
		const sign = this.sort.descending ? -1 : 1;
		const keyed = items.map((item) => [value(item), item]);
		const compare = ([a], [b]) =>
			typeof a === "string" ? natural.compare(a, b) : a - b;
		return keyed.sort((a, b) => sign * compare(a, b)).map(([, item]) => item);
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
		const more = () => {
			this.scheduled = false;
			this.#build();
		};
		requestAnimationFrame(() => setTimeout(more)); // these are seen first
	}

	#row(item) {
		const row = h("tr", { role: "row", class: this.options.rowClass(item) });
		for (const [key, column] of Object.entries(this.columns)) {
			const cell = h("td", { role: "cell", class: key });
			cell.append(...column.cell(item));
			row.append(cell);
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

	#enter(row, place = null) {
		this.#mark(row);
		const all = controls(row);
		(all[place] ?? all.find((each) => each.matches(".main")) ?? all[0])?.focus();
		row.scrollIntoView({ block: "nearest" });
	}

	#focused(event) {
		const row = event.target.closest("tbody tr");
		if (row) this.#mark(row);
	}

	#key(event) {
		if (event.altKey || event.ctrlKey || event.metaKey) return;
		const row = event.target.closest("tbody tr");
		this.#build();
		const act = row && this.options.keys?.[event.key];
		const target = row && this.#neighbour(row, event.key);
		if (act || target) event.preventDefault();
		if (act) act(this.shown.find((item) => item.row === row));
		else if (target) this.#enter(target, controls(row).indexOf(event.target));
	}

	#neighbour(row, key) {
		const rows = () => [...this.element.querySelectorAll("tbody tr")];
		if (key === "ArrowDown") return row.nextElementSibling ?? row.parentNode.nextElementSibling?.firstElementChild;
		if (key === "ArrowUp") {
			const above = row.parentNode.previousElementSibling;
			return row.previousElementSibling ?? (above?.tagName === "TBODY" ? above.lastElementChild : null);
		}
		if (key === "Home") return rows()[0];
		return key === "End" ? rows().at(-1) : null;
	}
}

const controls = (row) => [...row.querySelectorAll("a, button, input")];

/** The search box above a table; it waits until the person pauses. */
export function filterBox(changed) {
	let waiting = 0;
	const input = h("input", {
		type: "search", "aria-label": T.filter, placeholder: T.filterHint, autocomplete: "off",
		spellcheck: "false",
		on: {
			input: () => {
				clearTimeout(waiting);
				waiting = setTimeout(() => changed(input.value), 120);
			},
		},
	});
	return input;
}
