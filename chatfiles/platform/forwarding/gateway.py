"""
The way from the platform to a workspace, through treq: what is asked of it, and which of its
answers are believed (CONTRACT 4, last rows, and 6).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.protocol import Protocol
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from chatfiles.errors import UpstreamFailed
from chatfiles.platform.error_texts import answered_badly
from chatfiles.platform.forwarding.interface import IWorkspaceGateway
from chatfiles.platform.forwarding.requests import DownloadRequest, UploadRequest
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.platform.upstream.agent import OWNER
from chatfiles.rules.file_headers import FORWARDED_REQUEST_HEADERS
from chatfiles.rules.query import encode_query_value

__all__ = ["WorkspaceGateway", "discard", "part_of"]

#: Tells the workspace that somebody else is behind us (RFC 9110, 7.6.3), whose progress we watch.
VIA = b"1.1 chatfiles"
_CONTENT_RANGE = re.compile(rb"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
# One range, as far as it tells which part is meant.
_RANGE = re.compile(rb"[ \t]*bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
#: More than any offset.
_ENDLESS = 1 << 64
#: The conditional fields that make a 304 an answer (RFC 9110, 15.4.5).
_ASKS_304 = (b"if-none-match", b"if-modified-since")


class _ReadyURL(EncodedURL):
    """
    A URL in its final form.  treq would otherwise parse every one anew, its host through IDNA: half
    of what treq costs.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def to_uri(self) -> EncodedURL:
        return self

    def to_text(self, with_password: bool = False) -> str:
        return self._text


@implementer(IWorkspaceGateway)
class WorkspaceGateway:
    """
    :param agent: dials workspaces; see `chatfiles.platform.upstream.agent`.
    """

    def __init__(self, agent: IAgent) -> None:
        self._client = HTTPClient(agent)

    async def read(self, target: WorkspaceAddress, read: DownloadRequest) -> IResponse:
        """
        Ask *target* for a file.

        :return: the head of an answer that may be relayed, or a 401; its body is still to be taken
            or `discard`\\ ed.
        :raise UpstreamFailed: unreachable, or answered badly.
        :raise UpstreamTimeout: no answer in time.
        """
        query = "path=" + encode_query_value(read.path)
        if read.disposition is not None:
            query += "&disposition=" + read.disposition
        headers = Headers()
        for name in FORWARDED_REQUEST_HEADERS:
            values = read.fields.getRawHeaders(name)
            if values is not None:
                headers.setRawHeaders(name, values)
        url = target.url.join(b"/internal/file/read?" + query.encode("ascii"))
        response = await self._ask(target, read.method, url, headers, read.request_id)
        try:
            _check_read(read, response)
        except UpstreamFailed:
            discard(response)
            raise
        return response

    async def store(self, target: WorkspaceAddress, store: UploadRequest) -> IResponse:
        """
        Send *target* an upload.

        :return: the head of its answer, which may come before all of the body was sent.
        :raise UpstreamFailed: unreachable, or answered badly.
        :raise UpstreamTimeout: no answer in time.
        """
        url = target.url.join(b"/internal/chat/uploads/ingest")
        headers = Headers({b"Content-Type": [store.content_type]})
        response = await self._ask(target, b"POST", url, headers, store.request_id, store.body)
        code = response.code
        if not (200 <= code < 300 or 400 <= code < 600) or code in (204, 205, 206):
            discard(response)
            raise answered_badly(f"status {code}")
        return response

    async def _ask(
        self,
        target: WorkspaceAddress,
        method: bytes,
        url: bytes,
        headers: Headers,
        request_id: str,
        body: IBodyProducer | None = None,
    ) -> IResponse:
        headers.setRawHeaders(b"Authorization", [b"Bearer " + target.secret.encode()])
        headers.setRawHeaders(b"X-Request-Id", [request_id.encode("ascii")])
        headers.setRawHeaders(b"Via", [VIA])
        headers.setRawHeaders(OWNER, [target.workspace_id.hex.encode("ascii")])
        # The client's own follow-ups are all turned off: no redirects, no buffering, no cookies.
        response: IResponse = await self._client.request(
            method.decode("ascii"),
            _ReadyURL(url.decode("ascii")),
            headers=headers,
            data=body,
            allow_redirects=False,
            unbuffered=True,
        )
        return response


def _check_read(read: DownloadRequest, response: IResponse) -> None:
    """:raise UpstreamFailed: the answer is none to what was asked."""
    code = response.code
    if not 200 <= code < 600 or (300 <= code < 400 and code != 304):
        raise answered_badly(f"status {code}")
    if code == 304 and not any(read.fields.hasHeader(name) for name in _ASKS_304):
        raise answered_badly("304 to an unconditional request")
    if code == 206:
        _check_part(read, response)


def _check_part(read: DownloadRequest, response: IResponse) -> None:
    if not read.fields.hasHeader(b"range"):
        raise answered_badly("206 without a Range")
    if read.method == b"HEAD":
        return
    ranges: Sequence[bytes] = read.fields.getRawHeaders(b"range", ())
    several = len(ranges) > 1 or b"," in ranges[0]
    condition = read.fields.getRawHeaders(b"if-range", [b""])[0].strip()
    tags = response.headers.getRawHeaders(b"etag")
    # A weak one never matches (RFC 9110, 13.1.5).
    if condition.startswith(b"W/") or (condition.startswith(b'"') and tags != [condition]):
        raise answered_badly("206 of another version than was asked for")
    part = part_of(response)
    if part is None:
        media_type = response.headers.getRawHeaders(b"content-type", [b""])[0].lower()
        if several and media_type.startswith(b"multipart/byteranges"):
            return
        raise answered_badly("206 without a Content-Range")
    first, last, total = part
    fits = response.length in (UNKNOWN_LENGTH, last - first + 1)
    if not fits or last < first or (total is not None and last >= total):
        raise answered_badly("Content-Range does not fit the length")
    if not several and not _is_asked_for(ranges[0], first, last, total):
        raise answered_badly("206 with another part than was asked for")


def part_of(response: IResponse) -> tuple[int, int, int | None] | None:
    """
    :return: offsets of the first and last byte of a 206, and the size of the whole, if they are
        told (RFC 9110, 14.4); ``None`` when it is not one part.
    """
    given: Sequence[bytes] = response.headers.getRawHeaders(b"content-range", ())
    match = _CONTENT_RANGE.fullmatch(given[0]) if len(given) == 1 else None
    if match is None or response.code != 206:
        return None
    return int(match[1]), int(match[2]), None if match[3] == b"*" else int(match[3])


def _is_asked_for(asked_for: bytes, first: int, last: int, total: int | None) -> bool:
    """
    Callers put parts together by what they have asked for; not all look at ``Content-Range``.

    :return: whether a part begins and ends where the range that was asked for does.
    """
    asked = _RANGE.fullmatch(asked_for)
    if asked is None or not asked[1] + asked[2]:
        return False  # what is no range has to be ignored (RFC 9110, 14.2)
    if not asked[1]:
        return last - first < _offset(asked[2]) and total in (None, last + 1)
    return first == _offset(asked[1]) and (not asked[2] or last <= _offset(asked[2]))


def _offset(digits: bytes) -> int:
    """:return: the number; thousands of digits are no reason to work for long."""
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) < 20 else _ENDLESS


class _Discard(Protocol):
    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.stopProducing()


def discard(response: IResponse) -> None:
    """Do without the body of *response*, and close its connection."""
    response.deliverBody(_Discard())
