"""
Reads trial's output and prints ``N passed, N failed, N skipped``, from trial's own summary.

Usage: ``count.py STATUS < OUTPUT``, where STATUS is trial's exit status.  Exits 1 unless at least
one test passed, none failed, and trial itself said so.
"""

from __future__ import annotations

import re
import sys

SUMMARY = re.compile(
    r"^(PASSED|FAILED)(?: \(([a-zA-Z]+=\d+(?:, [a-zA-Z]+=\d+)*)\))?$", re.MULTILINE
)


def count(output: str, status: int) -> tuple[int, int, int]:
    """
    :param output: everything that trial printed.
    :param status: its exit status.
    :return: how many tests passed, failed and were skipped.  What trial counts as an expected
        failure ran to no verdict: skipped.  A success that was not expected: failed, though trial
        lets it pass.  A run that failed without naming a test, or ran none, counts as one failure.
    """
    said = list(SUMMARY.finditer(output))
    if not said:
        return 0, 1, 0
    verdict, listed = said[-1].groups()
    counts = {name: int(n) for name, n in re.findall(r"([a-zA-Z]+)=(\d+)", listed or "")}
    passed = counts.pop("successes", 0)
    skipped = counts.pop("skips", 0) + counts.pop("expectedFailures", 0)
    failed = sum(counts.values())
    if not failed and (status or verdict == "FAILED" or not passed):
        failed = 1
    return passed, failed, skipped


if __name__ == "__main__":
    output = sys.stdin.buffer.read().decode("utf-8", "replace")
    passed, failed, skipped = count(output, int(sys.argv[1]))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
