"""
The files that the demo serves: sample files that it writes, or files of the user's directory.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Mapping

from chatfiles.cli.demo.sample_media import chart, document

__all__ = ["GREETING", "find_files", "make_files"]

GREETING = "Hello!  This file came from a workspace, through the platform, to you.\n"
README = """\
# A workspace

An agent would work with these files:

- `readings.csv`: temperatures of one day
- `readings.png`: their curve
- `report.pdf`: a summary
- `random.bin`: one mebibyte of random bytes
"""
RANDOM_BYTES = 1024 * 1024
#: Maximum number of files that are examined, so that a demo of a huge directory starts at once.
MAX_EXAMINED = 1000


def make_files(directory: str, entropy: Callable[[int], bytes] = os.urandom) -> list[str]:
    """
    Write the sample files.

    :param directory: an empty directory.
    :param entropy: returns the given number of random bytes.
    :return: the names of the files; the first one is the best to show.
    """
    readings = _readings()
    contents = {
        "hello.txt": GREETING.encode(),
        "readings.csv": _table(readings),
        "readings.png": chart(list(readings.values())),
        "report.pdf": document(_report(readings)),
        "README.md": README.encode(),
        "random.bin": entropy(RANDOM_BYTES),
    }
    for name, content in contents.items():
        with open(os.path.join(directory, name), "xb") as file:
            file.write(content)
    return list(contents)


def _readings() -> dict[int, float]:
    """:return: temperatures of one day in degrees Celsius, by minute."""
    return {
        minute: round(14 - 6 * math.cos(2 * math.pi * (minute - 180) / (24 * 60)), 2)
        for minute in range(0, 24 * 60, 10)
    }


def _table(readings: Mapping[int, float]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["minute", "celsius"])
    writer.writerows((minute, f"{celsius:.2f}") for minute, celsius in readings.items())
    return text.getvalue().encode()


def _report(readings: Mapping[int, float]) -> list[str]:
    return [
        "Temperatures of one day",
        "",
        f"lowest: {min(readings.values()):.1f} degrees Celsius",
        f"highest: {max(readings.values()):.1f} degrees Celsius",
        f"readings: {len(readings)}",
    ]


def find_files(directory: str, count: int) -> list[str]:
    """
    :param directory: any directory.
    :param count: maximum number of names.
    :return: the relative names of readable regular files in and below it that are not hidden.  They
        are sorted, those nearest to the top first.  Symlinks, which are never served, are left out.
    """
    found: list[str] = []
    for parent, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if not name.startswith(".")]
        found += (
            os.path.relpath(os.path.join(parent, name), directory)
            for name in names
            if not name.startswith(".") and _servable(os.path.join(parent, name))
        )
        if len(found) >= MAX_EXAMINED:
            break
    return sorted(found, key=lambda name: (name.count("/"), name))[:count]


def _servable(path: str) -> bool:
    return (
        path.isprintable()
        and not os.path.islink(path)
        and os.path.isfile(path)
        and os.access(path, os.R_OK)
    )
