// The drop page: people with the link can send files, and see nothing.

import { BASE } from "./api.js";
import { announce, h } from "./dom.js";
import { size, time } from "./format.js";
import { UploadQueue } from "./queue.js";
import { T } from "./strings.js";
import { formTransport } from "./transport.js";
import { acceptDrops, uploadButton, UploadPanel } from "./uploads.js";
import { brand } from "./views.js";

export function dropPage(root) {
  document.title = `${T.dropTitle} – ${T.product}`;
  const query = new URLSearchParams(location.search);
  const queue = new UploadQueue(formTransport(new URL(location.href)));
  const panel = new UploadPanel(queue);
  const add = (files) => queue.add(files);
  const until = h("p", { class: "note", text: T.dropExpires(time(new Date(query.get("e") * 1000))) });
  root.replaceChildren(h("main", { class: "drop" },
    brand(), h("h1", { text: T.dropTitle }),
    h("div", { class: "zone" }, h("p", { text: T.dropLead }), ...uploadButton(T.uploadFiles, add)),
    until, panel.element));
  fetch(new URL("uploads/limits", BASE)).then((response) => response.json()).then((limits) => {
    const own = /\bmb=(\d+)/.exec(query.get("o")); // the limit of the link
    const most = Math.min(limits.per_file_bytes, own ? own[1] : Infinity);
    until.append(` ${T.uploadLimit(size(most))}`);
  }, () => {});
  acceptDrops(() => add);
  addEventListener("beforeunload", (event) => queue.active && event.preventDefault());
  queue.addEventListener("idle", () => {
    const stored = queue.uploads.filter((each) => each.state === "stored").length;
    if (stored && stored === queue.uploads.length) announce(T.dropDone);
  });
}
