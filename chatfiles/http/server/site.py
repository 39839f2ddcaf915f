"""
The HTTP site of a role: its connections, its limits, its observers, and how it stops.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.web.http import Request as TwistedRequest
from twisted.web.http import datetimeToString
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource
from twisted.web.server import Site as TwistedSite

from chatfiles.errors import ChatfilesError
from chatfiles.http.server.connection import ServerConnection
from chatfiles.http.server.observers import (
    AccessLog,
    RequestRefused,
    TransferEnded,
    TransferObserver,
)
from chatfiles.http.server.request import Request
from chatfiles.rules.file_headers import is_request_id

__all__ = ["Site"]

#: Seconds between two checks of a draining site for connections that have become idle.
DRAIN_CHECK = 0.1
#: Seconds that a head or a small body may still take if it is incomplete when the drain begins; half
#: of the drain, if that is less.
DRAIN_GRACE = 1.0
_OBSERVER_FAILED = "an observer of transfers failed"
#: Gets the address of a connection's other end (``None`` where it has none) and the values of the
#: request's ``X-Forwarded-For``; gives the address of the client, or ``-``.
ClientAddress = Callable[[str | None, Sequence[bytes]], str]
#: Gets the address of a connection's other end and the headers of a request; tells whether that end
#: is an intermediary, which watches its own client.
IsRelayed = Callable[[str | None, Headers], bool]


def _random_id() -> str:
    return secrets.token_hex(16)


class Site(TwistedSite):
    """
    Builds a `ServerConnection` for each connection and counts the requests that are running.

    :param root: the resource tree.
    :param reactor: for timers.
    :param header_timeout: seconds in total for the head of a request.
    :param idle_timeout: seconds without progress before a connection is closed.
    :param new_request_id: makes an id for a request that brought none.
    :param now: the time of day, in seconds since the epoch.
    :param client_address: tells which client the log names; ``None`` when that is always the other
        end of the connection.
    :param is_relayed: tells whether the other end is an intermediary; ``None`` if none ever is.
    :param workspace: the id of the workspace that requests are about, unless they name another.
    :param observers: are notified of the end of each request.
    """

    requestFactory = Request
    _logger = Logger()

    def __init__(
        self,
        root: IResource,
        reactor: IReactorTime,
        *,
        header_timeout: float,
        idle_timeout: float,
        new_request_id: Callable[[], str] = _random_id,
        now: Callable[[], float] = time.time,
        client_address: ClientAddress | None = None,
        is_relayed: IsRelayed | None = None,
        workspace: str = "-",
        observers: Sequence[TransferObserver] = (AccessLog(),),
    ) -> None:
        super().__init__(root, timeout=idle_timeout, reactor=reactor, parsePOSTFormSubmission=False)
        self.header_timeout = header_timeout
        self.idle_timeout = idle_timeout
        self.new_request_id = new_request_id
        self.channels: set[ServerConnection] = set()
        self.draining = False
        self._drained_by = 0.0
        self.running = 0
        self.now = now
        self._client_address = client_address
        self._is_relayed = is_relayed
        self._workspace = workspace
        self._observers = tuple(observers)
        self._date_at, self._date = 0, b""

    def buildProtocol(self, addr: IAddress | None) -> ServerConnection:  # type: ignore[override]
        """Speak HTTP/1.1 and nothing else: no wrapper that may switch to HTTP/2."""
        channel = ServerConnection()
        channel.factory = self
        channel.site = self
        channel.requestFactory = self.requestFactory
        channel.callLater = self.reactor.callLater  # type: ignore[method-assign,assignment]
        channel.timeOut = self.idle_timeout  # type: ignore[assignment]
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        """For ALPN."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """No log file and no clock for its lines: `request_ended` logs."""

    def stopFactory(self) -> None:
        """Nothing was started."""

    def log(self, request: TwistedRequest) -> None:
        """Twisted would write an access log line here; `request_ended` knows more."""

    def refused(
        self,
        error: ChatfilesError,
        request_id: str,
        peer: str | None,
        forwarded: Sequence[bytes],
    ) -> None:
        """
        Tell the observers of a message that was not well formed enough to become a request.

        :param peer: the address at the other end of its connection.
        :param forwarded: the values of its ``X-Forwarded-For``, if all of its head was received.
        """
        client = self.client_of(peer, forwarded)
        event = RequestRefused(request_id, self._workspace, error.status, error.code, client)
        for observer in self._observers:
            try:
                observer.request_refused(event)
            except Exception:
                self._logger.failure(_OBSERVER_FAILED)

    def client_of(self, peer: str | None, forwarded: Sequence[bytes]) -> str:
        """
        :param peer: the address of a connection's other end.
        :param forwarded: the values of a request's ``X-Forwarded-For``.
        :return: the address of its client, or ``-``.
        """
        if self._client_address is None:
            return peer or "-"
        return self._client_address(peer, forwarded)

    def is_relayed(self, peer: str | None, fields: Headers) -> bool:
        """
        :param peer: the address of a connection's other end.
        :param fields: the headers of a request.
        :return: whether that end is an intermediary.
        """
        return self._is_relayed is not None and self._is_relayed(peer, fields)

    def request_id(self, given: Sequence[bytes]) -> str:
        """
        :param given: the values of a request's ``X-Request-Id``.
        :return: the one value if it is acceptable, else a new id.
        """
        if len(given) == 1 and is_request_id(given[0]):
            return given[0].decode("ascii")
        return self.new_request_id()

    # -- what is running, and its end

    def http_date(self) -> bytes:
        """:return: now, as an IMF-fixdate (RFC 9110, 5.6.7), made once a second."""
        now = int(self.now())
        if now != self._date_at:
            self._date_at, self._date = now, datetimeToString(now)
        return self._date

    def request_begun(self, request: Request) -> None:
        """A request is being served."""
        self.running += 1

    def request_ended(self, request: Request) -> None:
        """A request has been answered, or will not be: tell the observers."""
        self.running -= 1
        if self._observers:
            event = self._end_of(request)
            for observer in self._observers:
                try:
                    observer.transfer_ended(event)
                except Exception:
                    self._logger.failure(_OBSERVER_FAILED)

    def _end_of(self, request: Request) -> TransferEnded:
        transfer = request.transfer
        forwarded = request.requestHeaders.getRawHeaders(b"x-forwarded-for", ())
        return TransferEnded(
            request.request_id,
            request.workspace or self._workspace,
            request.operation,
            request.code if request.startedWriting else 0,
            # An upload's bytes are received, a file's are sent.
            request.body.seen or max(request.sentLength, transfer.sent),
            self.reactor.seconds() - request.started,
            transfer.outcome,
            self.client_of(request.peer, forwarded),
        )

    @property
    def time_to_drain(self) -> float:
        """Seconds that are left for `drain`; none before it was called."""
        return max(0.0, self._drained_by - self.reactor.seconds())

    def drain(self, timeout: float) -> Deferred[None]:
        """
        Finish what is running, then interrupt what is left.  Idle connections are closed at once.
        Incomplete requests are refused soon: half a head is no running transfer.

        :param timeout: seconds that running transfers may take.
        :return: fires when there is no connection any more.
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
                    channel.cut("shutdown")
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
        """End a `drain` within `DRAIN_CHECK` seconds: interrupt what is still running."""
        self._drained_by = min(self._drained_by, self.reactor.seconds())
