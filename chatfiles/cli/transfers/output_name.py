"""
Chooses the name of the file that a download creates.
"""

from __future__ import annotations

import os

from chatfiles.cli.errors import OF_A_DIRECTORY, PATH_HINT, CliError
from chatfiles.cli.exit_status import Exit

__all__ = ["check_absolute", "choose_path", "file_name", "no_file_name"]


def check_absolute(virtual_path: str) -> None:
    """
    :param virtual_path: a path in a workspace; the server refuses an empty one.
    :raise CliError: it is relative, so it may be meant to be a path of this machine.
    """
    if virtual_path and not virtual_path.startswith("/"):
        raise CliError(f"PATH must be absolute: {virtual_path}", Exit.USAGE, hint=PATH_HINT)


def file_name(virtual_path: str) -> str | None:
    """
    :return: the last segment of *virtual_path* with control characters replaced by ``_``; ``None``
        if it cannot be the name of a file.
    """
    name = virtual_path.rpartition("/")[2]
    if name in ("", ".", ".."):
        return None
    return "".join("_" if ord(c) < 0x20 or ord(c) == 0x7F else c for c in name)


def choose_path(output: str | None, name: str | None) -> str:
    """
    :param output: the value of ``-o``: a file, a directory, or ``None`` for the current directory.
    :param name: see `file_name`.
    :return: the path of the file to write.
    :raise CliError: *output* is empty, or a name is needed and there is none.
    """
    if output == "":
        raise CliError("-o must not be empty", Exit.USAGE, hint="-o . saves in this directory")
    if output is not None and not output.endswith("/") and not os.path.isdir(output):
        return output
    if name is None:
        raise no_file_name()
    return os.path.join(output or "", name)


def no_file_name() -> CliError:
    """:return: the error for a virtual path that cannot be that of a file."""
    return CliError("PATH does not end in the name of a file", Exit.USAGE, hint=OF_A_DIRECTORY)
