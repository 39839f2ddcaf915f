// Starts the page, and shows what its address names.

import { Api, BASE } from "./api.js";
import { addressAbove, breadcrumbs, Directory, Workspaces } from "./browse.js";
import { announce, button, div, h, note, notice } from "./dom.js";
import { dropPage } from "./drop.js";
import { addressOf, cleanRef, parentRef, reason, visible } from "./format.js";
import { Preview } from "./preview.js";
import { UploadQueue } from "./queue.js";
import { share } from "./share.js";
import { T } from "./strings.js";
import { formTransport } from "./transport.js";
import { tusTransport } from "./tus.js";
import { acceptDrops, uploadButton, uploadPanel } from "./uploads.js";
import { brand, problem, signInView } from "./views.js";

/** Characters that a path of 4096 bytes has at most. */
const LONGEST = 13_000;
const TOKEN = /^#token=(.*)$/;
const ADDRESS = /^#\/([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})(\/.*)?$/i;
const BETWEEN_DOWNLOADS_MS = 1000;

class App {
	me = null;
	place = null;
	names = new Map();
	queues = new Map();
	turn = new AbortController();

	constructor(root) {
		this.root = root;
		this.api = new Api(() => this.signedOut());
		this.actions = {
			download: (...entries) => this.download(entries),
			share: (entry) => share(this.api, this.place.workspace, entry),
			preview: (entry) => this.preview.open(this.place.workspace, entry),
		};
		this.preview = new Preview(this.api, this.actions);
		this.who = note("");
		this.panels = div("panels");
		this.header = h("header", { class: "top" }, h("a", { href: "#/", "aria-label": T.product }, brand()),
			this.who, button(T.forget, () => this.forget(), { title: T.forgetHint }));
		this.crumbs = h("div");
		this.main = h("main");
	}

	async start() {
		addEventListener("hashchange", () => this.route());
		addEventListener("keydown", (event) => this.key(event));
		addEventListener("beforeunload", (event) => this.unload(event));
		acceptDrops(() => this.adder());
		await this.route();
	}

	takeToken() {
		const [, token] = TOKEN.exec(location.hash) ?? [];
		if (token === undefined) return;
		history.replaceState(null, "", location.pathname);
		if (this.api.token && this.api.token !== token) {
			if (!confirm(T.otherToken)) return; // anyone can write such a link
			this.signedOut("");
		}
		this.me = null;
		this.byLink = true;
		this.api.remember(token);
	}

	async enter(token) {
		this.byLink = false;
		this.api.remember(token);
		await this.identify().catch((error) => {
			this.api.remember("");
			throw error;
		});
		await this.route();
	}

	async identify() {
		this.me ??= await this.api.get("whoami", { asks: true });
	}

	signedOut(why = T.tokenEnded) {
		this.turn.abort();
		this.api.remember("");
		this.me = null;
		this.place = null;
		this.preview.close();
		document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
		this.cancelUploads();
		this.queues.clear();
		this.names.clear();
		this.panels.replaceChildren();
		document.title = `${T.signInTitle} – ${T.product}`;
		this.root.replaceChildren(signInView((token) => this.enter(token), why));
		document.getElementById("token").focus();
	}

	forget() {
		history.replaceState(null, "", location.pathname);
		this.cancelUploads(); // with the token, so that they are removed
		this.signedOut("");
		announce(T.forgotten);
	}

	can(scope) {
		return this.me.admin || this.me.scopes.includes(scope);
	}

	owns({ workspace }) {
		return this.me.admin || workspace === this.me.workspace;
	}

	async route() {
		this.takeToken();
		if (!this.api.token) return this.signedOut("");
		try {
			await this.identify();
		} catch (error) {
			if (error.status === 401) return this.signedOut(T.tokenInvalid);
			return this.root.replaceChildren(this.header, h("main", {}, problem(error, () => this.route())));
		}
		const { me } = this;
		const who = me.admin ? T.administrator : visible(me.name || me.workspace);
		// It may lead into a workspace of theirs.
		this.who.textContent = this.byLink ? T.signedInByLink(who) : who;
		const [, workspace, ref = ""] = (location.hash.length < LONGEST && ADDRESS.exec(location.hash)) || [];
		if (!workspace && !me.admin) {
			history.replaceState(null, "", addressOf(me.workspace));
			return this.route();
		}
		return this.show(workspace ? { workspace: workspace.toLowerCase(), ref: cleanRef(ref) } : null);
	}

