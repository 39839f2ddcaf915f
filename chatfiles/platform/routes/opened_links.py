"""
``/links/file``, ``/links/archive`` and ``/links/upload``: serves those who present a signed link
(reference/links, "Opening a link").  No other credential is read.
"""

from __future__ import annotations

import re

from chatfiles.errors import MethodNotAllowed, PreconditionFailed
from chatfiles.http.server.observers import Actor
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.download import AskedFile, relay
from chatfiles.platform.routes.error_pages import show_error_pages
from chatfiles.platform.routes.fs import send_archive
from chatfiles.platform.routes.page import show_page
from chatfiles.platform.routes.upload import forward_upload
from chatfiles.rules.accept import wants_html
from chatfiles.rules.archive_request import ArchiveRequest, archive_format
from chatfiles.rules.conditional_requests import allows_version
from chatfiles.rules.signed_links import (
    LinkOperation,
    SignedLink,
    invalid_link,
    split_options,
)
from chatfiles.rules.touched_paths import touched_paths
from chatfiles.rules.virtual_paths import check_form

__all__ = ["open_archive", "open_file", "open_upload", "prepare_link"]

_NUMBER = "[0-9]{1,18}"
#: The options that a link may have, and the form of their values.
_OPTIONS = {
    LinkOperation.FILE: {"d": "inline", "v": "[!#-:<-~]*"},
    LinkOperation.ARCHIVE: {"f": "[a-z.]+"},
    LinkOperation.UPLOAD: {"mb": _NUMBER, "mf": _NUMBER},
}


def prepare_link(request: Request) -> None:
    """Set what every response below ``/links`` has, also where there is no route."""
    if list(request.postpath or ())[:1] == [b"links"]:
        show_error_pages(request)
        request.setHeader(b"Referrer-Policy", b"no-referrer")
        request.setHeader(b"X-Robots-Tag", b"noindex")


async def open_file(context: PlatformContext, request: Request) -> JSONResponse | None:
    """Send the file of a link."""
    link = await _opened(context, request, LinkOperation.FILE, "GET", "HEAD")
    asked = _asked_file(link)
    if asked.inline:
        request.setHeader(b"Cross-Origin-Resource-Policy", b"same-origin")
    if asked.version is not None:
        _require_version(request, asked.version)
    context.transfers.begin(request, link.workspace_id)
    target = await context.resolver.resolve(link.workspace_id, "download")
    wanted = asked.wanted(request.method, request.requestHeaders, request.request_id, request.trace)
    await relay(context, request, asked, target, context.gateway.read(target, wanted))
    return None


async def open_archive(context: PlatformContext, request: Request) -> JSONResponse | None:
    """Send the archive of a link."""
    link = await _opened(context, request, LinkOperation.ARCHIVE, "GET", "HEAD")
    form = archive_format(split_options(link.options).get("f", "zip"))
    asked = ArchiveRequest((check_form([link.path]),), form)
    await send_archive(context, request, link.workspace_id, asked)
    return None


async def open_upload(context: PlatformContext, request: Request) -> JSONResponse | None:
    """Store the files of a form.  People who open the link see a page that sends them."""
    accept = request.requestHeaders.getRawHeaders(b"accept", ())
    pages = ("GET", "HEAD") if context.ui and wants_html(accept) else ()
    link = await _opened(context, request, LinkOperation.UPLOAD, *pages, "POST")
    if request.method != b"POST":
        request.operation = ""  # nothing is uploaded
        request.setHeader(b"Vary", b"Accept")
        show_page(request)
        return None
    options = split_options(link.options)
    most = context.limits.per_request_bytes
    max_bytes = min(most, int(options.get("mb", most)))
    most_files = context.limits.max_files_per_request
    max_files = min(most_files, int(options.get("mf", most_files)))
    await forward_upload(context, request, link.workspace_id, max_bytes, max_files)
    return None


async def _opened(
    context: PlatformContext, request: Request, operation: LinkOperation, *methods: str
) -> SignedLink:
    """
    :param methods: which the operation has.
    :return: the link that the request presents, which is valid.
    """
    link = await context.links.signed(operation, request.query, request.client_address)
    request.workspace = str(link.workspace_id)
    request.actor = Actor("link", link.maker)
    if link.path:
        request.touched = touched_paths([link.path])
    await context.links.require_time(link)
    await context.links.require_live(link)
    _check_options(link)
    if request.method.decode("latin-1") not in methods:
        raise MethodNotAllowed(methods)
    return link


def _check_options(link: SignedLink) -> None:
    """:raise Forbidden: 403, a newer version made it, with a restriction that is not known here."""
    forms = _OPTIONS[link.operation]
    for name, value in split_options(link.options).items():
        if name not in forms or not re.fullmatch(forms[name], value):
            raise invalid_link()


def _asked_file(link: SignedLink) -> AskedFile:
    options = split_options(link.options)
    version = b'"%b"' % options["v"].encode("ascii") if "v" in options else None
    path = check_form([link.path])
    return AskedFile(path, options.get("d") == "inline", version=version)


def _require_version(request: Request, version: bytes) -> None:
    """
    Let the workspace send one version only.

    :raise PreconditionFailed: 412, the client's own condition does not name this version.
    """
    fields = request.requestHeaders
    given = fields.getRawHeaders(b"if-match", ())
    if given and not allows_version(given, version):
        raise PreconditionFailed
    if not given and fields.hasHeader(b"if-unmodified-since"):
        return  # counts only without If-Match (RFC 9110, 13.2.2); `relay` compares the version
    fields.setRawHeaders(b"if-match", [version])
