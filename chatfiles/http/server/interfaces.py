"""
What the parts of the server need of each other.

A part imports only parts that are below it: `request_body`, `request`, `connection`, `site`.  What
it needs of a part above it is declared here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from chatfiles.errors import ChatfilesError

__all__ = ["BodyConnection", "ConnectionSite", "RequestConnection", "RequestSite"]


class BodyConnection(Protocol):
    """What a `RequestBody` needs of its connection."""

    def pause_reading(self) -> None:
        """Apply back-pressure to the sender of the body."""

    def resume_reading(self) -> None:
        """End the back-pressure."""

    def resize_reads(self, size: int, /) -> None:
        """
        :param size: bytes of one read of the socket, until the end of the body.
        """

    def send_continue(self) -> None:
        """Send ``100 Continue``."""


class RequestSite(Protocol):
    """What a `Request` needs of its site."""

    reactor: IReactorTime
    header_timeout: float
    draining: bool

    def getResourceFor(self, request: Any, /) -> IResource:
        """Find the resource by the path of *request*."""

    def request_id(self, given: Sequence[bytes], /) -> str:
        """
        :param given: the values of the request's ``X-Request-Id``.
        :return: the id of the request.
        """

    def http_date(self) -> bytes:
        """:return: now, as an IMF-fixdate."""

    def is_relayed(self, peer: str | None, /) -> bool:
        """:return: whether *peer*, an address, is a proxy that the operator trusts."""

    def request_begun(self, request: Any, /) -> None:
        """A request is being served."""

    def request_ended(self, request: Any, /) -> None:
        """A request has its response, or will have none."""


class ConnectionSite(RequestSite, Protocol):
    """What a `ServerConnection` needs of its site."""

    idle_timeout: float

    @property
    def channels(self) -> set[Any]:
        """The connections that are open."""

    def refused(
        self,
        error: ChatfilesError,
        request_id: str,
        peer: str | None,
        forwarded: Sequence[bytes],
        /,
    ) -> None:
        """
        Log a request that was refused before it was one.

        :param peer: the address at the other end of the connection.
        :param forwarded: the values of ``X-Forwarded-For``.
        """


class RequestConnection(BodyConnection, Protocol):
    """What a `Request` needs of its connection, besides what Twisted's own request uses."""

    peer: str | None
    persistent: bool

    @property
    def site(self) -> RequestSite:
        """The site that serves the request."""

    @property
    def transport(self) -> Any:
        """The transport of the connection."""

    def look(self) -> None:
        """Reset the connection if its client has left, although nothing was read that says so."""

    def abort(self) -> None:
        """Reset the connection."""

    def answered_early(self) -> None:
        """The response is complete, and the request's body is not."""

    def write(self, data: bytes, /) -> None:
        """Send *data*."""

    def writeSequence(self, pieces: Sequence[bytes], /) -> None:
        """Send all *pieces*."""
