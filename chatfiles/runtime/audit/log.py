"""
The observer of transfers that writes the audit log.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from chatfiles.errors import ChatfilesError, Unavailable
from chatfiles.http.server.observers import RequestRefused, TransferEnded
from chatfiles.rules.operations import OPERATIONS, RECEIVED
from chatfiles.runtime.audit.lines import audit_line, refused_line
from chatfiles.runtime.audit.refused_logins import RefusedLogins
from chatfiles.runtime.audit.writer import AuditWriter
from chatfiles.streams.delivery_meter import DeliveryMeter

__all__ = ["AuditLog"]

UNAVAILABLE: Final = "audit_unavailable"
#: Outcomes besides those of status 401: a link with a wrong signature, and a credential that was
#: not looked up because the client has presented too many wrong ones.
_REFUSED_LOGINS: Final = frozenset({"invalid_link", "too_many_refusals"})
#: Outcomes of requests that have touched nothing, even with a valid credential.
_NOTHING_TOUCHED: Final = frozenset({UNAVAILABLE, "method_not_allowed"})
#: Seconds between two looks at what has ended, and at what clients have acknowledged.  To make
#: and write the lines of many requests together costs a fraction of what each one would.
INTERVAL: Final = 0.05
#: Complete responses whose acknowledgement is awaited.
MOST_AWAITED: Final = 10_000

_log = Logger()


#: An operation that has no line yet: its end, its name, when it ended, how many bytes had been
#: written to its connection then, and what says how many of them the client has taken; ``None`` if
#: that does not matter.
_Ended: TypeAlias = tuple[TransferEnded, str, float, int, DeliveryMeter | None]


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
        self._logins = RefusedLogins(reactor, self._login_refused)
        self._ended: list[_Ended] = []
        self._refused: list[str] = []
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
        self._logins.stop()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._write(awaited=0)
        return self._writer.close()

    # -- TransferObserver

    def transfer_ended(self, event: TransferEnded) -> None:
        """Write a line soon, or when it is known what the client has acknowledged."""
        if event.status == 401 or event.outcome in _REFUSED_LOGINS:
            self._logins.refused(event)
            return
        operation = event.rights or OPERATIONS.get(event.operation)
        if operation is None or not self._has_touched(event):
            return
        connection = event.connection
        if connection is None or operation in RECEIVED or event.rights:
            self._ended.append((event, operation, self._now(), 0, None))
        else:
            delivery = connection.delivery
            self._ended.append((event, operation, self._now(), delivery.written, delivery))
        if self._looking is None:
            self._look_soon()

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

    def _login_refused(self, event: TransferEnded, client: str, count: int) -> None:
        self._refused.append(refused_line(event, self._node, self._now(), client, count))
        if self._looking is None:
            self._look_soon()

    # -- lines

    def _look_soon(self) -> None:
        self._looking = self._reactor.callLater(INTERVAL, self._look)

    def _look(self) -> None:
        self._looking = None
        self._write(MOST_AWAITED)
        if self._ended:
            self._look_soon()

    def _write(self, awaited: int) -> None:
        """
        Write the lines of operations of which nothing is missing, or whose client has left.

        :param awaited: how many others may wait on.
        """
        ended, self._ended = self._ended, []
        lines, self._refused = self._refused, []
        taken: dict[DeliveryMeter, int] = {}  # a connection may have had many requests
        for each in ended:
            event, operation, moment, written, delivery = each
            missing = 0
            if delivery is not None:
                if delivery not in taken:
                    taken[delivery] = delivery.taken
                missing = min(event.bytes_out, max(0, written - taken[delivery]))
                if missing and delivery.is_open and len(self._ended) < awaited:
                    self._ended.append(each)
                    continue
            try:
                lines.append(self._line(event, operation, moment, missing))
            except Exception:  # the lines of other requests must not be lost
                _log.failure("no audit line for request {id}", id=event.request_id)
        self._writer.write(lines)

    def _line(self, event: TransferEnded, operation: str, moment: float, missing: int) -> str:
        """:param missing: bytes of the response that the client has not acknowledged."""
        moved = event.bytes_in if operation in RECEIVED else event.bytes_out - missing
        moved = 0 if event.rights else moved
        return audit_line(event, operation, self._node, moment, moved, self._role)
