"""
What a platform has responded, as its process notes it, and as a test compares it with the document.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache

from tests.openapi.document import Seen, document

__all__ = ["DIRECTORY", "Record", "read", "undocumented"]

#: The environment variable that names the directory in which records are kept after the tests.
DIRECTORY = "OPENAPI_SEEN"


class Record:
    """
    The record of one platform.

    :param directory: where it is; ``None`` for where those of the test run are.
    :ivar path: the file of the record.
    :ivar first: Python that its process executes before ``twistd``.
    """

    def __init__(self, directory: str | None = None) -> None:
        descriptor, self.path = tempfile.mkstemp(".jsonl", dir=directory or _directory())
        os.close(descriptor)
        self._read = 0
        self.first = f"from tests.openapi.recorder import install; install({self.path!r})\n"

    def seen(self) -> list[Seen]:
        """:return: all kinds of responses so far."""
        return list(read(self.path))

    def check(self) -> None:
        """:raise AssertionError: a response since the last time is not documented."""
        seen = list(read(self.path, self._read))
        self._read += len(seen)
        if wrong := undocumented(seen):
            raise AssertionError(f"chatfiles/openapi.yaml does not have these responses: {wrong}")


def read(path: str, after: int = 0) -> Iterator[Seen]:
    """Yield the responses in a record, without the first ones."""
    with open(path, encoding="ascii") as file:
        for number, line in enumerate(file):
            if number >= after and line.endswith("\n"):
                yield Seen(*json.loads(line))


def undocumented(seen: Iterable[Seen]) -> list[Seen]:
    """:return: the responses that the document does not have."""
    return [each for each in seen if not document().allows(each)]


@cache
def _directory() -> str:
    kept = os.environ.get(DIRECTORY)
    if kept:
        return kept
    made = tempfile.mkdtemp(prefix="chatfiles-openapi-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made
