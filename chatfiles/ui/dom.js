// Creates elements.  Text only ever becomes text: nothing here parses markup.

import { T } from "./strings.js";

const LOUD_MS = 3000;
const SHOWN_MS = 10_000;

const status = document.getElementById("status");
let clearing = 0;
let loud = -Infinity;

/** `properties` are attributes, but for `on`, which has listeners, and `text`. */
export function h(tag, properties = {}, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(properties)) {
		if (value === false || value === null || value === undefined) continue;
		if (name === "text") element.textContent = value;
		else if (name === "on") {
			for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
		} else element.setAttribute(name, value === true ? "" : value);
	}
	element.append(...children.filter((child) => child !== null));
	return element;
}

export const div = (kind, ...children) => h("div", { class: kind || null }, ...children);

export const note = (text) => h("p", { class: "note", text });

/** A button; `label` is its accessible name, `text` its visible text, `icon` one of style.css. */
export function button(label, click, { text = label, icon, class: kind = "", ...more } = {}) {
	return h("button", { type: "button", class: icon ? `icon ${icon} ${kind}` : kind || null,
		"aria-label": text === label ? null : label, title: text ? null : label, text, on: { click }, ...more });
}

export const iconButton = (label, icon, click) => button(label, click, { icon, text: "", class: "plain" });

/** Says what has happened, in the one live region of the page. */
export function announce(text, kind = "") {
	if (!kind) loud = performance.now();
	clearTimeout(clearing);
	status.className = text && (kind || "toast");
	status.textContent = text;
	clearing = setTimeout(() => (status.textContent = status.className = ""), SHOWN_MS);
}

/** Says it only to assistive technology, and not just after something else. */
export function whisper(text) {
	if (performance.now() - loud >= LOUD_MS) announce(text, "unseen");
}

export function notice(icon, title, hint, ...more) {
	return div(`notice icon ${icon}`, h("h2", { text: title }), hint ? h("p", { text: hint }) : null, ...more);
}

/** Opens a dialog.  Closing it removes it, and returns the focus. */
export function openDialog(title, ...content) {
	const dialog = h("dialog", { "aria-labelledby": "dialog-title", on: {
		click: (event) => event.target === dialog && dialog.close(),
		close: () => {
			document.body.append(status);
			dialog.remove();
		},
	} }, h("header", {}, h("h2", { id: "dialog-title", text: title }),
		iconButton(T.close, "close", () => dialog.close())), ...content);
	document.body.append(dialog);
	dialog.append(status); // what is outside of a modal dialog is not announced
	dialog.showModal();
	return dialog;
}
