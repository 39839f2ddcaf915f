"""
Observers of a site are notified of how each request ended.  The access log, the metrics and the
audit log are observers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

__all__ = ["NOTHING", "Actor", "RequestRefused", "TransferEnded", "TransferObserver"]

#: The headers of a response: a mapping, or their lines.
ResponseFields = Mapping[bytes, bytes] | bytes
#: The default of `TransferEnded.touched`.
NOTHING: Mapping[str, Any] = {}


class Actor(NamedTuple):
    """
    The holder of a credential that was found to be valid.

    :param kind: ``token``, ``admin`` or ``link``.
    :param token_id: the id of the token, or of the token that made the link; empty for the admin.
    :param prefix: the first characters of the token; empty if they are not known.
    :param name: of the token; empty if it has none.
    """

    kind: str
    token_id: str = ""
    prefix: str = ""
    name: str = ""


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
    :param actor: the holder of the request's credential; ``None`` if it has no valid one, or the
        role is a workspace.
    :param trace_id: of its ``traceparent``; empty without a valid one.
    :param bytes_in: of the request's body, as far as they were received.
    :param bytes_out: of the response's body, as far as they were sent.
    :param first_byte: seconds from the end of its headers to the first byte of the response;
        ``None`` if no response was begun.
    :param via: how the workspace was reached, such as ``dial``; empty if it was not asked.
    :param rights: the change of rights that it asked for, such as ``token.create``; empty
        without one.
    :param touched: what it touched, as fields of the audit log.
    :param fields: the headers of the response, as a mapping or as lines.
    :param counted: bytes of its bodies, in and out, that the metrics have counted already.
    :param connection: on which it was served.
    """

    request_id: str
    workspace: str
    operation: str
    status: int
    bytes: int
    seconds: float
    outcome: str
    client: str
    actor: Actor | None = None
    trace_id: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    first_byte: float | None = None
    via: str = ""
    rights: str = ""
    touched: Mapping[str, Any] = NOTHING
    fields: ResponseFields = b""
    counted: tuple[int, int] = (0, 0)
    connection: Any = None


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
