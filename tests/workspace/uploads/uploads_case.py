"""
A directory of uploads in a root, for tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar
from unittest import mock

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.workspace.publication.unpublished_file import UnpublishedFile
from chatfiles.workspace.uploads.upload_directory import UploadDirectory

__all__ = [
    "HEX",
    "KILLED",
    "A",
    "B",
    "C",
    "UploadsCase",
    "has_unnamed_files",
    "in_child",
]

HEX = "0123456789abcdef" * 2
A, B, C = (f"{HEX}-{letter}" for letter in "abc")
KILLED = 99


def has_unnamed_files(directory: str) -> bool:
    try:
        os.close(os.open(directory, os.O_WRONLY | os.O_TMPFILE, 0o600))
    except OSError:
        return False
    return True


def in_child(act: Callable[[], object]) -> int:
    """:return: the exit status of a process that calls *act* and then ends at once."""
    pid = os.fork()
    if not pid:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class UploadsCase(SynchronousTestCase):
    """A root, and the directory of uploads in it."""

    unnamed: ClassVar[bool] = True

    def setUp(self) -> None:
        self.root = os.path.realpath(self.mktemp())
        os.makedirs(self.root)
        if self.unnamed and not has_unnamed_files(self.root):
            raise SkipTest("this file system has no unnamed files")
        self.uploads = UploadDirectory(self.open_root, unnamed=self.unnamed)
        self.path = os.path.join(self.root, ".molecule", "chat-uploads")

    def open_root(self) -> int:
        return os.open(self.root, os.O_PATH | os.O_DIRECTORY)

    def open_directory(self) -> int:
        fd = self.uploads.open()
        self.addCleanup(os.close, fd)
        return fd

    def new(self, content: bytes = b"") -> UnpublishedFile:
        file = self.uploads.new_file(self.open_directory())
        self.addCleanup(file.close)
        file.write(content)
        file.complete()
        return file

    def listed(self) -> dict[str, bytes]:
        """:return: what is in the directory."""
        found = {}
        for name in os.listdir(self.path):
            with open(os.path.join(self.path, name), "rb") as file:
                found[name] = file.read()
        return found

    def put(self, name: str, content: bytes = b"") -> str:
        os.makedirs(self.path, exist_ok=True)
        path = os.path.join(self.path, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def failing_link(self, at: int, error: BaseException | Callable[[], object]) -> Any:
        """:return: a context in which the *at*-th link of a file fails, counted from 0."""
        real, calls = os.link, iter(range(1000))

        def link(*args: Any, **more: Any) -> None:
            if next(calls) == at:
                if not isinstance(error, BaseException):
                    error()
                else:
                    raise error
            real(*args, **more)

        return mock.patch("os.link", link)
