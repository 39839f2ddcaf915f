"""
The names of operations in metrics, JSON logs and the audit log: the same on both roles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["OPERATIONS", "RECEIVED", "TRANSFERS"]

#: The operations that move, describe or change files, and ``link``, which makes links.
TRANSFERS: Final = (
    "download", "upload", "list", "archive", "digest", "link", "write", "delete", "mkdir", "move",
)  # fmt: skip
#: Those of which the bytes that count are those of the request.
RECEIVED: Final = frozenset({"upload", "write"})
#: The name in the access log of text → one of `TRANSFERS`.  Others are no transfers.
OPERATIONS: Final[Mapping[str, str]] = {
    **{name: name for name in TRANSFERS},
    "read": "download",
    "ingest": "upload",
}
