"""
The options that limit what one client may take of a platform (reference/limits-and-shutdown,
"Limits per client").
"""

from __future__ import annotations

from chatfiles.runtime import option_values
from chatfiles.runtime.option import Option
from chatfiles.runtime.option_values import PLATFORM

__all__ = ["CLIENT_LIMITS"]

CLIENT_LIMITS: tuple[Option, ...] = (
    Option(
        "max-transfers",
        (PLATFORM,),
        "transfers that run at the same time in one process",
        option_values.count,
        "4096",
    ),
    Option(
        "max-transfers-per-workspace",
        (PLATFORM,),
        "the same for the transfers of one workspace",
        option_values.count,
        "512",
    ),
    Option(
        "max-transfers-per-token",
        (PLATFORM,),
        "the same for the transfers of one token; the admin token has no such limit",
        option_values.count,
        "64",
    ),
    Option(
        "max-refusals-per-client",
        (PLATFORM,),
        "wrong credentials that a client may present in a second; 0 for no limit",
        option_values.count_or_none,
        "20",
    ),
)
