"""
Media types by file extension, from a fixed table (reference/downloads, "Headers").

The system's table is not used.  So a name has the same type on every machine, and a user who can
write ``/etc/mime.types`` cannot make a browser treat a picture as a page.

* An extension that names an encoding has the type of the encoding (``a.tar.gz`` is
  ``application/gzip``).  ``Content-Encoding`` is never sent, so this type describes the bytes.
* Source code without a registered type is ``text/plain``.  ``.ts`` is TypeScript, not a transport
  stream, because agents write code here.
* Text has ``charset=utf-8``, although the real charset is unknown.  Nearly every text on such a
  machine is UTF-8, but a browser never guesses that: without a charset it uses a legacy one.  HTML
  has no ``charset``, because the parameter would override the one that the file declares.
"""

from __future__ import annotations

__all__ = ["DEFAULT_MEDIA_TYPE", "may_view_inline", "media_type", "media_type_essence"]

#: The type of a file whose extension is not in the table.
DEFAULT_MEDIA_TYPE = "application/octet-stream"

_EXTENSIONS: dict[str, str] = {
    # encodings: the type of the content does not matter
    "application/gzip": "gz tgz taz svgz emz",
    "application/x-bzip2": "bz2 tbz tbz2",
    "application/x-xz": "xz txz",
    "application/x-lzma": "lzma tlz",
    "application/x-lzip": "lz",
    "application/x-lz4": "lz4",
    "application/x-compress": "z",
    "application/x-brotli": "br",
    "application/zstd": "zst tzst",
    # text and data
    "text/plain": (
        "txt text log conf cfg ini env properties lock diff patch srt rst adoc asciidoc org tex "
        "bib dot gv c cc cpp cxx h hh hpp hxx m mm rs go zig d java kt kts scala groovy gradle "
        "swift dart py pyi pyx rb pl pm php lua r jl nim cr ex exs erl hrl hs ml mli fs fsx clj "
        "cljs lisp el scm rkt cs vb f f90 f95 for pas asm s v sv vhd sh bash zsh fish ksh bat cmd "
        "ps1 psm1 awk sed vim ts tsx mts cts jsx vue svelte astro scss sass less styl coffee proto "
        "thrift graphql gql tf tfvars hcl nix cmake mk mak dockerfile"
    ),
    "text/html": "html htm shtml",
    "text/css": "css",
    "text/javascript": "js mjs cjs",
    "text/markdown": "md markdown mdown mkd mdx",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv tab",
    "text/calendar": "ics ifb",
    "text/vcard": "vcf vcard",
    "text/vtt": "vtt",
    "application/xml": "xml xsd xsl xslt rng plist",
    "application/xhtml+xml": "xhtml xht",
    "application/atom+xml": "atom",
    "application/rss+xml": "rss",
    "application/json": "json map har",
    "application/ld+json": "jsonld",
    "application/geo+json": "geojson",
    "application/json5": "json5",
    "application/x-ndjson": "ndjson jsonl",
    "application/x-ipynb+json": "ipynb",
    "application/manifest+json": "webmanifest",
    "application/yaml": "yaml yml",
    "application/toml": "toml",
    "application/sql": "sql",
    "application/cbor": "cbor",
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apache.arrow.file": "arrow feather",
    "application/vnd.sqlite3": "sqlite sqlite3 db3",
    "application/x-hdf5": "h5 hdf5",
    "application/x-pem-file": "pem",
    "message/rfc822": "eml",
    "application/mbox": "mbox",
    # documents
    "application/pdf": "pdf",
    "application/postscript": "ps eps ai",
    "application/rtf": "rtf",
    "application/epub+zip": "epub",
    "application/x-mobipocket-ebook": "mobi",
    "image/vnd.djvu": "djvu djv",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls xlt",
    "application/vnd.ms-powerpoint": "ppt pps",
    "application/vnd.ms-outlook": "msg",
    "application/vnd.visio": "vsd",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.template": "dotx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.template": "xltx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.presentationml.slideshow": "ppsx",
    "application/vnd.openxmlformats-officedocument.presentationml.template": "potx",
    "application/vnd.ms-word.document.macroenabled.12": "docm",
    "application/vnd.ms-excel.sheet.macroenabled.12": "xlsm",
    "application/vnd.ms-excel.sheet.binary.macroenabled.12": "xlsb",
    "application/vnd.ms-powerpoint.presentation.macroenabled.12": "pptm",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.graphics": "odg",
    "application/vnd.apple.pages": "pages",
    "application/vnd.apple.numbers": "numbers",
    # pictures
    "image/png": "png",
    "image/apng": "apng",
    "image/jpeg": "jpg jpeg jpe jfif",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/bmp": "bmp dib",
    "image/vnd.microsoft.icon": "ico cur",
    "image/tiff": "tif tiff",
    "image/heic": "heic",
    "image/heif": "heif",
    "image/jxl": "jxl",
    "image/jp2": "jp2",
    "image/svg+xml": "svg",
    "image/vnd.adobe.photoshop": "psd",
    "image/x-xcf": "xcf",
    "image/x-portable-anymap": "pnm",
    "image/x-portable-bitmap": "pbm",
    "image/x-portable-graymap": "pgm",
    "image/x-portable-pixmap": "ppm",
    # audio and video; playlists are neither
    "audio/mpeg": "mp3 mp2 mpga",
    "audio/mp4": "m4a m4b",
    "audio/aac": "aac",
    "audio/ogg": "ogg oga opus spx",
    "audio/flac": "flac",
    "audio/wav": "wav wave",
    "audio/webm": "weba",
    "audio/midi": "mid midi",
    "audio/aiff": "aif aiff aifc",
    "audio/amr": "amr",
    "audio/x-caf": "caf",
    "audio/x-matroska": "mka",
    "audio/x-ms-wma": "wma",
    "video/mp4": "mp4 m4v mp4v",
    "video/webm": "webm",
    "video/ogg": "ogv",
    "video/quicktime": "mov qt",
    "video/x-matroska": "mkv",
    "video/x-msvideo": "avi",
    "video/mpeg": "mpeg mpg mpe",
    "video/mp2t": "m2ts",
    "video/3gpp": "3gp",
    "video/3gpp2": "3g2",
    "video/x-flv": "flv",
    "video/x-ms-wmv": "wmv",
    "application/vnd.apple.mpegurl": "m3u8 m3u",
    "application/dash+xml": "mpd",
    # fonts
    "font/woff": "woff",
    "font/woff2": "woff2",
    "font/ttf": "ttf",
    "font/otf": "otf",
    "font/collection": "ttc",
    "application/vnd.ms-fontobject": "eot",
    # archives, disk images, programs
    "application/zip": "zip",
    "application/x-tar": "tar",
    "application/x-7z-compressed": "7z",
    "application/vnd.rar": "rar",
    "application/x-cpio": "cpio",
    "application/vnd.ms-cab-compressed": "cab",
    "application/x-iso9660-image": "iso",
    "application/x-apple-diskimage": "dmg",
    "application/vnd.debian.binary-package": "deb",
    "application/x-rpm": "rpm",
    "application/vnd.android.package-archive": "apk",
    "application/java-archive": "jar war ear",
    "application/vnd.microsoft.portable-executable": "exe dll",
    "application/wasm": "wasm",
    # 3D models
    "model/gltf+json": "gltf",
    "model/gltf-binary": "glb",
    "model/stl": "stl",
}


