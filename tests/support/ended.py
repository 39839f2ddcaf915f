"""
Compares how requests ended on two paths.
"""

from __future__ import annotations

from chatfiles.http.server.observers import TransferEnded
from chatfiles.runtime.audit.lines import version_of

__all__ = ["comparable"]


def comparable(event: TransferEnded) -> TransferEnded:
    """:return: the event, equal to that of the same request on another connection and path."""
    version = repr(version_of(event.fields, event.status)).encode()
    return event._replace(connection=None, fields=version, touched=dict(event.touched))
