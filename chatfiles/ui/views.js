// Forms, and what is shown where something failed.

import { button, h, note, notice, whisper } from "./dom.js";
import { reason, sentence } from "./format.js";
import { T } from "./strings.js";

export function problem(error, again) {
	const reference = error.requestId ? note(T.requestId(error.requestId)) : null;
	return notice("warning", sentence(error), T.hints[error.code] ?? "",
		button(T.tryAgain, again, { icon: "again" }), reference);
}

export const brand = () =>
	h("span", { class: "brand" }, h("img", { src: "../ui/logo.svg", alt: "", width: 24, height: 24 }), T.product);

/** A form that shows what `act` throws.  `buttons` are beside the one that submits it. */
export function form(verb, act, content, buttons = []) {
	const complaint = h("p", { id: "problem", class: "problem" });
	const go = h("button", { class: "primary", text: verb });
	const submit = async (event) => {
		event.preventDefault();
		go.disabled = true;
		try {
			await act();
			complaint.textContent = "";
		} catch (error) {
			refuse(reason(error));
		}
		go.disabled = false;
	};
	const element = h("form", { on: { submit } }, ...content, complaint, h("footer", {}, ...buttons, go));
	const field = element.querySelector("input");
	field?.setAttribute("aria-describedby", "note problem");
	const refuse = (text) => {
		complaint.textContent = text;
		whisper(text);
		field?.setAttribute("aria-invalid", "true");
		field?.select(); // what is typed now replaces it
	};
	return Object.assign(element, { refuse });
}

export function labelled(label, id, field) {
	field.id = id;
	return [h("label", { for: id, text: label }), field];
}

export function signInView(enter, refused = "") {
	const field = h("input", { type: "password", autocomplete: "off", spellcheck: "false",
		autocapitalize: "off" });
	const submit = async () => {
		const token = field.value.trim();
		if (!token) throw { sentence: T.tokenEmpty };
		await enter(token).catch((error) => {
			throw error.status === 401 ? { sentence: T.tokenInvalid } : error;
		});
	};
	const view = form(T.signIn, submit, [brand(), h("h1", { text: T.signInTitle }),
		h("p", { text: T.signInLead }), ...labelled(T.token, "token", field)]);
	view.append(h("p", { id: "note", class: "note", text: T.signInNote }));
	if (refused) view.refuse(refused);
	return h("main", { class: "sign-in" }, view);
}
