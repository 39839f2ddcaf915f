"""
Sends requests to workspaces through treq, and checks their responses (reference/resolution,
"Accepted responses").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from chatfiles.errors import UpstreamFailed
from chatfiles.platform.error_texts import invalid_response
from chatfiles.platform.forwarding.accepted_response import ResponseForm
from chatfiles.platform.forwarding.interface import IWorkspaceGateway
from chatfiles.platform.forwarding.requests import (
    DownloadRequest,
    OperationRequest,
    PreparedRequest,
    UploadRequest,
)
from chatfiles.platform.forwarding.small_request_body import MemoryBody
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.platform.upstream.prepared import NoCookies, PreparedHeaders, PreparedURL
from chatfiles.platform.upstream.response import UpstreamResponse
from chatfiles.rules.byte_ranges import Part, forwarded_range, parse_content_range, part_fault
from chatfiles.rules.file_headers import FORWARDED_REQUEST_HEADERS
from chatfiles.rules.header_fields import HeaderFields, HeaderValues, header_lines
from chatfiles.rules.query import encode_query_value
from chatfiles.rules.trace_context import TraceContext

__all__ = ["WorkspaceGateway", "discard", "original_response", "part_of", "way_of"]

#: Shows the workspace that this is a gateway (RFC 9110, 7.6.3).  It watches the client's progress.
VIA = b"1.1 chatfiles"
#: The conditional request headers to which 304 is a valid response (RFC 9110, 15.4.5).
_ASKS_304 = (b"if-none-match", b"if-modified-since")
_NO_COOKIES = NoCookies()


@implementer(IWorkspaceGateway)
class WorkspaceGateway:
    """
    Sends requests to workspaces.

    :param agent: connects to workspaces; see `chatfiles.platform.upstream.agent`.
    :param reactor: is passed to treq, which would import it otherwise.
    """

    def __init__(self, agent: IAgent, reactor: Any = None) -> None:
        self._client = HTTPClient(agent, cookiejar=_NO_COOKIES)
        self._reactor = reactor

    def read(self, target: WorkspaceAddress, read: DownloadRequest) -> Deferred[IResponse]:
        """
        Request a file from *target*.

        :return: a response that may be relayed, or a 401, once its headers are complete.  Its body
            must be read, or given up with `discard`.  Fails with

            - `UpstreamFailed`: the workspace is unreachable, or its response is not acceptable;
            - `UpstreamTimeout`: no response in time.
        """
        return self.send(self.prepare(target, read), read.method, read.request_id, read.trace)

    def prepare(self, target: WorkspaceAddress, read: DownloadRequest) -> PreparedRequest:
        """See `IWorkspaceGateway.prepare`."""
        asked = _forwarded_headers(read.fields)
        lines = header_lines((n.title(), value) for n, values in asked.items() for value in values)
        return _prepared(target, _path(read.route, read.path, read.disposition), lines, asked)

    def send(
        self,
        prepared: PreparedRequest,
        method: bytes,
        request_id: str,
        trace: TraceContext | None = None,
    ) -> Deferred[IResponse]:
        """See `IWorkspaceGateway.send`."""
        asking = self._ask(prepared, method, request_id, trace)
        return asking.addCallback(_checked, method, prepared.asked)

    async def store(self, target: WorkspaceAddress, store: UploadRequest) -> IResponse:
        """
        Send an upload to *target*.

        :return: its response once the headers are complete, which may be before all of the body was
            sent.
        :raise UpstreamFailed: the workspace is unreachable, or its response is not acceptable.
        :raise UpstreamTimeout: no response in time.
        """
        prepared = _prepared(target, store.target, header_lines(store.fields), HeaderValues())
        response = await self._ask(
            prepared, store.method, store.request_id, store.trace, store.body
        )
        if store.form is not None:
            return _fitting(response, store.form)
        code = response.code
        if not (200 <= code < 300 or 400 <= code < 600) or code in (204, 205, 206):
            discard(response)
            raise invalid_response(f"status {code}")
        return response

    def perform(self, target: WorkspaceAddress, operation: OperationRequest) -> Deferred[IResponse]:
        """
        Request an operation from *target*.

        :return: a response of the operation's form, a response that reports an error, or a 401,
            once its headers are complete.  Fails as `read` does.
        """
        body = None if operation.body is None else MemoryBody(operation.body)
        lines = header_lines(operation.fields)
        prepared = _prepared(target, operation.target, lines, HeaderValues())
        asking = self._ask(
            prepared,
            operation.method,
            operation.request_id,
            operation.trace,
            body,
            once=operation.once,
        )
        return asking.addCallback(_fitting, operation.form)

    def _ask(
        self,
        prepared: PreparedRequest,
        method: bytes,
        request_id: str,
        trace: TraceContext | None,
        body: IBodyProducer | None = None,
        *,
        once: bool = False,
    ) -> Deferred[IResponse]:
        # The id is the last line: a workspace remembers what the lines before it mean.
        given = prepared.lines if trace is None else prepared.lines + trace.lines
        lines = b"%bX-Request-Id: %b\r\n" % (given, request_id.encode("ascii"))
        # treq must not add behaviour of its own: no redirects, no buffering, no cookies.
        asking: Deferred[Any] = self._client.request(
            method.decode("ascii"),
            prepared.origin,
            headers=PreparedHeaders(lines, prepared.owner, uri=prepared.uri, once=once),
            data=body,
            cookies=_NO_COOKIES,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        return asking


def _prepared(
    target: WorkspaceAddress, path: bytes, lines: bytes, asked: HeaderValues
) -> PreparedRequest:
    # Another program may have stored the secret: as in Twisted's headers, it remains one line.
    secret = b" ".join(target.secret.encode().splitlines())
    return PreparedRequest(
        PreparedURL(target.url.origin.decode("ascii") + "/"),
        target.url.join(path),
        b"%bAuthorization: Bearer %b\r\nVia: %b\r\n" % (lines, secret, VIA),
        target.workspace_id.hex.encode("ascii"),
        asked,
    )


def _path(route: bytes, virtual_path: bytes, disposition: str | None) -> bytes:
    query = "path=" + encode_query_value(virtual_path)
    if disposition is not None:
        query += "&disposition=" + disposition
    return b"%b?%b" % (route, query.encode("ascii"))


def _forwarded_headers(fields: HeaderFields) -> HeaderValues:
    """:return: the headers of a client that the workspace receives."""
    headers = HeaderValues()
    if isinstance(fields, HeaderValues) and not fields:
        return headers
    wanted = forwarded_range(fields.getRawHeaders(b"Range", ()))
    for name in FORWARDED_REQUEST_HEADERS:
        values = fields.getRawHeaders(name, ())
        # If-Range has no meaning without Range (RFC 9110, 13.1.5).
        if values and (wanted is not None or name not in (b"Range", b"If-Range")):
            headers[name.lower()] = list(values)
    if wanted is not None:
        headers[b"range"] = [wanted]
    return headers


def _checked(response: IResponse, method: bytes, asked: HeaderValues) -> IResponse:
    """:return: *response*, unless it is not valid."""
    code = response.code
    if code != 200:  # a 200 is a valid response to every request
        try:
            _check_read(method, asked, response, code)
        except UpstreamFailed:
            discard(response)
            raise
    return response


def _fitting(response: IResponse, form: ResponseForm) -> IResponse:
    """:return: *response*, unless it is not of the form that its operation has."""
    fault = form.fault(response.code, response.headers)
    if fault is not None:
        discard(response)
        raise invalid_response(fault)
    return response


def _check_read(method: bytes, asked: HeaderValues, response: IResponse, code: int) -> None:
    """
    :param asked: the headers that the workspace received.
    :raise UpstreamFailed: *response* is not a valid response to them.
    """
    if not 200 <= code < 600 or (300 <= code < 400 and code != 304):
        raise invalid_response(f"status {code}")
    if code == 304 and not any(name in asked for name in _ASKS_304):
        raise invalid_response("304 to an unconditional request")
    if code == 206:
        _check_part(method, asked, response)


def _check_part(method: bytes, asked: HeaderValues, response: IResponse) -> None:
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


def original_response(response: IResponse) -> UpstreamResponse | None:
    """:return: the response beneath treq's wrapper; ``None`` if it is of another kind."""
    original = getattr(response, "original", response)
    return original if isinstance(original, UpstreamResponse) else None


def way_of(response: IResponse) -> str:
    """:return: how the workspace was reached, for the logs; empty if that is not known."""
    original = original_response(response)
    return "" if original is None else original.via


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
