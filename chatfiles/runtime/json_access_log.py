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
from chatfiles.rules.log_json import json_line, log_time
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
        self._node = node
        self._is_platform = role == "platform"
        self._write = write or _log.observer
        self._now = now

    def transfer_ended(self, event: TransferEnded) -> None:
        """Log the end of a request, unless its operation is empty."""
        if not event.operation:
            return
        actor, outcome = event.actor, event.outcome
        values: dict[str, Any] = self._values("transfer", event)
        if event.trace_id:
            values["trace_id"] = event.trace_id
        values["workspace"] = event.workspace
        values["operation"] = OPERATIONS.get(event.operation, event.operation)
        values["status"] = event.status
        if outcome not in OUTCOMES:
            values["code"] = outcome
        values["bytes_in"], values["bytes_out"] = event.bytes_in, event.bytes_out
        values["seconds"] = round(event.seconds, 6)
        first = event.first_byte
        values["first_byte_seconds"] = None if first is None else round(first, 6)
        values["outcome"] = outcome
        values["client"] = event.client
        if self._is_platform:
            values["credential"] = None if actor is None else actor.kind
            if actor is not None and actor.token_id:
                values["token_id"] = actor.token_id
            values["via"] = event.via or None
        values["node"] = self._node
        self._emit(values)

    def request_refused(self, event: RequestRefused) -> None:
        """Log a refused message."""
        values = self._values("refused", event)
        values |= {"workspace": event.workspace, "status": event.status, "code": event.code}
        values |= {"client": event.client, "node": self._node}
        self._emit(values)

    def _values(self, name: str, event: TransferEnded | RequestRefused) -> dict[str, Any]:
        return {
            "time": log_time(self._now()),
            "level": "info",
            "event": name,
            "role": self._role,
            "request_id": event.request_id,
        }

    def _emit(self, values: dict[str, Any]) -> None:
        self._write(
            {
                "log_logger": _log,
                "log_level": LogLevel.info,
                "log_namespace": NAMESPACE,
                "log_source": None,
                "log_format": READY_TEXT,
                "log_time": self._now(),
                "line": json_line(values),
                IS_JSON: True,
            }
        )
