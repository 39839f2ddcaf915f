"""
Observers of a site: the access log, and whatever else wants to know how each request ended.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from twisted.logger import Logger

__all__ = ["AccessLog", "RequestRefused", "TransferEnded", "TransferObserver"]

# Named, so that the lines look the same wherever this module is.
_log = Logger("chatfiles.http.server.site.Site")


class TransferEnded(NamedTuple):
    """
    How a request ended.

    :param request_id: its ``X-Request-Id``, given or made.
    :param workspace: the id of the workspace it was about; ``-`` where that is not known.
    :param operation: such as ``download``; empty for what no one has to account for, such as
        ``/health`` and paths that do not exist.
    :param status: of the response; 0 if none was begun.
    :param bytes: of its body that were sent, or, if the request had a body, received.
    :param seconds: from its head to its end.
    :param outcome: a `chatfiles.streams.outcome.Outcome`, or the error code of a refused request.
    :param client: its address; ``-`` where it has none.
    """

    request_id: str
    workspace: str
    operation: str
    status: int
    bytes: int
    seconds: float
    outcome: str
    client: str


class RequestRefused(NamedTuple):
    """
    A message that was not well formed enough to become a request, or did not come in time.

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
    Is notified of each request once: of its end, or of its refusal.  Both calls are made on the
    reactor's thread and must not block.  What they raise is logged.
    """

    def transfer_ended(self, event: TransferEnded, /) -> object:
        """A request has been answered, or will not be."""

    def request_refused(self, event: RequestRefused, /) -> object:
        """What a client sent was refused before it was a request."""


class AccessLog:
    """Writes one line for each transfer."""

    def transfer_ended(self, event: TransferEnded) -> None:
        """Log it, unless it has no operation."""
        if event.operation:
            # The line is made here: the logger's formatting costs as much as the rest of a request.
            _log.info(
                "{line}",
                line=f"{event.request_id} {event.workspace} {event.operation} {event.status} "
                f"{event.bytes} bytes {event.seconds:.3f} s {event.outcome} from {event.client}",
                **event._asdict(),
            )

    def request_refused(self, event: RequestRefused) -> None:
        """Log it."""
        _log.info(
            "{request_id} {workspace} refused {status} {code} from {client}", **event._asdict()
        )
