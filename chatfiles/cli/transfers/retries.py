"""
How often, and when, an attempt that has failed is made again.
"""

from __future__ import annotations

from chatfiles.cli.errors import CliError

__all__ = ["DEFAULT_RETRIES", "LONGEST_PAUSE", "pause_after"]

#: Maximum number of retries in a row, unless the user sets another.
DEFAULT_RETRIES = 3
#: Longest pause in seconds between two attempts; each pause is twice as long as the last one.
LONGEST_PAUSE = 30


def pause_after(error: CliError, failures: int) -> int:
    """
    :param error: of the attempt that has failed.
    :param failures: how many attempts in a row have failed before it.
    :return: seconds until the next attempt.
    """
    return min(error.retry_after or 2**failures, LONGEST_PAUSE)
