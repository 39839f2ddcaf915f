"""
Results as lines of text.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.results import Result
from bench.summary import Spread

__all__ = ["lines", "number"]


def number(value: float) -> str:
    """:return: three significant digits, without an exponent."""
    size = abs(value)
    places = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{places}f}".replace(",", " ")


def _shown(values: Spread) -> str:
    return f"{number(values.median)} ({number(values.low)} to {number(values.high)})"


def lines(result: Result) -> Iterator[str]:
    """:return: medians, with the lowest and the highest in parentheses."""
    lower = " (lower is better)" if result.lower_is_better else ""
    yield f"{result.key}: {result.title}, {result.unit}{lower}"
    width = max(map(len, (*result.samples, *result.skipped)), default=0)
    for system in result.samples:
        yield f"  {system:<{width}}  {_shown(result.value(system))}{_details(result, system)}"
    for system, reason in result.skipped.items():
        yield f"  {system:<{width}}  skipped: {reason}"
    for system, other in result.pairs():
        cpu = result.cpu_ratio(system, other)
        more = f"; CPU ratio {_shown(cpu)}" if cpu else ""
        yield f"  {system} / {other}: ratio {_shown(result.ratio(system, other))}{more}"


def _details(result: Result, system: str) -> str:
    """:return: the CPU time of each server and their sum, and the other values."""
    cpu = result.cpu(system)
    parts = [f"{name} {number(each.median)}" for name, each in cpu.items()]
    if len(parts) > 1:
        parts.append(f"together {number(result.together(system).median)}")
    text = f"; CPU {', '.join(parts)} {result.cpu_unit}" if parts else ""
    more = [f"{name} {number(each.median)}" for name, each in result.more(system).items()]
    return text + (f"; {', '.join(more)}" if more else "")
