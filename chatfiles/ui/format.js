// How values are shown, and how references to files are taken apart.

import { T } from "./strings.js";

const UNITS = ["B", "KB", "MB", "GB", "TB", "PB"];
const short = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
// Control characters, and those that change the direction of text: a name could pretend to be
// another one with them.
const HIDDEN = /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/gu;
const VIEWABLE = {
  "application/pdf": "pdf", "text/plain": "text", "image/apng": "image", "image/avif": "image",
  "image/bmp": "image", "image/gif": "image", "image/heic": "image", "image/heif": "image",
  "image/jpeg": "image", "image/jxl": "image", "image/png": "image", "image/tiff": "image",
  "image/vnd.microsoft.icon": "image", "image/webp": "image", "image/x-icon": "image",
};

export function size(bytes) {
  let unit = 0;
  while (bytes >= 1023.5 && unit < UNITS.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${unit && bytes < 9.95 ? bytes.toFixed(1) : Math.round(bytes)} ${UNITS[unit]}`;
}

/** A time of the server, which has nine digits: too many for some browsers. */
export const date = (text = "") => new Date(text.replace(/(\.\d{3})\d*/, "$1"));

export const time = (when) => (Number.isNaN(when.getTime()) ? "" : short.format(when));

/** A name in which nothing is invisible. */
export function visible(name) {
  return name.replace(HIDDEN, (c) =>
    `⟨${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

/** The kind of preview of a media type: image, pdf, text, audio, video, or undefined. */
export function previewKind(mediaType = "") {
  const essence = mediaType.split(";")[0].trim().toLowerCase();
  const family = essence.split("/")[0];
  if (family === "audio" || family === "video") return family;
  return Object.hasOwn(VIEWABLE, essence) ? VIEWABLE[essence] : undefined;
}

/** A reference that is safe behind `path=`, whatever a person typed into the address. */
export function cleanRef(text) {
  return text
    .replace(/%(?![0-9A-Fa-f]{2})/g, "%25")
    .replace(/[^A-Za-z0-9\-._~/%]/gu, (c) => encodeURIComponent(c.toWellFormed?.() ?? c))
    .replace(/(?<=.)\/+$/, "");
}

/** The text of one segment of a reference; bytes that are not UTF-8 become U+FFFD. */
export function segmentName(segment) {
  const bytes = [];
  for (let at = 0; at < segment.length; at += 1) {
    const escaped = segment[at] === "%";
    bytes.push(escaped ? parseInt(segment.slice(at + 1, at + 3), 16) : segment.charCodeAt(at));
    if (escaped) at += 2;
  }
  return new TextDecoder().decode(new Uint8Array(bytes));
}

/** The directory above, or "" above a root. */
export const parentRef = (ref) => ref.slice(0, ref.lastIndexOf("/"));

export const addressOf = (workspace, ref = "") => `#/${workspace}${ref}`;

/** What an error says to a person: the server's own words. */
export const sentence = (error) => error.sentence ?? T.offline;
