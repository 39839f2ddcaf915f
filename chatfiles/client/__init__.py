"""
A client of the platform's HTTP API, for programs (reference/client).

`Client` blocks; it imports no Twisted.  `AsyncClient` has the same methods as coroutines, for
programs that run Twisted's reactor.  ::

    from chatfiles.client import Client

    with Client("https://files.example.org", token, workspace=workspace) as client:
        client.download("/workspace/report.pdf", "report.pdf", verify=True)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


_VALUES = frozenset({"Digest", "Downloaded", "Entry", "Manifest", "Renamed", "Skipped", "Stored"})
_CLIENTS = {"Client": "blocking.client", "AsyncClient": "twisted.client"}


def __getattr__(name: str) -> Any:
    """Import a name when it is used: `AsyncClient` needs Twisted, and the rest takes time."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _CLIENTS.get(name) or ("core.values" if name in _VALUES else "core.errors")
    return getattr(import_module(f"{__name__}.{module}"), name)
