"""
The access log: one line for each transfer, and one for each refused message (reference/logs,
"Transfer lines").
"""

from __future__ import annotations

from twisted.logger import Logger

from chatfiles.http.server.observers import RequestRefused, TransferEnded

__all__ = ["AccessLog"]

# Operators filter by this name, so it must not change.
_log = Logger("chatfiles.http.server.site.Site")


class AccessLog:
    """Writes one line for each transfer."""

    def transfer_ended(self, event: TransferEnded) -> None:
        """Log the end of a request, unless its operation is empty."""
        if event.operation:
            # Formatted here: the logger's formatting costs as much as the rest of a request.
            _log.info(
                "{line}",
                line=f"{event.request_id} {event.workspace} {event.operation} {event.status} "
                f"{event.bytes} bytes {event.seconds:.3f} s {event.outcome} from {event.client}",
                **event._asdict(),
            )

    def request_refused(self, event: RequestRefused) -> None:
        """Log a refused message."""
        _log.info(
            "{request_id} {workspace} refused {status} {code} from {client}", **event._asdict()
        )
