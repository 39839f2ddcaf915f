"""
An error as a page for people (reference/links, "Errors for people").

It loads nothing and runs nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
from typing import Final

__all__ = ["ERROR_PAGE_HEADERS", "error_page"]

_STYLE: Final = (
    "body{font:1.1em/1.5 system-ui,sans-serif;max-width:30em;margin:15vh auto;padding:0 1em}"
    "h1::first-letter{text-transform:uppercase}small{color:GrayText;overflow-wrap:anywhere}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: The headers of a page besides those of every response, as pairs of name and value.
ERROR_PAGE_HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"Content-Type", b"text/html; charset=utf-8"),
    (
        b"Content-Security-Policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'".encode(),
    ),
)

#: What a person can do about an error, by its code.
_ADVICE: Final = {
    "malformed_link": "Some of the link is missing. Copy all of it.",
    "invalid_link": "Copy all of the link, or ask for a new one.",
    "link_expired": "Ask the person who sent it for a new one.",
    "link_revoked": "Ask the person who sent it for a new one.",
    "file_not_found": "It may have been moved or deleted since the link was made.",
    "precondition_failed": "The file has changed since the link was made.",
    "method_not_allowed": "This link is for something else: to get a file, or to send files.",
    "no_route": "Some of the link is missing. Copy all of it.",
}


def error_page(status: int, text: str, code: str, request_id: str) -> bytes:
    """
    :param status: of the response.
    :param text: the sentence that programs receive in ``error``.
    :param code: the machine code.
    :param request_id: the id of the request, by which an operator finds it in the log.
    :return: an HTML document in UTF-8, of about one KiB.
    """
    sentence = html.escape(text)
    advice = f"<p>{_ADVICE[code]}</p>" if code in _ADVICE else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{sentence}</title><style>{_STYLE}</style>"
        f"<main><h1>{sentence}</h1>{advice}"
        f"<p><small>{status} · {html.escape(request_id)}</small></p></main></html>\n"
    ).encode()
