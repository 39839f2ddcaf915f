"""
``python -m tests.fuzz HARNESS``: one harness for a long time.

With `atheris`_ (``pip install atheris``) libFuzzer generates the bytes from which Hypothesis makes
the examples, and keeps those that reach new lines of the code or of its oracle; without it
Hypothesis chooses at random.  A failing example is shrunk, shown, and stored in ``.hypothesis``.

.. _atheris: https://pypi.org/project/atheris/
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from typing import Any

from hypothesis import settings

from tests.fuzz.harnesses import HARNESSES

try:
    import atheris
except ImportError:
    atheris = None

#: Examples that Hypothesis tries before the time is checked again.
ROUND = 2000
#: Bytes of which an example is made at most.
MAX_OCTETS = 2048
#: Examples between two lines that report how many there were.
TOLD = 1000


def load(name: str) -> Any:
    """:return: the check of a harness, its imports instrumented if they can be."""
    module = f"tests.fuzz.{name}"
    if atheris is None:
        return importlib.import_module(module).check
    with atheris.instrument_imports(include=["chatfiles", "tests.fuzz"]):
        return importlib.import_module(module).check


def at_random(check: Callable[[], None], seconds: float) -> None:
    """Try as many examples as fit."""
    longer = settings(max_examples=ROUND)(check)
    began, rounds = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        longer()
        rounds += 1
    print(f"{rounds * ROUND} examples in {time.monotonic() - began:.0f} s, nothing found")


def guided(check: Any, seconds: float, corpus: str | None) -> None:
    """Let libFuzzer continue where the corpus ends; does not return."""
    fuzz_one_input = check.hypothesis.fuzz_one_input
    examples = 0

    def one(data: bytes) -> None:
        nonlocal examples
        try:
            is_example = fuzz_one_input(data) is not None  # else there were too few bytes
        except Exception:
            check()  # begins with the example that has just failed, and shrinks it
            raise
        examples += is_example
        if is_example and examples % TOLD == 0:
            print(f"{examples} examples", file=sys.stderr)

    options = ["-len_control=0", "-print_final_stats=1"]
    limits = [f"-max_total_time={seconds:.0f}", f"-max_len={MAX_OCTETS}"]
    atheris.Setup([sys.argv[0], *options, *limits, *([corpus] if corpus else [])], one)
    atheris.Fuzz()


def main() -> None:
    """Parse the command line and run the harness."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz one harness.")
    parser.add_argument("harness", choices=HARNESSES)
    parser.add_argument("--seconds", type=float, default=60, help="for how long; 60")
    parser.add_argument("--at-random", action="store_true", help="do without atheris")
    parser.add_argument("--corpus", metavar="DIR", help="where atheris keeps what it has found")
    given = parser.parse_args()
    if atheris is None or given.at_random:
        at_random(load(given.harness), given.seconds)
    else:
        guided(load(given.harness), given.seconds, given.corpus)


if __name__ == "__main__":
    main()
