"""
``/ui/``: the web page, as a fixed table of files of this package (reference/page, "Files").
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from chatfiles.errors import NotFound
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse, reason_phrase
from chatfiles.http.server.router import Route
from chatfiles.platform.authentication import Access
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.packaged_files import PackagedFile, packaged_file, write_file
from chatfiles.rules.accept import wants_html

__all__ = ["PAGE_FILES", "PAGE_ROUTES", "load_page", "show_page"]

_ADDRESS: Final = b"/ui/"
#: The same, relative to ``/`` and to ``/ui``: a proxy has removed a prefix.
_BELOW_PREFIX: Final = b"ui/"
_DOCUMENT: Final = "index.html"
_SCRIPT: Final = b"text/javascript; charset=utf-8"

#: The files of ``/ui/``, by name, with their media types.  The document itself is ``/ui/``.
PAGE_FILES: Final = {
    "app.js": _SCRIPT,
    "api.js": _SCRIPT,
    "browse.js": _SCRIPT,
    "changes.js": _SCRIPT,
    "dom.js": _SCRIPT,
    "drop.js": _SCRIPT,
    "format.js": _SCRIPT,
    "listing.js": _SCRIPT,
    "preview.js": _SCRIPT,
    "queue.js": _SCRIPT,
    "rows.js": _SCRIPT,
    "share.js": _SCRIPT,
    "strings.js": _SCRIPT,
    "transport.js": _SCRIPT,
    "tus.js": _SCRIPT,
    "uploads.js": _SCRIPT,
    "views.js": _SCRIPT,
    "style.css": b"text/css; charset=utf-8",
    "icons.svg": b"image/svg+xml",
    "logo.svg": b"image/svg+xml",
}

_FEATURES: Final = (
    "accelerometer autoplay browsing-topics camera clipboard-read clipboard-write "
    "display-capture encrypted-media fullscreen gamepad geolocation gyroscope hid "
    "identity-credentials-get idle-detection keyboard-map local-fonts magnetometer "
    "microphone midi otp-credentials payment picture-in-picture publickey-credentials-create "
    "publickey-credentials-get screen-wake-lock serial storage-access usb window-management "
    "xr-spatial-tracking"
)
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "frame-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)

#: The headers of every file, besides those of its content (reference/page, "Headers").
_FIELDS: Final = (
    (b"Content-Security-Policy", _POLICY.encode()),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Permissions-Policy", ", ".join(f"{each}=()" for each in _FEATURES.split()).encode()),
    (b"Cache-Control", b"no-cache"),
)

#: A browser requests all modules at once, before it has read which of them import which.
_MODULES: Final = ", ".join(
    f"<../ui/{name}>; rel=modulepreload" for name, kind in PAGE_FILES.items() if kind == _SCRIPT
)


def _read(name: str) -> PackagedFile:
    return packaged_file(f"ui/{name}", PAGE_FILES.get(name, b"text/html; charset=utf-8"))


def load_page() -> None:
    """Read all files now, so that those of a later version are never mixed with them."""
    for name in (_DOCUMENT, *PAGE_FILES):
        _read(name)


def show_page(request: Request) -> None:
    """
    Write the document of the page as the response, but do not end it: the handler that returns
    ``None`` does.  The script in it chooses what to show by the address: ``/links/upload`` is the
    drop page of a signed link, which has been validated before.

    :param request: with the method ``GET`` or ``HEAD``.
    """
    write_file(request, _read(_DOCUMENT), (*_FIELDS, (b"Link", _MODULES.encode())))


def _handler(name: str) -> Callable[..., Coroutine[Any, Any, JSONResponse | None]]:
    async def send(_context: PlatformContext, request: Request) -> None:
        write_file(request, _read(name), _FIELDS)

    return send


async def _document(_context: PlatformContext, request: Request) -> None:
    show_page(request)


async def _go_to_page(context: PlatformContext, request: Request) -> None:
    """Redirect to the page."""
    request.setResponseCode(303, reason_phrase(303))
    request.setHeader(b"Location", _BELOW_PREFIX if context.has_prefix else _ADDRESS)
    request.setHeader(b"Content-Length", b"0")
    request.setHeader(b"Cache-Control", b"no-store")


async def _welcome(context: PlatformContext, request: Request) -> None:
    """``/``: browsers are redirected to the page, and programs find nothing."""
    if not wants_html(request.requestHeaders.getRawHeaders(b"accept", ())):
        raise NotFound("no such route", code="no_route")
    await _go_to_page(context, request)


#: The routes of the page.  Requests for them are not logged.
PAGE_ROUTES: Final[tuple[Route[Access], ...]] = (
    Route("GET", "/", Access.ANYONE, "", _welcome),
    Route("GET", "/ui", Access.ANYONE, "", _go_to_page),
    Route("GET", "/ui/", Access.ANYONE, "", _document),
    *(Route("GET", f"/ui/{name}", Access.ANYONE, "", _handler(name)) for name in PAGE_FILES),
)
