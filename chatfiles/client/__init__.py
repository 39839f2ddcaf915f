"""
A client of the platform's HTTP API, for programs (reference/client).

`Client` blocks; it imports no Twisted.  `AsyncClient` has the same methods as coroutines, for
programs that run Twisted's reactor.  ::

    from chatfiles.client import Client

    with Client("https://files.example.org", token, workspace=workspace) as client:
        client.download("/workspace/report.pdf", "report.pdf", verify=True)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatfiles.client.blocking.client import Client
from chatfiles.client.core.errors import (
    BadAnswer,
    Busy,
    Changed,
    ClientError,
    Conflict,
    DigestMismatch,
    Forbidden,
    Incomplete,
    NotFound,
    PreconditionFailed,
    Refused,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unreachable,
    Unsupported,
)
from chatfiles.client.core.values import (
    Digest,
    Downloaded,
    Entry,
    Manifest,
    Renamed,
    Skipped,
    Stored,
)

if TYPE_CHECKING:
    from chatfiles.client.twisted.client import AsyncClient

__all__ = [
    "AsyncClient",
    "BadAnswer",
    "Busy",
    "Changed",
    "Client",
    "ClientError",
    "Conflict",
    "Digest",
    "DigestMismatch",
    "Downloaded",
    "Entry",
    "Forbidden",
    "Incomplete",
    "Manifest",
    "NotFound",
    "PreconditionFailed",
    "Refused",
    "Renamed",
    "Skipped",
    "Stored",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "Unsupported",
]


def __getattr__(name: str) -> Any:
    if name == "AsyncClient":
        from chatfiles.client.twisted.client import AsyncClient  # noqa: PLC0415 - needs Twisted

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
