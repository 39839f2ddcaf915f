"""
A result that tests share.
"""

from __future__ import annotations

from bench.results import Result, Sample

__all__ = ["RESULT"]

#: Two systems in two rounds, and one that was skipped.
RESULT = Result(
    "small/1k",
    "1 KiB",
    "requests/s",
    "µs/request",
    {
        "chatfiles": [Sample(10.0, {"platform": 3.0}), Sample(30.0, {"platform": 1.0})],
        "nginx": [Sample(40.0), Sample(60.0)],
    },
    ["chatfiles"],
    skipped={"aiohttp": "not installed"},
)
