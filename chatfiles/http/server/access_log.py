"""
The access log: one line for each transfer, and one for each refused message (reference/logs,
"Transfer lines").
"""

from __future__ import annotations

import time

from twisted.logger import Logger, LogLevel

from chatfiles.http.server.observers import RequestRefused, TransferEnded

__all__ = ["NAMESPACE", "READY_TEXT", "AccessLog"]

#: The format of events whose text is ready: it is the value of their key ``line``, without line
#: ends.
READY_TEXT = "{line}"

#: Operators filter by this name, so it must not change.
NAMESPACE = "chatfiles.http.server.site.Site"
#: The usual ways to a workspace, which a line does not name.
_NOT_NAMED = frozenset({"", "dial"})
_log = Logger(NAMESPACE)


class AccessLog:
    """Writes one line for each transfer."""

    def transfer_ended(self, event: TransferEnded) -> None:
        """Log the end of a request, unless its operation is empty."""
        if event.operation:
            request_id, workspace, operation, status, count, seconds, outcome, client, actor = (
                event[:9]
            )
            by = f" by link {actor.token_id}" if actor is not None and actor.kind == "link" else ""
            if event.via not in _NOT_NAMED:
                by += f" via {event.via}"
            # Formatted here: the logger's formatting costs as much as the rest of a request.
            # The observer is called directly: `Logger.info` costs several times as much.
            _log.observer(
                {
                    "log_logger": _log,
                    "log_level": LogLevel.info,
                    "log_namespace": _log.namespace,
                    "log_source": None,
                    "log_format": READY_TEXT,
                    "log_time": time.time(),
                    "line": f"{request_id} {workspace} {operation} {status} {count} bytes"
                    f" {seconds:.3f} s {outcome} from {client}{by}",
                    "request_id": request_id,
                    "workspace": workspace,
                    "operation": operation,
                    "status": status,
                    "bytes": count,
                    "seconds": seconds,
                    "outcome": outcome,
                    "client": client,
                }
            )

    def request_refused(self, event: RequestRefused) -> None:
        """Log a refused message."""
        _log.info(
            "{request_id} {workspace} refused {status} {code} from {client}", **event._asdict()
        )
