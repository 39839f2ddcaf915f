"""
Sends requests to workspaces through treq, and checks their responses (reference/resolution,
"Accepted responses").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.protocol import Protocol
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from chatfiles.errors import UpstreamFailed
from chatfiles.platform.error_texts import invalid_response
from chatfiles.platform.forwarding.interface import IWorkspaceGateway
from chatfiles.platform.forwarding.requests import DownloadRequest, UploadRequest
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.platform.upstream.agent import OWNER
from chatfiles.rules.byte_ranges import Part, forwarded_range, parse_content_range, part_fault
from chatfiles.rules.file_headers import FORWARDED_REQUEST_HEADERS
from chatfiles.rules.query import encode_query_value

__all__ = ["WorkspaceGateway", "discard", "part_of"]

#: Shows the workspace that this is a gateway (RFC 9110, 7.6.3).  It watches the client's progress.
VIA = b"1.1 chatfiles"
#: The conditional request headers to which 304 is a valid response (RFC 9110, 15.4.5).
_ASKS_304 = (b"if-none-match", b"if-modified-since")


class _ReadyURL(EncodedURL):
    """
    A URL in its final form.  Otherwise treq would parse every URL again, and its host through IDNA,
    which takes half of treq's time.
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
    Sends requests to workspaces.

    :param agent: connects to workspaces; see `chatfiles.platform.upstream.agent`.
    """

    def __init__(self, agent: IAgent) -> None:
        self._client = HTTPClient(agent)

    async def read(self, target: WorkspaceAddress, read: DownloadRequest) -> IResponse:
        """
        Request a file from *target*.

        :return: a response that may be relayed, or a 401, once its headers are complete.  Its body
            must be read, or given up with `discard`.
        :raise UpstreamFailed: the workspace is unreachable, or its response is not acceptable.
        :raise UpstreamTimeout: no response in time.
        """
        query = "path=" + encode_query_value(read.path)
        if read.disposition is not None:
            query += "&disposition=" + read.disposition
        asked = _forwarded_headers(read.fields)
        url = target.url.join(b"/internal/file/read?" + query.encode("ascii"))
        response = await self._ask(target, read.method, url, asked, read.request_id)
        try:
            _check_read(read.method, asked, response)
        except UpstreamFailed:
            discard(response)
            raise
        return response

    async def store(self, target: WorkspaceAddress, store: UploadRequest) -> IResponse:
        """
        Send an upload to *target*.

        :return: its response once the headers are complete, which may be before all of the body was
            sent.
        :raise UpstreamFailed: the workspace is unreachable, or its response is not acceptable.
        :raise UpstreamTimeout: no response in time.
        """
        url = target.url.join(b"/internal/chat/uploads/ingest")
        headers = Headers({b"Content-Type": [store.content_type]})
        response = await self._ask(target, b"POST", url, headers, store.request_id, store.body)
        code = response.code
        if not (200 <= code < 300 or 400 <= code < 600) or code in (204, 205, 206):
            discard(response)
            raise invalid_response(f"status {code}")
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
        # treq must not add behaviour of its own: no redirects, no buffering, no cookies.
        response: IResponse = await self._client.request(
            method.decode("ascii"),
            _ReadyURL(url.decode("ascii")),
            headers=headers,
            data=body,
            allow_redirects=False,
            unbuffered=True,
        )
        return response


def _forwarded_headers(fields: Headers) -> Headers:
    """:return: the headers of a client that the workspace receives."""
    headers = Headers()
    wanted = forwarded_range(fields.getRawHeaders(b"Range", ()))
    for name in FORWARDED_REQUEST_HEADERS:
        values = fields.getRawHeaders(name)
        # If-Range has no meaning without Range (RFC 9110, 13.1.5).
        if values is not None and (wanted is not None or name not in (b"Range", b"If-Range")):
            headers.setRawHeaders(name, values)
    if wanted is not None:
        headers.setRawHeaders(b"Range", [wanted])
    return headers


def _check_read(method: bytes, asked: Headers, response: IResponse) -> None:
    """
    :param asked: the headers that the workspace received.
    :raise UpstreamFailed: *response* is not a valid response to them.
    """
    code = response.code
    if not 200 <= code < 600 or (300 <= code < 400 and code != 304):
        raise invalid_response(f"status {code}")
    if code == 304 and not any(asked.hasHeader(name) for name in _ASKS_304):
        raise invalid_response("304 to an unconditional request")
    if code == 206:
        _check_part(method, asked, response)


def _check_part(method: bytes, asked: Headers, response: IResponse) -> None:
    ranges, given = asked.getRawHeaders(b"range", ()), response.headers
    if ranges and method == b"HEAD":
        return
    fault = part_fault(
        ranges,
        content_range=given.getRawHeaders(b"content-range", ()),
        length=None if response.length is UNKNOWN_LENGTH else response.length,
        if_range=asked.getRawHeaders(b"if-range", [b""])[0],
        etags=given.getRawHeaders(b"etag", ()),
        content_type=given.getRawHeaders(b"content-type", [b""])[0],
    )
    if fault is not None:
        raise invalid_response(fault)


def part_of(response: IResponse) -> Part | None:
    """:return: the part that a 206 holds; ``None`` if *response* does not hold exactly one part."""
    values: Sequence[bytes] = response.headers.getRawHeaders(b"content-range", ())
    return parse_content_range(values) if response.code == 206 else None


class _Discard(Protocol):
    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.stopProducing()


def discard(response: IResponse) -> None:
    """Discard the body of *response*, and close its connection."""
    response.deliverBody(_Discard())
