"""
The HTTP site of a role: its connections, timeouts and observers, and its shutdown.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from functools import lru_cache

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.web.http import datetimeToString
from twisted.web.resource import IResource
from twisted.web.server import Site as TwistedSite

from chatfiles.errors import ChatfilesError
from chatfiles.http.server.access_log import AccessLog
from chatfiles.http.server.connection import ServerConnection
from chatfiles.http.server.fast_path import FastPath, FastRoutes
from chatfiles.http.server.idle_policy import IdlePolicy
from chatfiles.http.server.observers import RequestRefused, TransferEnded, TransferObserver
from chatfiles.http.server.request import Request
from chatfiles.rules.file_headers import is_request_id
from chatfiles.streams.outcome import Outcome

__all__ = ["Site"]

#: Seconds between two checks of a draining site for connections that have become idle.
DRAIN_CHECK = 0.1
#: Seconds after the start of a drain in which incomplete headers or a small body may be completed;
#: at most half of the drain timeout.
DRAIN_GRACE = 1.0
#: Ids that are made at a time.
_IDS = 64
#: Addresses that are remembered: whether they are proxies that the operator trusts.
_PEERS = 1024
_OBSERVER_FAILED = "an observer of transfers failed"
#: Takes the address of a connection's peer (``None`` if it has none) and the values of the
#: request's ``X-Forwarded-For``; returns the address of the client, or ``-``.
ClientAddress = Callable[[str | None, Sequence[bytes]], str]
#: Takes the address of a connection's peer; returns whether the peer is a proxy that the operator
#: trusts.  A proxy has a timeout for its own client.
IsRelayed = Callable[[str | None], bool]


def random_ids() -> Callable[[], str]:
    """:return: makes random ids, 32 hexadecimal digits.  It asks the kernel for many at a time."""
    ready: list[str] = []

    def make() -> str:
        if not ready:
            digits = secrets.token_hex(16 * _IDS)
            ready.extend(digits[at : at + 32] for at in range(0, len(digits), 32))
        return ready.pop()

    return make


class Site(TwistedSite):
    """
    Makes a `ServerConnection` for each connection.

    :param root: the resource tree.
    :param reactor: for timers.
    :param header_timeout: seconds in total for the request line and headers of a request.
    :param idle_timeout: seconds without progress before a connection is closed.
    :param new_request_id: makes an id for a request without one.
    :param now: returns the current time, in seconds since the epoch.
    :param client_address: returns the client's address for the log; ``None`` if the client is
        always the peer.
    :param is_relayed: returns whether the peer is a trusted proxy; ``None`` if it never is.
    :param workspace: the id of the workspace for the log, unless a request names another.
    :param observers: are notified of the end of each request.
    :param fast_routes: serve usual requests; ``None`` if all take the ordinary path.
    :param refusal: returns the error with which operations are refused now; ``None`` if they are
        served.
    :ivar held: returns the number of connections that other protocols have taken over and keep.
    """

    requestFactory = Request
    noisy = False  # of starting and stopping, which the role logs itself
    _logger = Logger()

    def __init__(
        self,
        root: IResource,
        reactor: IReactorTime,
        *,
        header_timeout: float,
        idle_timeout: float,
        new_request_id: Callable[[], str] | None = None,
        now: Callable[[], float] = time.time,
        client_address: ClientAddress | None = None,
        is_relayed: IsRelayed | None = None,
        workspace: str = "-",
        observers: Sequence[TransferObserver] = (AccessLog(),),
        fast_routes: FastRoutes | None = None,
        refusal: Callable[[], ChatfilesError | None] = lambda: None,
    ) -> None:
        super().__init__(root, timeout=idle_timeout, reactor=reactor, parsePOSTFormSubmission=False)
        self.header_timeout = header_timeout
        self.idle_timeout = idle_timeout
        self._idle_policy = IdlePolicy(idle_timeout)
        self.new_request_id = new_request_id or random_ids()
        self.channels: set[ServerConnection] = set()
        self.draining = False
        self.held: Callable[[], int] = lambda: 0
        self._drained_by = 0.0
        self.now = now
        self._client_address = client_address
        self._is_relayed = lru_cache(_PEERS)(is_relayed) if is_relayed is not None else None
        self.workspace = workspace
        self._observers = tuple(observers)
        self.refusal = refusal
        self.fast_path = FastPath(fast_routes) if fast_routes is not None else None
        self._date_at, self._date = 0, b""

    def buildProtocol(self, addr: IAddress | None) -> ServerConnection:  # type: ignore[override]
        """:return: a new connection for HTTP/1.1, without Twisted's wrapper for HTTP/2."""
        return self.new_connection(self._idle_policy)

    def new_connection(self, idle_policy: IdlePolicy) -> ServerConnection:
        """
        :param idle_policy: of the connection.
        :return: a connection whose transport is still to be given to it.
        """
        return ServerConnection(self, self.requestFactory, idle_policy)

    def acceptableProtocols(self) -> list[bytes]:
        """:return: the protocols for ALPN: only HTTP/1.1."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """Do nothing: Twisted's log file is not used."""

    def refused(
        self,
        error: ChatfilesError,
        request_id: str,
        peer: str | None,
        forwarded: Sequence[bytes],
    ) -> None:
        """
        Notify the observers of a message that was refused before it became a request.

        :param error: the reason.
        :param request_id: the id in the response.
        :param peer: the address of the connection's peer; ``None`` if it has none.
        :param forwarded: the values of its ``X-Forwarded-For``; empty if not all of its headers
            were received.
        """
        client = self.client_of(peer, forwarded)
        event = RequestRefused(request_id, self.workspace, error.status, error.code, client)
        for observer in self._observers:
            try:
                observer.request_refused(event)
            except Exception:
                self._logger.failure(_OBSERVER_FAILED)

    def client_of(self, peer: str | None, forwarded: Sequence[bytes]) -> str:
        """
        :param peer: the address of a connection's peer; ``None`` if it has none.
        :param forwarded: the values of a request's ``X-Forwarded-For``.
        :return: the address of the client, or ``-``.
        """
        if self._client_address is None:
            return peer or "-"
        return self._client_address(peer, forwarded)

    def is_relayed(self, peer: str | None) -> bool:
        """
        :param peer: the address of a connection's peer; ``None`` if it has none.
        :return: whether the peer is a proxy that the operator trusts.
        """
        return self._is_relayed is not None and self._is_relayed(peer)

    def request_id(self, given: Sequence[bytes]) -> str:
        """
        :param given: the values of a request's ``X-Request-Id``.
        :return: the only value, if it is valid; else a new id.
        """
        if len(given) == 1 and is_request_id(given[0]):
            return given[0].decode("ascii")
        return self.new_request_id()

    # -- running requests, and the shutdown

    def http_date(self) -> bytes:
        """:return: the current time as an IMF-fixdate (RFC 9110, 5.6.7), cached for a second."""
        now = int(self.now())
        if now != self._date_at:
            self._date_at, self._date = now, datetimeToString(now)
        return self._date

    def request_ended(self, request: Request) -> None:
        """Notify the observers: the response to a request is complete, or was aborted."""
        if self._observers:
            self.notify_ended(self._end_of(request))

    def notify_ended(self, event: TransferEnded) -> None:
        """:param event: a request has ended."""
        for observer in self._observers:
            try:
                observer.transfer_ended(event)
            except Exception:
                self._logger.failure(_OBSERVER_FAILED)

    def _end_of(self, request: Request) -> TransferEnded:
        transfer, trace = request.transfer, request.trace
        return TransferEnded(
            request.request_id,
            request.workspace or self.workspace,
            request.operation,
            request.code if request.startedWriting else 0,
            _moved(request),
            self.reactor.seconds() - request.started,
            transfer.outcome,
            request.client_address,
            request.actor,
            trace.trace_id if trace is not None else "",
            request.body.seen,
            request.bytes_out,
            request.first_byte,
            request.via,
            request.rights,
            request.touched,
            request.fields,
            request.counted,
            request.connection,
        )

    @property
    def time_to_drain(self) -> float:
        """Seconds that are left for `drain`; 0 before it was called."""
        return max(0.0, self._drained_by - self.reactor.seconds())

    def drain(self, timeout: float) -> Deferred[None]:
        """
        Let running transfers finish, and interrupt them after *timeout*.  Idle connections are
        closed at once.  Incomplete requests are refused after at most `DRAIN_GRACE` seconds.

        :param timeout: seconds that running transfers may take.
        :return: fires when every connection is closed.
        """
        self.draining = True
        began = self.reactor.seconds()
        self._drained_by = began + timeout
        complete_by = began + min(DRAIN_GRACE, timeout / 2)
        drained: Deferred[None] = Deferred()

        def check() -> None:
            now = self.reactor.seconds()
            for channel in list(self.channels):
                if now >= self._drained_by:
                    channel.cut(Outcome.SHUTDOWN)
                elif channel.idle:
                    channel.close_idle()
                elif now >= complete_by:
                    channel.refuse_incomplete()
            if self.channels:
                self.reactor.callLater(DRAIN_CHECK, check)
            else:
                drained.callback(None)

        check()
        return drained

    def stop_now(self) -> None:
        """Interrupt all running transfers.  A `drain` ends within `DRAIN_CHECK` seconds."""
        self._drained_by = min(self._drained_by, self.reactor.seconds())


def _moved(request: Request) -> int:
    """
    :return: for the log, the bytes of an upload, which are received, or of a download, which are
        sent.  A small body only says what to send.
    """
    received = request.body.seen
    sent = request.bytes_out
    return sent or received if request.body.small else received or sent