def _with_charset(essence: str) -> str:
    if essence.startswith("text/") and essence != "text/html":
        return f"{essence}; charset=utf-8"
    return essence


_BY_EXTENSION: dict[bytes, str] = {
    extension.encode("ascii"): _with_charset(essence)
    for essence, extensions in _EXTENSIONS.items()
    for extension in extensions.split()
}

#: The types that a browser may show (reference/downloads, "Viewing").  None of them can contain a
#: script that runs in the page's origin, so HTML, SVG and XML are never among them.
_VIEWABLE: frozenset[str] = frozenset(
    {
        "application/pdf",
        "image/apng",
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/heic",
        "image/heif",
        "image/jpeg",
        "image/jxl",
        "image/png",
        "image/tiff",
        "image/vnd.microsoft.icon",
        "image/webp",
        "image/x-icon",
        "text/plain",
    }
) | {essence for essence in _EXTENSIONS if essence.startswith(("audio/", "video/"))}


def media_type(name: bytes) -> str:
    """
    :param name: a file's name, or a path.  Its last extension counts, in upper or lower case.  A
        dot at the beginning of a name does not start an extension (``.gz`` is a hidden file).
    :return: the value of ``Content-Type``.
    """
    return _type_by_extension(name) or DEFAULT_MEDIA_TYPE


def media_type_essence(name: bytes) -> str:
    """
    :param name: as for `media_type`.
    :return: the media type without parameters; empty if the extension is not in the table.
    """
    return _type_by_extension(name).partition(";")[0]


def _type_by_extension(name: bytes) -> str:
    stem, _, extension = name.rpartition(b"/")[2].lstrip(b".").rpartition(b".")
    return _BY_EXTENSION.get(extension.lower(), "") if stem else ""


def may_view_inline(content_type: str) -> bool:
    """
    :param content_type: a value of ``Content-Type``, with or without parameters.
    :return: whether a browser may show a file of this type (``disposition=inline``).
    """
    return content_type.partition(";")[0].strip(" \t").lower() in _VIEWABLE
