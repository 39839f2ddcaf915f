"""
The descriptors that a test has left open.
"""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ["open_below"]


def open_below(directory: bytes) -> dict[bytes, bytes]:
    """
    :param directory: a directory of the test; other threads may open and close other files.
    :return: the numbers and paths of the descriptors of this process that are in it.
    """
    top, found = os.path.realpath(directory), {}
    for number in os.listdir(b"/proc/self/fd"):
        with suppress(FileNotFoundError):
            path = os.readlink(b"/proc/self/fd/" + number)
            if path == top or path.startswith(top + b"/"):
                found[number] = path
    return found
