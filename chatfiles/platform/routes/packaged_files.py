"""
Sends files of this package, which are read once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from chatfiles.errors import PreconditionFailed
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import Fields, reason_phrase
from chatfiles.rules.conditional_requests import allows_version, is_cached

__all__ = ["PackagedFile", "packaged_file", "write_file"]


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """
    A file of this package.

    :param content: its bytes.
    :param media_type: the value of ``Content-Type``.
    :param tag: its entity tag, which is strong.
    """

    content: bytes
    media_type: bytes
    tag: bytes


@cache
def packaged_file(name: str, media_type: bytes) -> PackagedFile:
    """
    :param name: relative to the package, such as ``ui/app.js``.
    :param media_type: the value of ``Content-Type``.
    :return: the file as it was when it was read for the first time.
    """
    content = (resources.files("chatfiles") / name).read_bytes()
    tag = b'"%b"' % hashlib.sha256(content).hexdigest()[:32].encode()
    return PackagedFile(content, media_type, tag)


def write_file(request: Request, file: PackagedFile, fields: Fields) -> None:
    """
    Write *file* as the response, or 304 if the client has it, but do not end the response: the
    handler that returns ``None`` does.

    :param request: with the method ``GET`` or ``HEAD``.
    :param fields: headers, besides those of the content.
    :raise PreconditionFailed: ``If-Match`` names other versions only (RFC 9110, 13.1.1).
    """
    wanted = request.requestHeaders.getRawHeaders(b"if-match", ())
    if wanted and not allows_version(wanted, file.tag):
        raise PreconditionFailed
    for name, value in fields:
        request.setHeader(name, value)
    request.setHeader(b"ETag", file.tag)
    if is_cached(request.requestHeaders, file.tag):
        request.setResponseCode(304, reason_phrase(304))
        return
    request.setHeader(b"Content-Type", file.media_type)
    request.setHeader(b"Content-Length", b"%d" % len(file.content))
    request.write(file.content)
