"""
Observers of a site are notified of how each request ended.  The access log is one of them.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["RequestRefused", "TransferEnded", "TransferObserver"]


class TransferEnded(NamedTuple):
    """
    How a request ended.

    :param request_id: its ``X-Request-Id``, from the client or generated.
    :param workspace: the id of its workspace; ``-`` if that is unknown.
    :param operation: such as ``download``; empty for requests that need no log line, such as
        ``/health`` and paths that do not exist.
    :param status: of the response; 0 if no response was begun.
    :param bytes: number of bytes of the request's body, if it had one; else of the response's body.
        A small body that was read as a whole only counts if nothing was sent.
    :param seconds: from the end of its headers to its own end.
    :param outcome: a `chatfiles.streams.outcome.Outcome`, or the error code of a refused request.
    :param client: the client's address; ``-`` if it has none.
    :param credential: the kind and id of the request's credential, such as ``link`` and the id of
        the token that made the link; empty for a bearer token.
    """

    request_id: str
    workspace: str
    operation: str
    status: int
    bytes: int
    seconds: float
    outcome: str
    client: str
    credential: str = ""


class RequestRefused(NamedTuple):
    """
    A message that was malformed or late, and so did not become a request.

    :param request_id: as `TransferEnded.request_id`.
    :param workspace: as `TransferEnded.workspace`.
    :param status: of the response.
    :param code: the error code.
    :param client: as `TransferEnded.client`.
    """

    request_id: str
    workspace: str
    status: int
    code: str
    client: str


class TransferObserver(Protocol):
    """
    Is notified of each request once: of its end, or of its refusal.  Both methods are called on the
    reactor thread and must not block.  An exception is logged.
    """

    def transfer_ended(self, event: TransferEnded, /) -> object:
        """:param event: a response is complete, or was aborted."""

    def request_refused(self, event: RequestRefused, /) -> object:
        """:param event: a message was refused before it became a request."""
