// An upload with Node's fetch; the job is described in senders.py.
import { readFileSync, openAsBlob } from "node:fs";

const job = JSON.parse(readFileSync(0, "utf8"));
const form = new FormData();
for (const [path, name, type] of job.files) {
  form.append("files", await openAsBlob(path, type ? { type } : {}), name);
}
const response = await fetch(job.url, {
  method: "POST",
  headers: { Authorization: job.authorization },
  body: form,
});
console.log(JSON.stringify({ status: response.status, body: await response.text() }));
