"""
The agent beneath treq: it sends requests to workspaces, over connections that the platform makes,
or that workspaces have made.

It connects only to addresses that `chatfiles.platform.upstream.dialer` allows, and accepts only
headers that `chatfiles.http.message_head.response` accepts.  It accepts no encoded responses and no
cookies, enforces timeouts, and reports every failure as a `chatfiles.errors.ChatfilesError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from functools import lru_cache, partial
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from chatfiles.errors import UpstreamTimeout
from chatfiles.platform.error_texts import url_not_allowed
from chatfiles.platform.upstream.channels import CHANNEL, ChannelSource, ChannelURL
from chatfiles.platform.upstream.connection import DIAL, NoResponse, WorkspaceConnection
from chatfiles.platform.upstream.dialer import Dialer, QuietFactory
from chatfiles.platform.upstream.failures import connect_error, failure_reason, request_error
from chatfiles.platform.upstream.pool import ConnectionPool
from chatfiles.platform.upstream.prepared import PreparedHeaders
from chatfiles.platform.upstream.request import UpstreamRequest
from chatfiles.rules.channel_upgrade import HOST
from chatfiles.rules.urls import parse_workspace_url
from chatfiles.runtime.name_lookup import Owner
from chatfiles.streams.equal_timeouts import EqualTimeouts, Timeout
from chatfiles.streams.memory_budget import MemoryBudget
from chatfiles.streams.stall_timeout import StallTimeout, acknowledged

__all__ = ["UpstreamAgent"]

#: Seconds for which an idle connection is kept; well below 60, after which most servers close it.
IDLE_TIMEOUT = 20.0
#: Origins whose parsed form and endpoint are cached; URLs whose validation is cached, and the bytes
#: of the longest of them.
_ORIGINS, _URLS, _SHORT = 1024, 4096, 512

#: Request headers that are not forwarded: they belong to one hop (RFC 9110, 7.6.1), or the agent
#: writes them itself, or they hold the client's cookies and proxy credentials.
_NOT_SENT = frozenset(
    {
        b"accept-encoding",
        b"connection",
        b"content-length",
        b"cookie",
        b"cookie2",
        b"expect",
        b"host",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
#: Visible ASCII without a fragment.
_TARGET = re.compile(rb"/[!-\"$-~]*")
#: Methods whose request may be sent twice, and so may use a connection that could be dead.
_REPEATABLE = frozenset({b"GET", b"HEAD"})
#: The share of the header timeout after which a silent kept connection may be dead: its peer may
#: have disappeared without closing it, or may be blocked in an earlier request.
_SILENCE = 1 / 3
#: Seconds within which a workspace must have responded on a connection that it has made, for the
#: second attempt of a request, and for a request that is not repeated.
_RECENTLY, _JUST_NOW = 25.0, 2.0
_HEADERS = b"Host: %b\r\nAccept-Encoding: identity\r\n"


class _Origin(NamedTuple):
    lines: bytes  # the header lines of every request to it
    via: str  # how it is reached, unless a connection says it
    take: Callable[[], WorkspaceConnection | None]  # an idle connection, which could be dead
    connect: Callable[[Owner, float], Deferred[Any]]  # one on which it has just responded, or a new


@implementer(IAgent)
class UpstreamAgent:
    """
    Sends requests to workspaces.

    :param dialer: connects to workspaces.
    :param header_timeout: seconds from the end of the request, when the workspace has taken its
        last byte, to the end of the response's headers.
    :param idle_timeout: seconds for which an idle connection is kept.
    :param channels: has the connections that workspaces have made.
    :ivar failed: called for each request that gets no connection or no response: with the way to
        the workspace, such as ``dial``, and the reason: ``refused``, ``timeout`` or ``cut``.
    """

    def __init__(
        self,
        dialer: Dialer,
        *,
        header_timeout: float = 30.0,
        idle_timeout: float = IDLE_TIMEOUT,
        channels: ChannelSource | None = None,
    ) -> None:
        self.clock: IReactorTime = dialer.reactor
        self.header_timeout = header_timeout
        self.idle: ConnectionPool[WorkspaceConnection] = ConnectionPool(
            self.clock, timeout=idle_timeout
        )
        self.failed: Callable[[str, str], object] = lambda _via, _reason: None
        self._channels = channels
        self._dialer = dialer
        self._budget = MemoryBudget()
        self._origin = lru_cache(_ORIGINS)(self._make_origin)
        self._located = lru_cache(_URLS)(self._locate)
        self.silences = EqualTimeouts(self.clock, header_timeout * _SILENCE)
        self.deadlines = EqualTimeouts(self.clock, header_timeout)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        Request *uri*, or the URI of `PreparedHeaders`; see `twisted.web.iweb.IAgent.request`.

        A ``GET`` or ``HEAD`` may use a kept connection.  If that is dead, or silent for a third of
        *header_timeout*, the request is sent once more on a new one, and the first response is
        taken.  Any other request, and one whose `PreparedHeaders` say so, is sent once, on a new
        connection.  Cancelling the result aborts the request.  An interrupted body ends with
        ``ResponseFailed``, never as if it were complete.

        :return: the response, when its headers are complete.  Its body must be delivered to a
            protocol, or the connection stays open.  Fails with

            - `UpstreamFailed` ``workspace_unreachable``: no connection, or no byte of a response;
            - `UpstreamFailed` ``workspace_url_not_allowed``;
            - `UpstreamFailed` ``workspace_answered_badly``;
            - `UpstreamTimeout`: the headers were not complete in time;
            - the error with which *bodyProducer* failed.
        """
        if isinstance(headers, PreparedHeaders) and headers.uri is not None:
            uri = headers.uri
        try:
            origin, target = (self._located if len(uri) <= _SHORT else self._locate)(uri)
        except ValueError as error:
            return fail(url_not_allowed(str(error)))
        once = bodyProducer is not None or getattr(headers, "once", False)
        repeats = method in _REPEATABLE and not once
        exchange = _Exchange(self, origin, method, target, uri, headers, bodyProducer, repeats)
        return exchange.start(origin.take() if repeats else None)

    def close(self) -> Deferred[None]:
        """
        Close the kept connections, and keep none from now on.

        :return: fires when they are closed.
        """
        self.silences.stop()
        self.deadlines.stop()
        return self.idle.close()

    def _locate(self, uri: bytes) -> tuple[_Origin, bytes]:
        start = uri.find(b"/", uri.find(b"://") + 3)
        if start < 0:
            raise ValueError("the URL must have a path")
        target = uri[start:]
        if not _TARGET.fullmatch(target):
            raise ValueError("the URL must be visible ASCII, without a fragment")
        return self._origin(uri[:start]), target

    def _make_origin(self, text: bytes) -> _Origin:
        place = ChannelURL.parse(text)
        if place is not None:
            return self._channel(place)
        url = parse_workspace_url(text.decode("ascii"))
        factory = QuietFactory.forProtocol(
            partial(
                WorkspaceConnection, self.idle, self._budget, url.origin, plain=url.scheme == "http"
            )
        )
        endpoint = self._dialer.endpoint(url)

        def connect(owner: Owner, _: float) -> Deferred[Any]:
            return endpoint.owned_by(owner).connect(factory)

        take = partial(self.idle.take, url.origin)
        return _Origin(_HEADERS % url.authority, DIAL, take, connect)

    def _channel(self, place: ChannelURL) -> _Origin:
        channels, workspace_id = self._channels, place.workspace_id
        if channels is None:
            raise ValueError("workspaces cannot connect to this platform")

        def connect(_: Owner, within: float) -> Deferred[Any]:
            return channels.connect(workspace_id, within)

        return _Origin(_HEADERS % HOST, CHANNEL, partial(channels.take, workspace_id), connect)