	async show(place) {
		const before = this.place;
		this.turn.abort();
		this.turn = new AbortController();
		const { signal } = this.turn;
		this.preview.close();
		this.place = place;
		if (!this.main.isConnected) {
			this.root.replaceChildren(this.header, this.crumbs, this.main, this.preview.element, this.panels);
		}
		const view = place ? this.view(place, signal) : new Workspaces(this.api, this.names, signal);
		this.frame();
		this.main.replaceChildren(view.element);
		if (!view.open) return;
		try {
			await view.open();
		} catch (error) {
			if (error.name === "AbortError") return;
			return location.replace(addressOf(place.workspace, parentRef(place.ref))); // a file: show its folder
		}
		if (signal.aborted) return;
		const from = before?.workspace === place?.workspace ? before?.ref : "";
		view.focus(place && from && parentRef(from) === place.ref ? from : undefined);
	}

	frame() {
		const { place, me } = this;
		const name = place ? visible(this.names.get(place.workspace) ?? me.name ?? place.workspace) : "";
		const crumbs = breadcrumbs(place, name, me.admin ? [[T.workspaces, "#/"]] : []);
		this.crumbs.replaceChildren(crumbs.element);
		document.title = [...crumbs.titles.reverse().slice(0, 2), T.product].join(" – ");
	}

	view(place, signal) {
		const { api, me, names } = this;
		if (!this.owns(place)) {
			const own = h("a", { href: addressOf(me.workspace), text: T.ownWorkspace });
			return { element: notice("warning", T.otherWorkspace, T.otherWorkspaceHint, own) };
		}
		if (me.admin && !names.has(place.workspace)) {
			api.get(`workspaces/${place.workspace}`, { signal }).then(({ id, name }) => {
				names.set(id, name || id);
				this.frame();
			}, () => {}); // the list says why
		}
		const write = this.can("write");
		const tools = write ? [button(T.requestFiles, () => this.actions.share(null), { icon: "inbox" }),
			...uploadButton(T.upload, this.adder(place))] : [];
		const { fresh } = this.queueOf(place.workspace);
		if (this.can("read")) return new Directory(api, place, this.actions, { signal, tools, fresh, write });
		return { element: div("", div("bar", h("h1", { tabindex: -1, text: T.files }),
			div("buttons", ...tools)), notice("empty", write ? T.noRead : T.noAccess)) };
	}

	key(event) {
		const { target } = event;
		const inDialog = target.closest?.("dialog");
		if (event.key === "Escape" && !inDialog) this.preview.close();
		const typing = inDialog || target.closest?.("input:not([type=checkbox])");
		if (event.key !== "Backspace" || typing || event.altKey || event.ctrlKey || event.metaKey) return;
		const above = this.me && addressAbove(this.place, this.me.admin);
		if (!above) return;
		event.preventDefault();
		location.hash = above;
	}

	/** By the browser itself, one after the other. */
	async download(entries) {
		for (const entry of entries) {
			const name = visible(entry.name);
			try {
				const href = await this.api.downloadLink(this.place.workspace, entry);
				h("a", { href, download: true }).click(); // not a navigation, for uploads that run
				announce(T.downloading(name));
			} catch (error) {
				announce(`${name}: ${reason(error)}`);
			}
			await new Promise((resolve) => setTimeout(resolve, BETWEEN_DOWNLOADS_MS));
		}
	}

	unload(event) {
		if ([...this.queues.values()].some((queue) => queue.active)) event.preventDefault();
	}

	cancelUploads() {
		this.queues.forEach((queue) => queue.uploads.forEach((each) => queue.cancel(each)));
	}

	adder(place = this.place) {
		if (!place || !this.me || !this.can("write") || !this.owns(place)) return null;
		return (files) => this.queueOf(place.workspace).add(files);
	}

	queueOf(workspace) {
		if (!this.queues.has(workspace)) {
			const url = (path) => new URL(`workspaces/${workspace}/${path}`, BASE);
			const form = formTransport(url("chat/uploads"), this.api.ask);
			const transport = tusTransport(url("uploads"), this.api, form);
			const queue = new UploadQueue(transport);
			this.panels.append(uploadPanel(queue, this.can("read")));
			this.queues.set(workspace, queue);
			queue.addEventListener("idle", () => this.uploaded(workspace, queue));
			queue.restore(transport.unfinished());
		}
		return this.queues.get(workspace);
	}

	/** Shows where the files are. */
	uploaded(workspace, queue) {
		const { fresh } = queue;
		const added = queue.uploads.filter((each) => each.state === "stored" && !each.noticed);
		if (!added.length) return;
		fresh.clear();
		added.forEach((each) => {
			each.noticed = true;
			fresh.add(each.result.ref);
		});
		announce(T.uploadsEnded(added.length, queue.count("failed")));
		if (!this.me || !this.can("read") || this.place?.workspace !== workspace) return;
		const address = addressOf(workspace, parentRef(added[0].result.ref));
		if (location.hash === address) this.route();
		else location.hash = address;
	}
}

const root = document.getElementById("app");
if (location.pathname.endsWith("/links/upload")) dropPage(root);
else new App(root).start();
