"""
How often, and when, an attempt that has failed is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from chatfiles.cli.errors import CliError

__all__ = ["DEFAULT_RETRIES", "LONGEST_PAUSE", "pause_after", "retried"]

T = TypeVar("T")

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


def retried(
    function: Callable[[], T],
    most: int,
    say: Callable[[str], object],
    pause: Callable[[float], object],
    may_retry: Callable[[CliError], bool] = lambda _: True,
) -> T:
    """
    Call *function* until it raises no transient error.

    :param most: how many retries there are.
    :param say: is called with what the user should know.
    :param pause: sleeps for a number of seconds.
    :param may_retry: whether to retry after a transient error.
    :return: what *function* has returned.
    """
    for failures in range(most + 1):
        try:
            return function()
        except CliError as error:
            if not (error.transient and failures < most and may_retry(error)):
                raise
            seconds = pause_after(error, failures)
            say(f"{error.message}; trying again in {seconds} s")
            pause(seconds)
    raise AssertionError("the last attempt returns or raises")
