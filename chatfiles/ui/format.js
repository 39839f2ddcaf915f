// How values are shown, and how references to files are taken apart.

import { T } from "./strings.js";

const UNITS = ["B", "KB", "MB", "GB", "TB", "PB"];
const short = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
// What is invisible, but for what chooses between forms of an emoji: a name could pretend to be another.
const HIDDEN = /(?![\ufe00-\ufe0f])[\p{Cc}\p{Zl}\p{Zp}\p{DI}]|^\p{Zs}+|\p{Zs}+$/gu;
// Text that browsers would save, but that is harmless as text.
const TEXT = /^text\/(?!html)|^application\/(?!xhtml)(.+\+)?(json5?|sql|toml|x-ndjson|x-pem-file|xml|yaml)$/;
const VIEWABLE = new Set([
	"application/pdf", "image/apng", "image/avif", "image/bmp", "image/gif", "image/heic", "image/heif",
	"image/jpeg", "image/jxl", "image/png", "image/tiff", "image/vnd.microsoft.icon", "image/webp", "image/x-icon",
]);

export function size(bytes) {
	let unit = 0;
	while (bytes >= 1023.5 && unit < UNITS.length - 1) {
		bytes /= 1024;
		unit += 1;
	}
	return `${bytes < 9.95 ? +bytes.toFixed(1) : Math.round(bytes)} ${UNITS[unit]}`;
}

/** A time of the server has nine digits: too many for some browsers. */
export function time(text) {
	const date = new Date((text ?? "").replace(/(\.\d{3})\d*/, "$1"));
	return Number.isNaN(date.getTime()) ? "" : short.format(date);
}

export function visible(name) {
	const code = (c) => `⟨${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
	return name.replace(HIDDEN, (found) => Array.from(found, code).join(""));
}

/** How a media type is shown: image, pdf, text, audio, video, or not at all. */
export function previewKind(mediaType = "") {
	const essence = mediaType.split(";")[0].trim().toLowerCase();
	const family = essence.split("/")[0];
	if (family === "audio" || family === "video") return family;
	if (VIEWABLE.has(essence)) return family === "image" ? family : "pdf";
	return TEXT.test(essence) ? "text" : undefined;
}

/** What a person typed into the address, safe behind `path=`. */
export function cleanRef(text) {
	return text
		.replace(/%(?![0-9A-Fa-f]{2})/g, "%25")
		.replace(/[^\w\-.~/%]/g, encodeURIComponent)
		.replace(/(?<=.)\/+$/, "");
}

/** The text of a reference; bytes that are not UTF-8 become U+FFFD. */
export function segmentName(ref) {
	const bytes = ref.replace(/%(..)/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
	return new TextDecoder().decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
}

/** The directory above, or "" above a root. */
export const parentRef = (ref) => ref.slice(0, ref.lastIndexOf("/"));

export const addressOf = (workspace, ref = "") => `#/${workspace}${ref}`;

/** What an error says to a person: the server's own words. */
export const sentence = (error) => visible(error.sentence ?? T.malformed);

/** The same with a hint and the request id. */
export const reason = (error) =>
	[sentence(error), T.hints[error.code], error.requestId && T.requestId(error.requestId)].filter(Boolean).join(" · ");
