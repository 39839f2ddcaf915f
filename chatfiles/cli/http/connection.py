"""The connections of `chatfiles.client.blocking`, under the name that the command line imports."""

from __future__ import annotations

from chatfiles.client.blocking.connection import Connection, ResponseBegun

__all__ = ["Connection", "ResponseBegun"]
