// Signing in, the list of workspaces, and what is shown where something failed.

import { announce, button, h, notice } from "./dom.js";
import { addressOf, date, sentence, time, visible } from "./format.js";
import { filterBox, Grid } from "./rows.js";
import { T } from "./strings.js";

export function problem(error, again) {
  const reference = error.requestId ? h("p", { class: "note", text: T.requestId(error.requestId) }) : null;
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
    announce(text, { quiet: true });
    field.focus();
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
  if (reason) announce(reason, { quiet: true });
  return h("main", { class: "sign-in" },
    h("form", { on: { submit } }, brand(), h("h1", { text: T.signInTitle }), h("p", { text: T.signInLead }),
      h("label", { for: "token", text: T.token }), field, complaint, go,
      h("p", { id: "token-note", class: "note", text: T.signInNote })));
}

/** The administrator's list. */
export class Workspaces {
  constructor(api, names) {
    this.api = api;
    this.names = names;
    this.grid = new Grid(T.workspaces, {
      name: { label: T.name, value: nameOf, cell: (each) => [
        h("a", { class: "main", href: addressOf(each.id), text: visible(nameOf(each)) })] },
      state: { label: T.state, value: stateOf, cell: (each) => [stateOf(each)] },
      time: { label: T.lastHeard, value: (each) => each.last_heartbeat_at ?? "", cell: (each) => [
        each.last_heartbeat_at ? time(date(each.last_heartbeat_at)) : ""] },
    }, { nameOf, rowClass: () => "workspace" });
    this.list = h("div", { class: "list" });
    this.filter = filterBox((text) => {
      this.grid.filter = text;
      this.grid.render();
      this.#show();
    });
    this.title = h("h1", { tabindex: -1, text: T.workspaces });
    this.more = h("div", { class: "more", hidden: true }, button(T.loadMore, () => this.open()));
    this.element = h("div", { class: "directory" }, h("div", { class: "bar" }, this.title,
      h("p", { class: "note", text: T.workspacesLead })), h("div", { class: "bar search" }, this.filter),
      this.list, this.more);
  }

  async open() {
    try {
      const after = this.next ? `?after=${encodeURIComponent(this.next)}` : "";
      const page = await this.api.get(`workspaces${after}`);
      this.next = page.next;
      page.workspaces.forEach((each) => this.names.set(each.id, nameOf(each)));
      this.grid.append(page.workspaces);
      this.more.hidden = !this.next;
      this.#show();
      announce(T.opened(T.workspaces, this.grid.items.length, this.next), { quiet: true });
    } catch (error) {
      this.list.replaceChildren(problem(error, () => this.open()));
    }
  }

  focus() {
    if (!this.grid.focus()) this.title.focus();
  }

  #show() {
    const { items, shown } = this.grid;
    if (shown.length) this.list.replaceChildren(this.grid.element);
    else if (items.length) this.list.replaceChildren(notice("empty", T.noMatch(this.filter.value)));
    else this.list.replaceChildren(notice("empty", T.noWorkspaces, T.noWorkspacesHint));
  }
}

const nameOf = (workspace) => workspace.name || workspace.id;
const stateOf = (workspace) => T.states[workspace.status] ?? workspace.status ?? "";

