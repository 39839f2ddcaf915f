// The drop page: people with the link can send files, and see nothing.

import { BASE, exchange } from "./api.js";
import { announce, div, h, note } from "./dom.js";
import { size, time } from "./format.js";
import { UploadQueue } from "./queue.js";
import { T } from "./strings.js";
import { formTransport } from "./transport.js";
import { acceptDrops, uploadButton, uploadPanel } from "./uploads.js";
import { brand } from "./views.js";

export function dropPage(root) {
	document.title = `${T.dropTitle} – ${T.product}`;
	const query = new URLSearchParams(location.search);
	const queue = new UploadQueue(formTransport(new URL(location.href)));
	const add = (files) => queue.add(files);
	const expires = new Date(query.get("e") * 1000);
	const until = note(T.dropExpires(time(expires.toISOString())));
	setTimeout(() => (until.textContent = T.dropExpired), expires - Date.now());
	root.replaceChildren(h("main", { class: "drop" },
		brand(), h("h1", { text: T.dropTitle }),
		div("zone", h("p", { text: T.dropLead }), ...uploadButton(T.uploadFiles, add)),
		until, uploadPanel(queue, false)));
	exchange("GET", new URL("uploads/limits", BASE)).then(({ responseText }) => {
		const own = /\bmb=(\d+)/.exec(query.get("o")); // the limit of the link
		const most = Math.min(JSON.parse(responseText).per_file_bytes, own ? own[1] : Infinity);
		until.append(` ${T.uploadLimit(size(most))}`);
	}, () => {});
	acceptDrops(() => add);
	addEventListener("beforeunload", (event) => queue.active && event.preventDefault());
	queue.addEventListener("idle", () => {
		const { length } = queue.uploads;
		if (length && queue.count("stored") === length) announce(T.dropDone);
	});
}
