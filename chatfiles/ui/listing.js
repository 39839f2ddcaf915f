// A table with a title, a filter, and further pages as one scrolls.

import { announce, button, div, h, note, notice, whisper } from "./dom.js";
import { reason, sentence } from "./format.js";
import { T } from "./strings.js";
import { problem } from "./views.js";

const UNASKED = 100_000; // then a button loads more
const SLOW_MS = 200;
const TYPING_MS = 120;

export class Listing {
	next = null; // where the next page begins
	loading = false;

	/** `empty`: title and hint where there is nothing; `beside`: nodes beside the filter. */
	constructor(title, grid, { signal, empty, tools, beside = [] }) {
		Object.assign(this, { grid, signal, empty });
		this.filter = filterBox((text) => this.#filter(text));
		this.count = note("");
		this.title = h("h1", { tabindex: -1, text: title });
		this.body = div("list");
		this.more = h("div", { class: "more", hidden: true },
			button(T.loadMore, () => this.#load()), note(T.moreNote));
		this.element = div("",
			div("bar", this.title, div("buttons", ...tools)),
			div("bar search", this.filter, this.count, ...beside),
			this.body, this.more);
		this.watcher = new IntersectionObserver((seen) => {
			if (seen.at(-1).isIntersecting && this.grid.items.length < UNASKED) this.#load();
		}, { rootMargin: "1500px" });
		signal.addEventListener("abort", () => this.watcher.disconnect());
	}

	/** Loads the first page.  Throws where the place is not a directory. */
	async open() {
		const slow = setTimeout(() => this.body.replaceChildren(note(T.loading)), SLOW_MS);
		try {
			const { items, next } = await this.page(null);
			this.element.classList.remove("failed");
			this.next = next;
			this.grid.set(items);
			this.#show();
			whisper(`${this.title.textContent}: ${T.entries(items.length, next)}`);
		} catch (error) {
			if (error.name === "AbortError" || error.code === "not_a_directory") throw error;
			this.element.classList.add("failed");
			this.body.replaceChildren(problem(error, () => this.open()));
			whisper(sentence(error));
		} finally {
			clearTimeout(slow);
		}
	}

	focus(wanted) {
		if (!this.grid.focus(wanted)) this.title.focus();
	}

	change(removed, added) {
		const next = this.grid.replace(removed, added);
		this.#show();
		if (!this.grid.focus((item) => item === next)) this.title.focus();
	}

	async #load() {
		if (this.loading || !this.next) return;
		this.loading = true;
		try {
			const { items, next } = await this.page(this.next);
			this.next = next;
			this.grid.append(items);
			this.#show();
		} catch (error) {
			if (error.name !== "AbortError") announce(reason(error)); // the button tries again
		} finally {
			this.loading = false;
		}
	}

	#show() {
		const { items, shown, filter, element } = this.grid;
		this.count.textContent = filter
			? T.entriesShown(shown.length, items.length, this.next) : T.entries(items.length, this.next);
		this.more.hidden = !this.next;
		const nothing = items.length ? [T.noMatch(this.filter.value)] : this.empty;
		this.body.replaceChildren(shown.length ? element : notice("empty", ...nothing));
		this.watcher.unobserve(this.more);
		if (this.next) this.watcher.observe(this.more); // responds at once where it is in sight
	}

	#filter(text) {
		this.grid.filter = text;
		this.grid.render();
		this.#show();
		whisper(this.count.textContent);
	}
}

function filterBox(changed) {
	let waiting = 0;
	const input = () => {
		clearTimeout(waiting);
		waiting = setTimeout(() => changed(box.value), TYPING_MS);
	};
	const box = h("input", { type: "search", "aria-label": T.filter, placeholder: T.filterHint,
		autocomplete: "off", spellcheck: "false", on: { input } });
	return box;
}
