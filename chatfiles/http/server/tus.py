"""
What both roles send in their responses to resumable uploads (tus 1.0.0; reference/resumable).
"""

from __future__ import annotations

from collections.abc import Collection

from chatfiles.errors import PreconditionFailed
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import Fields, reason_phrase
from chatfiles.rules.cross_origin import cross_origin_fields
from chatfiles.rules.resumable_upload import ALGORITHMS, EXTENSIONS, VERSION, require_version

__all__ = ["describe_service", "prepare_tus", "require_tus", "write_empty"]


def prepare_tus(request: Request, allowed_origins: Collection[bytes] = ()) -> None:
    """
    Set the headers that every response has, also one that refuses the request.

    :param allowed_origins: the origins whose pages may read the response.
    """
    request.setHeader(b"Tus-Resumable", VERSION)
    request.setHeader(b"Cache-Control", b"no-store")
    origins = request.requestHeaders.getRawHeaders(b"origin", ())
    is_options = request.method == b"OPTIONS"
    for name, value in cross_origin_fields(origins, allowed_origins, is_options=is_options):
        request.setHeader(name, value)


def require_tus(request: Request) -> None:
    """
    :raise PreconditionFailed: 412, the client does not speak tus 1.0.0.
    """
    try:
        require_version(request.requestHeaders)
    except PreconditionFailed:
        request.setHeader(b"Tus-Version", VERSION)
        raise


def describe_service(request: Request, max_bytes: int) -> None:
    """
    Respond to ``OPTIONS``.

    :param max_bytes: the most bytes of a file.
    """
    described = [
        (b"Tus-Version", VERSION),
        (b"Tus-Extension", EXTENSIONS),
        (b"Tus-Max-Size", b"%d" % max_bytes),
        (b"Tus-Checksum-Algorithm", b",".join(ALGORITHMS)),
    ]
    write_empty(request, 204, described)


def write_empty(request: Request, status: int, fields: Fields) -> None:
    """
    Write the headers of a response that has no body.

    :param status: of the response.
    :param fields: its headers.
    """
    request.setResponseCode(status, reason_phrase(status))
    for name, value in fields:
        request.setHeader(name, value)
    if status != 204:
        request.setHeader(b"Content-Length", b"0")
