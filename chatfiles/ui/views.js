// Signing in, and what is shown where something failed.

import { button, h, note, notice, whisper } from "./dom.js";
import { sentence } from "./format.js";
import { T } from "./strings.js";

export function problem(error, again) {
	const reference = error.requestId ? note(T.requestId(error.requestId)) : null;
	return notice("warning", sentence(error), T.hints[error.code] ?? "",
		button(T.tryAgain, again, { icon: "again" }), reference);
}

export const brand = () =>
	h("span", { class: "brand" }, h("img", { src: "../ui/logo.svg", alt: "", width: 24, height: 24 }), T.product);

/** The form for the token.  `enter` resolves once the token is known to be valid. */
export function signInView(enter, reason = "") {
	const field = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false",
		autocapitalize: "off", "aria-describedby": "token-note token-problem" });
	const complaint = h("p", { id: "token-problem", class: "problem", text: reason });
	const go = h("button", { type: "submit", class: "primary", text: T.signIn });
	const refuse = (text) => {
		complaint.textContent = text;
		field.setAttribute("aria-invalid", "true");
		whisper(text);
		field.select(); // what is pasted now replaces it
	};
	const submit = async (event) => {
		event.preventDefault();
		const token = field.value.trim();
		if (!token) return refuse(T.tokenEmpty);
		go.disabled = true;
		try {
			return await enter(token);
		} catch (error) {
			return refuse(error.status === 401 ? T.tokenInvalid : sentence(error));
		} finally {
			go.disabled = false;
		}
	};
	if (reason) whisper(reason);
	return h("main", { class: "sign-in" },
		h("form", { on: { submit } }, brand(), h("h1", { text: T.signInTitle }), h("p", { text: T.signInLead }),
			h("label", { for: "token", text: T.token }), field, complaint, go,
			h("p", { id: "token-note", class: "note", text: T.signInNote })));
}
