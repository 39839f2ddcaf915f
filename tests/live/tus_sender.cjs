// A resumable upload with tus-js-client in Node.  The job of tus_senders.py comes in JSON.
// The first argument is the directory of the package.
const fs = require("node:fs");
const tus = require(process.argv[2]);

const job = JSON.parse(fs.readFileSync(0, "utf8"));
const upload = new tus.Upload(fs.createReadStream(job.path), {
  endpoint: job.url,
  headers: job.headers,
  metadata: job.metadata,
  retryDelays: Array(40).fill(0),
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess: () => process.exit(0),
});
upload.start();
