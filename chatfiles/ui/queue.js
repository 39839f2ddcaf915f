// The queue of uploads.  It knows nothing of HTTP: a transport sends one file.

/**
 * @typedef {object} Transport
 * @property {(upload: Upload, events: {progress: (sent: number, again?: boolean) => void,
 *   waits: (error: Error) => void, signal: AbortSignal}) => Promise<{ref: string}>} send
 *   resolves to where the file is; rejects with the reason. `again`: it continues at `sent`.
 * @property {(upload: Upload) => void} [discard] removes what was sent of an upload that is not running.
 */

/** Weight of the newest measurement in the speed. */
const WEIGHT = 0.3;
const MEASURED_MS = 500;

export class Upload {
	// → sending → stored | failed | cancelled; a failed one can wait again.  An interrupted one
	// needs its file: the page was loaded again.
	state = "waiting";
	sent = 0;
	speed = 0;
	error = null; // the reason of a failure, or of a wait
	result = null;
	aborter = null;
	noticed = false; // whether the person has been told where it is
	url = null; // for the transport, as the next one
	offset = 0;

	constructor(file, name = file.name) {
		this.file = file;
		this.name = name;
	}

	get size() {
		return this.file.size;
	}

	get active() {
		return this.state === "waiting" || this.state === "sending";
	}

	get cancellable() {
		return this.active || this.state === "interrupted";
	}
}

export class UploadQueue extends EventTarget {
	/**
	 * Fires `change` with an upload as `detail`, and `idle` when none is left to send.
	 * @param {Transport} transport
	 */
	constructor(transport, { parallel = 3, now = () => performance.now() } = {}) {
		super();
		Object.assign(this, { transport, parallel, now });
		this.uploads = [];
	}

	get active() {
		return this.uploads.some((each) => each.active);
	}

	/** Lists uploads that need their file again. */
	restore(unfinished) {
		for (const { url, ...file } of unfinished) {
			const upload = Object.assign(new Upload(file), { url, state: "interrupted" });
			this.uploads.push(upload);
			this.#changed(upload);
		}
	}

	add(files) {
		for (const { file, name } of files) {
			const { size, lastModified } = file;
			const same = (each) => each.state === "interrupted" && each.name === name &&
				each.size === size && each.file.lastModified === lastModified;
			let upload = this.uploads.find(same);
			if (upload) Object.assign(upload, { file, state: "waiting" });
			else this.uploads.push((upload = new Upload(file, name)));
			this.#changed(upload);
		}
		this.#next();
	}

	cancel(upload) {
		if (!upload.cancellable) return;
		const { aborter } = upload;
		if (!upload.active) this.#remove(upload); // it has no file, so it cannot be tried again
		upload.state = "cancelled";
		this.#changed(upload);
		if (aborter) return aborter.abort();
		this.transport.discard?.(upload);
		this.#next();
	}

	retry(upload) {
		if (upload.active || upload.state === "stored") return;
		Object.assign(upload, { state: "waiting", sent: 0, speed: 0, error: null });
		this.#changed(upload);
		this.#next();
	}

	/** Forgets what has ended. */
	clear() {
		this.uploads.filter((each) => !each.cancellable).forEach((each) => this.#remove(each));
	}

	cancelAll() {
		this.uploads.forEach((each) => this.cancel(each));
	}

	#remove(upload) {
		this.uploads = this.uploads.filter((each) => each !== upload);
		this.#changed(upload);
	}

	#next() {
		const running = this.uploads.filter((each) => each.aborter).length;
		const waiting = this.uploads.filter((each) => each.state === "waiting" && !each.aborter);
		waiting.slice(0, Math.max(0, this.parallel - running)).forEach((each) => this.#send(each));
		if (!this.active) this.dispatchEvent(new Event("idle"));
	}

	async #send(upload) {
		const aborter = new AbortController();
		Object.assign(upload, { state: "sending", aborter });
		this.#changed(upload);
		const waits = (error) => {
			Object.assign(upload, { error, speed: 0 });
			this.#changed(upload);
		};
		try {
			const events = { progress: this.#meter(upload), waits, signal: aborter.signal };
			upload.result = await this.transport.send(upload, events);
			Object.assign(upload, { state: "stored", sent: upload.size, error: null });
		} catch (error) {
			if (upload.state === "sending") Object.assign(upload, { state: "failed", error });
		}
		upload.aborter = null;
		this.#changed(upload);
		this.#next();
	}

	#meter(upload) {
		let at = this.now();
		let before = 0;
		return (sent, again = false) => {
			if (again) [at, before] = [this.now(), sent];
			const passed = this.now() - at;
			Object.assign(upload, { sent: Math.min(sent, upload.size), error: null });
			if (passed >= MEASURED_MS) {
				const speed = ((sent - before) * 1000) / passed;
				upload.speed = upload.speed ? upload.speed + WEIGHT * (speed - upload.speed) : speed;
				at += passed;
				before = sent;
			}
			this.#changed(upload);
		};
	}

	#changed(upload) {
		this.dispatchEvent(new CustomEvent("change", { detail: upload }));
	}
}
