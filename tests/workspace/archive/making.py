"""
Archives for tests, and programs that read them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from unittest import SkipTest

from chatfiles.workspace.archive.deflate import PIECE
from chatfiles.workspace.archive.member import ArchiveWriter, Member
from chatfiles.workspace.archive.tar_members import GzipTarWriter, TarWriter
from chatfiles.workspace.archive.zip_members import ZipWriter

__all__ = ["LONG_AGO_NS", "WRITERS", "Given", "made", "program", "unpacked"]

LONG_AGO_NS = 1_600_000_000 * 10**9
WRITERS: dict[str, Callable[[], ArchiveWriter]] = {
    "zip": ZipWriter,
    "tar": TarWriter,
    "tar.gz": GzipTarWriter,
}


@dataclass(frozen=True)
class Given:
    """
    What an archive is made of.

    :param content: of a file; ``None`` for a directory.
    :param missing: bytes at the end of the content that cannot be read, because the file has
        changed; ``None`` if it has not.
    """

    name: bytes
    content: bytes | None
    mtime_ns: int = LONG_AGO_NS
    executable: bool = False
    missing: int | None = None


def made(writer: ArchiveWriter, given: Iterable[Given], step: int = PIECE) -> bytes:
    """
    :param step: bytes of a file that are added at once.
    :return: the archive.
    """
    pieces: list[bytes] = []
    for each in given:
        if each.content is None:
            pieces.append(writer.directory(each.name, each.mtime_ns))
            continue
        size = len(each.content)
        pieces.append(writer.begin(Member(each.name, size, each.mtime_ns, each.executable)))
        for start in range(0, size - (each.missing or 0), step):
            pieces.append(writer.data(each.content[start : min(start + step, size)]))
        pieces.extend([writer.end()] if each.missing is None else writer.abandon())
    return b"".join([*pieces, *writer.finish()])


def changing(given: Given, missing: int) -> Given:
    """:return: the same file, of which the last bytes cannot be read."""
    return replace(given, missing=missing)


def program(name: str, package: str) -> str:
    """
    :param name: of a program.
    :param package: the package of Debian that has it.
    :return: its path.
    :raise SkipTest: it is not installed.
    """
    path = shutil.which(name)
    if path is None:
        raise SkipTest(f"{name} is not installed: apt-get install {package}")
    return path


def unpacked(archive: bytes, command: Sequence[str], *, by_pipe: bool) -> dict[bytes, bytes | None]:
    """
    Unpack an archive with a program.

    :param command: is executed in an empty directory.  ``{}`` in it is the path of the archive.
    :param by_pipe: whether it receives the archive by a pipe.
    :return: what it has made: names below that directory, and contents; ``None`` for directories.
    :raise AssertionError: it failed, or complained.
    """
    with tempfile.TemporaryDirectory() as base:
        place, source = os.path.join(base, "place"), os.path.join(base, "archive")
        os.mkdir(place)
        with open(source, "wb") as file:
            file.write(archive)
        done = subprocess.run(
            [part.replace("{}", source) for part in command],
            input=archive if by_pipe else None,
            cwd=place,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            capture_output=True,
            check=False,
        )
        if done.returncode or done.stderr:
            raise AssertionError(f"{command}: {done.returncode}: {done.stderr.decode()}")
        return dict(_found(os.fsencode(place)))


def _found(place: bytes) -> Iterable[tuple[bytes, bytes | None]]:
    for directory, names, files in os.walk(place):
        for name in names:
            yield os.path.relpath(os.path.join(directory, name), place), None
        for name in files:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                yield os.path.relpath(path, place), file.read()
