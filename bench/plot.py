"""
Results as a picture, drawn by matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from bench.results import Result
from bench.summary import Spread

__all__ = ["draw"]


def draw(path: str, title: str, results: Sequence[Result]) -> None:
    """
    Draw ratios of speed on the left, and the CPU time of the first of our systems on the right.

    :param path: of the file; its extension decides the format, such as ``.svg`` or ``.png``.
    :raise ValueError: matplotlib does not know the format.
    """
    fast = [each for each in results if not each.lower_is_better and any(each.pairs())]
    height = 1.5 + 0.25 * sum(1 + len(list(result.pairs())) for result in fast)
    figure = Figure(figsize=(12, height), layout="constrained")
    figure.suptitle(title)
    ratios, cpu = figure.subplots(1, 2)
    _draw_ratios(ratios, fast)
    _draw_cpu(cpu, [result for result in fast if result.cpu_unit == "µs/request"])
    figure.savefig(path)


def _draw_ratios(axes: Any, results: Sequence[Result]) -> None:
    rows = [(result, *pair) for result in results for pair in result.pairs()]
    values = [result.ratio(system, other) for result, system, other in rows]
    names = [f"{result.key}: {system} / {other}" for result, system, other in rows]
    colors = [f"C{list(result.samples).index(other)}" for result, _, other in rows]
    axes.hlines(range(len(rows)), *_ends(values), colors=colors, linewidth=4, alpha=0.5)
    axes.scatter([each.median for each in values], range(len(rows)), color=colors)
    axes.set_yticks(range(len(rows)), names, fontsize="small")
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="0.3", linewidth=1)
    axes.set_title("speed: median of the ratios, and spread")


def _ends(values: Sequence[Spread]) -> tuple[list[float], list[float]]:
    return [each.low for each in values], [each.high for each in values]


def _draw_cpu(axes: Any, results: Sequence[Result]) -> None:
    rows = [(result, system) for result in results for system in result.ours]
    rows = [(result, system) for result, system in rows if system in result.samples]
    left = [0.0] * len(rows)
    for server in dict.fromkeys(name for result, system in rows for name in result.cpu(system)):
        widths = [result.cpu(system)[server].median for result, system in rows]
        axes.barh(range(len(rows)), widths, left=left, label=server)
        left = [begin + width for begin, width in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), [f"{result.key}: {system}" for result, system in rows])
    axes.tick_params(axis="y", labelsize="small")
    axes.invert_yaxis()
    axes.set_title("CPU time, µs per request")
    axes.set_ylim(max(len(rows), 4) - 0.5, -0.5)  # bars of few rows stay thin
    if rows:
        axes.legend()
