"""
The access log: one line for each transfer, and one for each refused message (reference/logs,
"Transfer lines").
"""

from __future__ import annotations

import time

from twisted.logger import Logger, LogLevel

from chatfiles.http.server.observers import RequestRefused, TransferEnded

__all__ = ["READY_TEXT", "AccessLog"]

#: The format of events whose text is ready: it is the value of their key ``line``, without line
#: ends.
READY_TEXT = "{line}"

# Operators filter by this name, so it must not change.
_log = Logger("chatfiles.http.server.site.Site")


class AccessLog:
    """Writes one line for each transfer."""

    def transfer_ended(self, event: TransferEnded) -> None:
        """Log the end of a request, unless its operation is empty."""
        if event.operation:
            by = f" by {event.credential}" if event.credential else ""
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
                    "line": f"{event.request_id} {event.workspace} {event.operation} {event.status}"
                    f" {event.bytes} bytes {event.seconds:.3f} s {event.outcome}"
                    f" from {event.client}{by}",
                    **event._asdict(),
                }
            )

    def request_refused(self, event: RequestRefused) -> None:
        """Log a refused message."""
        _log.info(
            "{request_id} {workspace} refused {status} {code} from {client}", **event._asdict()
        )
