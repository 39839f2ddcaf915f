"""
The observer of transfers that writes the audit log.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from chatfiles.errors import ChatfilesError, Unavailable
from chatfiles.http.server.observers import RequestRefused, TransferEnded
from chatfiles.rules.operations import OPERATIONS, RECEIVED
from chatfiles.runtime.audit.lines import audit_line, refused_line
from chatfiles.runtime.audit.refused_logins import RefusedLogins
from chatfiles.runtime.audit.writer import AuditWriter
from chatfiles.streams.delivery import DeliveryMeter

__all__ = ["AuditLog"]

UNAVAILABLE: Final = "audit_unavailable"
#: Outcomes besides those of status 401: a link with a wrong signature, and a credential that was
#: not looked up because the client has presented too many wrong ones.
_REFUSED_LOGINS: Final = frozenset({"invalid_link", "too_many_refusals"})
#: Outcomes of requests that have touched nothing, even with a valid credential.
_NOTHING_TOUCHED: Final = frozenset({UNAVAILABLE, "method_not_allowed"})
#: Seconds between two looks at what clients have acknowledged of complete responses.
INTERVAL: Final = 0.05
#: Complete responses whose acknowledgement is awaited.
MOST_AWAITED: Final = 10_000


class _Sent(NamedTuple):
    """
    A complete response, of which the client has not acknowledged all bytes yet.

    :param moment: when it ended.
    :param missing: bytes that were not acknowledged at the end of the response.
    :param target: bytes that the client will have acknowledged since the connection was made;
        ``None`` if its socket does not count them.  It is asked for only if the client is slow.
    """

    event: TransferEnded
    operation: str
    moment: float
    missing: int
    target: int | None = None


class AuditLog:
    """
    Writes a line for each operation on files or rights.

    :param role: ``platform`` or ``workspace``.
    :param node: the name of this machine.
    :param writer: appends the lines.
    :param reactor: for timers.
    :param required: whether operations are refused while lines cannot be written.
    :param now: returns the time of day, in seconds since the epoch.
    """

    def __init__(
        self,
        role: str,
        node: str,
        writer: AuditWriter,
        reactor: Any,
        *,
        required: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._role = role
        self._node = node
        self._writer = writer
        self._reactor = reactor
        self._required = required
        self._now = now
        self._logins = RefusedLogins(reactor, self._write_refused)
        self._sent: list[_Sent] = []
        self._looking: IDelayedCall | None = None

    def refusal(self) -> ChatfilesError | None:
        """:return: the error with which operations are refused now; ``None`` if they are served."""
        if self._required and self._writer.failed:
            return Unavailable("audit log unavailable", code="audit_unavailable", retry_after=1)
        return None

    def reopen(self) -> None:
        """Open the file again: another program has renamed it."""
        self._writer.reopen()

    def close(self) -> Deferred[None]:
        """
        Write what is left.

        :return: fires when this is done, or takes too long.
        """
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._logins.stop()
        sent, self._sent = self._sent, []
        for each in sent:
            self._write(each.event, each.operation, each.moment, _missing(each))
        return self._writer.close()

    # -- TransferObserver

    def transfer_ended(self, event: TransferEnded) -> None:
        """Write a line, when it is known what the client has acknowledged."""
        if event.status == 401 or event.outcome in _REFUSED_LOGINS:
            self._logins.refused(event)
            return
        operation = event.rights or OPERATIONS.get(event.operation)
        if operation is None or not self._has_touched(event):
            return
        moment = self._now()
        if operation in RECEIVED or event.rights:
            self._write(event, operation, moment, 0)
        else:
            self._await_client(event, operation, moment)

    def request_refused(self, event: RequestRefused) -> None:
        """Nothing was touched."""

    def _has_touched(self, event: TransferEnded) -> bool:
        """
        :return: whether files or rights may have been touched.  A client without a valid credential
            can touch nothing, and must not fill the log; but a registration may be open.
        """
        if event.outcome in _NOTHING_TOUCHED:
            return False
        is_known = event.actor is not None or self._role == "workspace"
        return is_known or event.operation == "register"

    def _await_client(self, event: TransferEnded, operation: str, moment: float) -> None:
        delivery = event.connection.delivery if event.connection is not None else None
        missing = min(delivery.pending, event.bytes_out) if delivery is not None else 0
        if delivery is None or not missing or delivery.is_lost or len(self._sent) >= MOST_AWAITED:
            self._write(event, operation, moment, missing)
            return
        self._sent.append(_Sent(event, operation, moment, missing))
        if self._looking is None:
            self._looking = self._reactor.callLater(INTERVAL, self._look)

    def _look(self) -> None:
        """Write the lines of responses of which nothing is missing, or whose client has left."""
        self._looking = None
        sent, self._sent = self._sent, []
        for each in sent:
            missing = _missing(each)
            if missing and not each.event.connection.delivery.is_lost:
                self._sent.append(each if each.target else _with_target(each))
            else:
                self._write(each.event, each.operation, each.moment, missing)
        if self._sent:
            self._looking = self._reactor.callLater(INTERVAL, self._look)

    # -- lines

    def _write(self, event: TransferEnded, operation: str, moment: float, missing: int) -> None:
        moved = event.bytes_in if operation in RECEIVED else event.bytes_out - missing
        moved = 0 if event.rights else moved
        line = audit_line(event, operation, self._node, moment, moved, self._role)
        self._writer.write(line)

    def _write_refused(self, event: TransferEnded, client: str, count: int) -> None:
        self._writer.write(refused_line(event, self._node, self._now(), client, count))


def _with_target(sent: _Sent) -> _Sent:
    taken, pending = sent.event.connection.delivery.state
    return sent if taken is None else sent._replace(target=taken + pending)


def _missing(sent: _Sent) -> int:
    """:return: bytes of the response that the client has not acknowledged."""
    delivery: DeliveryMeter = sent.event.connection.delivery
    if delivery.is_closed:
        return 0
    if sent.target is None:
        return min(sent.missing, delivery.pending)
    return min(sent.missing, max(0, sent.target - (delivery.taken or 0)))
