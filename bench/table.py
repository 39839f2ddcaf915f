"""
Results as a table for the manual.

    python -m bench.table results.json

Reads what ``python -m bench --json`` wrote, and prints reStructuredText.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.report import number

__all__ = ["table"]

_BEGIN = ".. list-table::\n   :header-rows: 1\n"


def table(found: Mapping[str, Any]) -> Iterator[str]:
    """
    :param found: the content of a file of results.
    :return: the lines of a caption, and of a table with a row for each scenario: the median of the
        first of our systems, its CPU time, and its ratios to the systems that are not ours.
    """
    yield (
        f"Commit ``{found['commit']}``, {found['date'][:10]}, {found['cpus']} CPUs, Python"
        f" {found['python']}, Twisted {found['twisted']}:\n"
    )
    others = list(
        dict.fromkeys(
            name for result in found["results"] for name in result["systems"] if name != "chatfiles"
        )
    )
    yield _BEGIN
    yield from _row(["scenario", "chatfiles", "CPU", *(f"/ {name}" for name in others)])
    for result in found["results"]:
        if "chatfiles" in result["systems"]:
            yield from _row(_cells(result, others))


def _cells(result: Mapping[str, Any], others: Sequence[str]) -> list[str]:
    ours = result["systems"]["chatfiles"]
    cpu = " + ".join(number(each["median"]) for each in ours["cpu"].values())
    ratios = {
        each["other"]: number(each["median"])
        for each in result["ratios"]
        if each["system"] == "chatfiles"
    }
    return [
        f"``{result['scenario']}``",
        f"{number(ours['value']['median'])} {result['unit']}",
        f"{cpu} {result['cpu unit']}".strip() or "–",
        *(ratios.get(name, "–") for name in others),
    ]


def _row(cells: Sequence[str]) -> Iterator[str]:
    for place, cell in enumerate(cells):
        yield f"   {' ' if place else '*'} - {cell}"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print("\n".join(table(json.load(file))))
