// The queue of uploads.  It knows nothing of HTTP: a transport sends one file.

/**
 * @typedef {{send: (file: File, events: {progress: (sent: number) => void, signal: AbortSignal}) =>
 *   Promise<object>}} Transport resolves to what was stored; rejects with the reason.
 */

/** Weight of the newest measurement in the speed. */
const WEIGHT = 0.3;
const MEASURED_MS = 500;

export class Upload {
	state = "waiting"; // → sending → stored | failed | cancelled; a failed one can wait again
	sent = 0;
	speed = 0;
	error = null;
	result = null;
	aborter = null;
	noticed = false; // whether the person has been told where it is

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
}

export class UploadQueue extends EventTarget {
	/**
	 * Fires `change` with an upload as `detail`, and `idle` when none is left to send.
	 * @param {Transport} transport
	 */
	constructor(transport, { parallel = 3, now = () => performance.now() } = {}) {
		super();
		this.transport = transport;
		this.parallel = parallel;
		this.now = now;
		this.uploads = [];
	}

	get active() {
		return this.uploads.some((each) => each.active);
	}

	add(files) {
		const added = files.map(({ file, name }) => new Upload(file, name));
		this.uploads.push(...added);
		added.forEach((each) => this.#changed(each));
		this.#next();
		return added;
	}

	cancel(upload) {
		if (!upload.active) return;
		const { aborter } = upload;
		upload.state = "cancelled";
		this.#changed(upload);
		if (aborter) aborter.abort();
		else this.#next();
	}

	retry(upload) {
		if (upload.active || upload.state === "stored") return;
		Object.assign(upload, { state: "waiting", sent: 0, speed: 0, error: null });
		this.#changed(upload);
		this.#next();
	}

	/** Forgets what has ended. */
	clear() {
		this.uploads = this.uploads.filter((each) => each.active);
	}

	cancelAll() {
		this.uploads.forEach((each) => this.cancel(each));
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
		try {
			const progress = this.#meter(upload);
			upload.result = await this.transport.send(upload.file, { progress, signal: aborter.signal });
			Object.assign(upload, { state: "stored", sent: upload.size });
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
		return (sent) => {
			const passed = this.now() - at;
			upload.sent = Math.min(sent, upload.size);
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
