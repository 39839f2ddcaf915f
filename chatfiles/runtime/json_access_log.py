"""
The access log as JSON: one object for each transfer, and one for each refused message
(reference/logs, "JSON").
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger, LogLevel

from chatfiles.http.server.access_log import NAMESPACE, READY_TEXT
from chatfiles.http.server.observers import RequestRefused, TransferEnded
from chatfiles.rules.log_json import log_time, quoted
from chatfiles.rules.operations import OPERATIONS
from chatfiles.streams.outcome import OUTCOMES

__all__ = ["IS_JSON", "JSONAccessLog"]

#: The key of events whose line is an object already.
IS_JSON = "is_json"

_log = Logger(NAMESPACE)


class JSONAccessLog:
    """
    Writes one object for each transfer.

    :param role: ``platform`` or ``workspace``.
    :param node: the name of this machine.
    :param write: takes each event; by default, it is logged.
    :param now: returns the time of day, in seconds since the epoch.
    """

    def __init__(
        self,
        role: str,
        node: str,
        write: Callable[[dict[str, Any]], object] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._role = role
        self._node = quoted(node)
        self._is_platform = role == "platform"
        self._write = write or _log.observer
        self._now = now

    def transfer_ended(self, event: TransferEnded) -> None:
        """Log the end of a request, unless its operation is empty."""
        if not event.operation:
            return
        outcome, first, moment = event.outcome, event.first_byte, self._now()
        trace = f'"trace_id":{quoted(event.trace_id)},' if event.trace_id else ""
        code = f'"code":{quoted(outcome)},' if outcome not in OUTCOMES else ""
        # Formatted here: to encode a dictionary takes several times as long.
        self._emit(
            moment,
            f"{self._beginning('transfer', moment, event)}{trace}"
            f'"workspace":{quoted(event.workspace)},'
            f'"operation":{quoted(OPERATIONS.get(event.operation, event.operation))},'
            f'"status":{event.status},{code}'
            f'"bytes_in":{event.bytes_in},"bytes_out":{event.bytes_out},'
            f'"seconds":{event.seconds:.6f},'
            f'"first_byte_seconds":{"null" if first is None else f"{first:.6f}"},'
            f'"outcome":{quoted(outcome)},"client":{quoted(event.client)},'
            f'{_credential(event) if self._is_platform else ""}"node":{self._node}}}',
        )

    def request_refused(self, event: RequestRefused) -> None:
        """Log a refused message."""
        moment = self._now()
        self._emit(
            moment,
            f'{self._beginning("refused", moment, event)}"workspace":{quoted(event.workspace)},'
            f'"status":{event.status},"code":{quoted(event.code)},'
            f'"client":{quoted(event.client)},"node":{self._node}}}',
        )

    def _beginning(self, name: str, moment: float, event: TransferEnded | RequestRefused) -> str:
        return (
            f'{{"time":"{log_time(moment)}","level":"info","event":"{name}","role":"{self._role}",'
            f'"request_id":{quoted(event.request_id)},'
        )

    def _emit(self, moment: float, line: str) -> None:
        self._write(
            {
                "log_logger": _log,
                "log_level": LogLevel.info,
                "log_namespace": NAMESPACE,
                "log_source": None,
                "log_format": READY_TEXT,
                "log_time": moment,
                "line": line,
                IS_JSON: True,
            }
        )


def _credential(event: TransferEnded) -> str:
    actor = event.actor
    via = quoted(event.via) if event.via else "null"
    if actor is None:
        return f'"credential":null,"via":{via},'
    token = f'"token_id":{quoted(actor.token_id)},' if actor.token_id else ""
    return f'"credential":"{actor.kind}",{token}"via":{via},'
