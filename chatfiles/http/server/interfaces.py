"""
The interfaces between the modules of the server.

In the order `request_body`, `request`, `connection`, `site`, a module imports only modules before
it.  What it needs of a later one is declared here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.web.resource import IResource

from chatfiles.errors import ChatfilesError

__all__ = ["BodyConnection", "ConnectionSite", "FastConnection", "RequestConnection", "RequestSite"]


class BodyConnection(Protocol):
    """The interface that a `RequestBody` needs of its connection."""

    def pause_reading(self) -> None:
        """Apply back-pressure to the client."""

    def resume_reading(self) -> None:
        """End the back-pressure."""

    def body_spliced(self) -> None:
        """A part of the body was read from the socket elsewhere: the client is not silent."""

    @property
    def transport(self) -> Any:
        """The transport of the connection."""

    def resize_reads(self, size: int, /) -> None:
        """
        :param size: the most bytes of one read of the socket, until the end of the body.
        """

    def send_continue(self) -> None:
        """Send ``100 Continue``."""


class RequestSite(Protocol):
    """The interface that a `Request` needs of its site."""

    reactor: IReactorTime
    header_timeout: float
    draining: bool

    #: Returns the error with which operations are refused now; ``None`` if they are served.
    refusal: Callable[[], ChatfilesError | None]

    def getResourceFor(self, request: Any, /) -> IResource:
        """:return: the resource for the path of *request*."""

    def request_id(self, given: Sequence[bytes], /) -> str:
        """
        :param given: the values of the request's ``X-Request-Id``.
        :return: the id of the request.
        """

    def http_date(self) -> bytes:
        """:return: the current time, as an IMF-fixdate."""

    def is_relayed(self, peer: str | None, /) -> bool:
        """:return: whether *peer*, an address, is a proxy that the operator trusts."""

    def client_of(self, peer: str | None, forwarded: Sequence[bytes], /) -> str:
        """
        :param forwarded: the values of the request's ``X-Forwarded-For``.
        :return: the address of the client, or ``-``.
        """

    def request_ended(self, request: Any, /) -> None:
        """The response to a request is complete, or was aborted."""


class ConnectionSite(RequestSite, Protocol):
    """The interface that a `ServerConnection` needs of its site."""

    idle_timeout: float
    #: Serves usual requests; ``None`` if all take the ordinary path.
    fast_path: Any

    @property
    def channels(self) -> set[Any]:
        """The open connections."""

    def refused(
        self,
        error: ChatfilesError,
        request_id: str,
        peer: str | None,
        forwarded: Sequence[bytes],
        /,
    ) -> None:
        """
        Log a message that was refused before it became a request.

        :param error: the reason.
        :param request_id: the id in the response.
        :param peer: the address of the connection's peer; ``None`` if it has none.
        :param forwarded: the values of ``X-Forwarded-For``.
        """


class FastSite(RequestSite, Protocol):
    """The interface that a `FastRequest` needs of its site."""

    workspace: str
    #: See `chatfiles.http.server.fast_path.FastPath`.
    fast_path: Any

    def notify_ended(self, event: Any, /) -> None:
        """Notify the observers of the end of a request."""


class FastConnection(Protocol):
    """The interface that a `FastRequest` needs of its connection."""

    peer: str | None
    persistent: bool
    #: The header lines of the last request, and what they say: those of the next are often equal.
    usual_headers: tuple[bytes, Any]

    @property
    def site(self) -> FastSite:
        """The site that serves the request."""

    def send_now(self, *pieces: bytes | bytearray) -> None:
        """Send *pieces*, as far as possible before this returns."""

    def requestDone(self, request: Any, /) -> None:
        """The response is complete."""

    def new_request(self) -> Any:
        """:return: a new request of the ordinary path, in place of the one that is served."""


class RequestConnection(BodyConnection, Protocol):
    """The interface that a `Request` needs of its connection, besides that of Twisted's request."""

    peer: str | None
    persistent: bool

    @property
    def site(self) -> RequestSite:
        """The site that serves the request."""

    @property
    def received(self) -> bytes:
        """What the client has sent behind the request."""

    @property
    def peer_finished(self) -> bool:
        """Whether the client sends no more."""

    def hand_over(self, protocol: TwistedProtocol, /) -> None:
        """Let *protocol* use the transport; this connection ends."""

    def check_client(self) -> None:
        """Poll the socket, and reset the connection if its client has disconnected."""

    def abort(self) -> None:
        """Reset the connection."""

    def response_before_body(self) -> None:
        """The response is complete before the body of the request."""

    def send_now(self, *pieces: bytes | bytearray) -> None:
        """Send *pieces*, as far as possible before this returns."""

    def write(self, data: bytes, /) -> None:
        """Send *data*."""

    def writeSequence(self, pieces: Sequence[bytes], /) -> None:
        """Send all *pieces*."""
