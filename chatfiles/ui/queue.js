// The queue of uploads.  It knows nothing of HTTP: a transport sends one file.

const PARALLEL = 3;
const MEASURED_MS = 1000;

class Upload {
	// → sending → stored | failed | cancelled; the last two can wait again.  An interrupted one
	// needs its file: the page was loaded again.
	state = "waiting";
	sent = 0;
	speed = 0;
	error = null; // the reason of a failure, or of a wait
	result = null;
	aborter = null;
	noticed = false; // whether the person has been told where it is
	url = null; // for the transport
	offset = 0;

	constructor(file, name = file.name) {
		const { size, lastModified } = file;
		Object.assign(this, { file, name, size, lastModified });
	}

	get active() {
		return this.state === "waiting" || this.state === "sending";
	}

	get ended() {
		return !this.active && this.state !== "interrupted";
	}

	is({ size, lastModified }, name) {
		return this.name === name && this.size === size && this.lastModified === lastModified;
	}
}

/** Fires `change` with an upload as `detail`, and `idle` when none is left to send. */
export class UploadQueue extends EventTarget {
	uploads = [];
	fresh = new Set(); // the refs of the newest files

	constructor(transport) {
		super();
		this.transport = transport;
	}

	get active() {
		return this.uploads.some((each) => each.active);
	}

	count(state) {
		return this.uploads.filter((each) => each.state === state).length;
	}

	/** Lists uploads that need their file again. */
	restore(unfinished) {
		for (const { url, ...file } of unfinished) this.#add(Object.assign(new Upload(file), { url, state: "interrupted" }));
	}

	/** What is being sent already is not sent twice. */
	add(files) {
		for (const { file, name } of files) {
			const same = this.uploads.find((each) => each.state !== "stored" && each.is(file, name));
			if (!same) this.#add(new Upload(file, name));
			else if (!same.active) this.#change(same, { file, state: "waiting", error: null });
		}
		this.#next();
	}

	retry({ file, name }) {
		this.add([{ file, name }]);
	}

	cancel(upload) {
		if (upload.ended) return;
		if (!upload.active) this.#remove(upload); // without a file it cannot be tried again
		this.#change(upload, { state: "cancelled" });
		if (upload.aborter) return upload.aborter.abort();
		this.transport.discard?.(upload);
		this.#next();
	}

	clear() {
		this.uploads.filter((each) => each.ended).forEach((each) => this.#remove(each));
	}

	#add(upload) {
		this.uploads.push(upload);
		this.#change(upload);
	}

	#remove(upload) {
		this.uploads = this.uploads.filter((each) => each !== upload);
		this.#change(upload);
	}

	#next() {
		for (const each of this.uploads) {
			const free = this.uploads.filter(({ aborter }) => aborter).length < PARALLEL;
			if (free && each.state === "waiting" && !each.aborter) this.#send(each);
		}
		if (!this.active) this.dispatchEvent(new Event("idle"));
	}

	async #send(upload) {
		const aborter = new AbortController();
		this.#change(upload, { state: "sending", sent: 0, speed: 0, aborter });
		const waits = (error) => this.#change(upload, { error, speed: 0 });
		try {
			const events = { progress: this.#meter(upload), waits, signal: aborter.signal };
			const result = await this.transport.send(upload, events);
			Object.assign(upload, { result, state: "stored", error: null });
		} catch (error) {
			if (upload.state === "sending") Object.assign(upload, { state: "failed", error });
		}
		this.#change(upload, { aborter: null });
		this.#next();
	}

	/** A transport calls it with the bytes that were sent; `again`: it continues there. */
	#meter(upload) {
		let at = performance.now();
		let before = 0;
		return (sent, again = false) => {
			const passed = performance.now() - at;
			let { speed } = upload;
			if (passed >= MEASURED_MS || again) {
				if (!again) speed = ((sent - before) * 1000) / passed;
				at += passed;
				before = sent;
			}
			this.#change(upload, { sent, speed, error: null });
		};
	}

	#change(upload, facts = {}) {
		Object.assign(upload, facts);
		this.dispatchEvent(new CustomEvent("change", { detail: upload }));
	}
}
