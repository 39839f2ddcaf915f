"""
The directory into which a tree is saved.

Every path is resolved beneath an open descriptor of that directory, and no symlink in it is
followed.  So nothing is written elsewhere, whatever names a workspace sends and whatever is in the
directory.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Self

from chatfiles.cli.errors import CliError, local_error
from chatfiles.cli.transfers.local_place import Place
from chatfiles.cli.transfers.output_file import Attributes
from chatfiles.posix.openat2 import HANDLE, best_mechanism

__all__ = ["LocalTree"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class LocalTree:
    """
    A directory; as a context manager, it closes its descriptor at the end.

    :param path: the directory; it is created if it does not exist.
    :raise CliError: it cannot be created or opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            with suppress(FileExistsError):
                os.mkdir(path)
            self._fd = os.open(path, _DIRECTORY)
        except OSError as error:
            raise local_error(
                f"cannot write to {path}", error, "choose another place with -o"
            ) from error

    def make_directory(self, segments: Sequence[bytes]) -> None:
        """
        Create a directory below this one, or make an existing one writable for its owner.

        :raise CliError: it cannot be created, or is something else.
        """
        *above, name = segments
        try:
            with self._open(above, _DIRECTORY) as parent, suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
            with self._open(segments, HANDLE) as handle:
                mode = stat.S_IMODE(os.fstat(handle).st_mode)
                if mode & 0o700 != 0o700:
                    os.chmod(f"/proc/self/fd/{handle}", mode | 0o700)  # fchmod takes no O_PATH
        except OSError as error:
            raise self._failed(segments, error) from error

    @contextmanager
    def place(self, segments: Sequence[bytes]) -> Iterator[Place]:
        """
        :param segments: the path of a file below this directory.
        :return: its place, which is valid inside the context.
        :raise CliError: its directory cannot be opened.
        """
        *above, name = segments
        with ExitStack() as stack:
            try:
                descriptor = stack.enter_context(self._open(above, _DIRECTORY))
            except OSError as error:
                raise self._failed(segments, error) from error
            yield Place(name, self.label(segments), descriptor)

    def finish_directory(self, segments: Sequence[bytes], attributes: Attributes) -> None:
        """
        Set the attributes of a directory, when everything in it is complete.

        :raise CliError: they cannot be set.
        """
        try:
            with self._open(segments, _DIRECTORY) as descriptor:
                attributes.apply(descriptor)
        except OSError as error:
            raise self._failed(segments, error) from error

    def label(self, segments: Sequence[bytes]) -> str:
        """:return: the path below this directory, for messages."""
        return os.path.join(self.path, os.fsdecode(b"/".join(segments)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        os.close(self._fd)

    @contextmanager
    def _open(self, segments: Sequence[bytes], flags: int) -> Iterator[int]:
        descriptor = best_mechanism()(self._fd, segments or (b".",), flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _failed(self, segments: Sequence[bytes], error: OSError) -> CliError:
        hint = None
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EEXIST):
            hint = (
                "a symlink or a file is in the place of a directory; nothing is written through it"
            )
        return local_error(f"cannot write {self.label(segments)}", error, hint)
