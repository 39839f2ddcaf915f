"""
Replaces standard streams that were closed when the process started (``>&-``).

Python sets such a stream to ``None``, and the kernel gives its descriptor to the next opened file.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import UnsupportedOperation
from typing import TextIO

from chatfiles.cli.errors import CliError, local_error
from chatfiles.cli.exit_status import Exit

__all__ = ["complete_streams", "not_written"]


def complete_streams() -> None:
    """
    Connect a closed standard input or standard error to the null device.

    :raise CliError: standard output is closed, so the result would be lost; it may be a token that
        is shown only once.
    """
    if sys.stdin is None:
        sys.stdin = _nothing(0, "r")
    if sys.stderr is None:
        sys.stderr = _nothing(2, "w")
    if sys.stdout is None:
        raise CliError("standard output is closed", Exit.LOCAL)


def not_written(error: OSError) -> CliError:
    """
    Discard the data that could not be written to standard output.  Otherwise Python would write it
    again when it ends.

    :param error: why it could not be written.
    :return: the error to show.
    """
    with open(os.devnull, "wb") as nowhere, suppress(UnsupportedOperation):
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return local_error("cannot write to standard output", error)


def _nothing(descriptor: int, mode: str) -> TextIO:
    """:return: the null device, open as *descriptor*, which child processes inherit."""
    opened = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
    if opened == descriptor:
        os.set_inheritable(descriptor, True)
    else:
        os.dup2(opened, descriptor)
        os.close(opened)
    return open(descriptor, mode, encoding="utf-8", errors="backslashreplace")  # type: ignore[return-value]