class _Exchange:
    """
    One request: at most two attempts, one deadline, one result.

    :param agent: whose timeouts and connections it uses.
    :param origin: where the request goes.
    :param target: path and query.
    :param uri: the whole URL, like *method*, *headers* and *body* as in `UpstreamAgent.request`.
    :param repeats: whether it may be sent twice.
    """

    def __init__(
        self,
        agent: UpstreamAgent,
        origin: _Origin,
        method: bytes,
        target: bytes,
        uri: bytes,
        headers: Headers | None,
        body: IBodyProducer | None,
        repeats: bool,
    ) -> None:
        self._agent = agent
        self._via = origin.via
        self._within = _RECENTLY if repeats else _JUST_NOW
        self._origin = origin
        self._method = method
        self._target = target
        self._uri = uri
        self._headers = headers
        self._body = body
        self._kept: WorkspaceConnection | None = None
        self._may_repeat = False
        self._timeout: StallTimeout | Timeout | None = None
        self._deadline = 0.0
        self._attempts: list[WorkspaceConnection | Deferred[Any]] = []
        self._result: Deferred[IResponse] = Deferred(self._cancelled)

    def start(self, kept: WorkspaceConnection | None) -> Deferred[IResponse]:
        """
        :param kept: a connection to try first.
        :return: the response, or the error for the client.
        """
        if kept is None:
            self._try_new_connection()
        else:
            self._kept, self._may_repeat = kept, True
            self._send(self._new_request(), kept)
        return self._result

    def _new_request(self) -> UpstreamRequest:
        headers = self._headers
        known = headers.lines if isinstance(headers, PreparedHeaders) else _header_lines(headers)
        lines = self._origin.lines + known
        return UpstreamRequest(
            self._method, self._target, lines, self._body, uri=self._uri, headers=headers
        )

    def _send(self, request: UpstreamRequest, connection: WorkspaceConnection) -> None:
        self._attempts.append(connection)
        self._via = connection.via
        connection.request(request, self)

    def _try_new_connection(self) -> None:
        self._may_repeat = False
        owner = getattr(self._headers, "owner", None)
        connecting = self._origin.connect(owner, self._within)
        self._attempts.append(connecting)
        connecting.addErrback(connect_error).addCallback(self._connected, connecting)
        connecting.addErrback(partial(self.failed, connecting))

    def _connected(self, connection: WorkspaceConnection, connecting: Deferred[Any]) -> None:
        request = self._new_request()
        self._attempts.remove(connecting)
        self._send(request, connection)

    # -- for the connection (Receiver)

    def sent(self, connection: WorkspaceConnection) -> None:
        """Start the deadline."""
        if self._timeout is not None:
            return
        timeout = self._agent.header_timeout
        if self._body is not None:
            # The workspace may not have taken all of it: buffers are large, and it may be slow.
            self._wait(timeout, acknowledged(connection.transport), self._expire)
        elif self._kept is None and connection.via == DIAL:
            self._wait(timeout, _nothing, self._expire)
        elif self._kept is None:  # this is often so: connections of workspaces are waited for
            self._timeout = self._agent.deadlines.start(self._expire)
        else:
            silence = self._timeout = self._agent.silences.start(self._expire_kept)
            self._deadline = silence.at + (timeout - timeout * _SILENCE)

    def answered(self, connection: WorkspaceConnection, response: IResponse) -> None:
        """The response is the result; other attempts are cancelled."""
        self._attempts.remove(connection)
        self._end()
        self._result.callback(response)

    def failed(self, attempt: WorkspaceConnection | Deferred[Any], failure: Failure) -> None:
        """Try again, or report the failure if no other attempt is left."""
        if attempt not in self._attempts:  # it was cancelled
            return
        self._attempts.remove(attempt)
        if self._may_repeat and failure.check(NoResponse):
            self._try_new_connection()
        elif not self._attempts:
            self._end()
            reason = failure_reason(failure)
            if reason is not None:
                self._agent.failed(self._via, reason)
            self._result.errback(request_error(failure))

    # -- time, and the end

    def _wait(
        self, seconds: float, taken: Callable[[], Hashable], then: Callable[[], None]
    ) -> None:
        self._timeout = StallTimeout(self._agent.clock, seconds, taken, then)

    def _expire_kept(self) -> None:
        left = self._deadline - self._agent.clock.seconds()
        self._wait(max(0.0, left), _nothing, self._expire)
        if self._may_repeat and self._kept is not None and self._kept.silent:
            self._try_new_connection()  # the first response wins: this connection may only be slow

    def _expire(self) -> None:
        self._end()
        self._result.errback(UpstreamTimeout())

    def _cancelled(self, _: object) -> None:
        self._end()

    def _end(self) -> None:
        """Stop the timeout, and cancel all attempts."""
        timeout, self._timeout = self._timeout, None  # breaks the reference cycle
        if timeout is not None:
            timeout.stop()
        attempts, self._attempts = self._attempts, []
        for attempt in attempts:
            attempt.cancel()


def _nothing() -> int:
    return 0


def _header_lines(given: Headers | None) -> bytes:
    """:return: the lines of the headers that may be forwarded."""
    if given is None:
        return b""
    dropped = _NOT_SENT
    if (options := given.getRawHeaders(b"connection")) is not None:
        dropped = dropped.union(name.strip() for name in b",".join(options).lower().split(b","))
    return b"".join(
        b"%b: %b\r\n" % (name, value)
        for name, values in given.getAllRawHeaders()
        if name.lower() not in dropped
        for value in values
    )
