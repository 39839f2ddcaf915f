"""
What the client library returns: frozen values, which only the library creates.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

__all__ = ["Digest", "Downloaded", "Entry", "Manifest", "Renamed", "Skipped", "Stored"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """
    A file, a directory, or something else in a workspace.

    :param path: its virtual path; bytes that are not UTF-8 are surrogates (``surrogateescape``).
    :param name: the last segment of *path*.
    :param type: ``file``, ``directory``, ``symlink`` or ``other``.
    :param size: bytes of a file; else ``None``.
    :param mtime_ns: when it was modified, in nanoseconds since the epoch; ``None`` if unknown.
    :param mode: the permission bits of a file or directory; else ``None``.
    :param media_type: of a file, by its extension; else ``None``.
    :param etag: the validator of a file, with its quotation marks; else ``None``.
    :param readable: false if the workspace may not read it.
    :param error: why the workspace could not examine it; ``None`` if it could.
    """

    path: str
    name: str
    type: str
    size: int | None
    mtime_ns: int | None
    mode: int | None
    media_type: str | None
    etag: str | None
    readable: bool
    error: str | None

    @property
    def mtime(self) -> datetime | None:
        """When it was modified, in UTC, to the microsecond; ``None`` if unknown."""
        if self.mtime_ns is None:
            return None
        return _EPOCH + timedelta(microseconds=self.mtime_ns // 1000)


@dataclass(frozen=True, slots=True)
class Downloaded:
    """
    A file that was downloaded.

    :param to: where it is; ``None`` if it was written to an open file.
    :param size: its length in bytes.
    :param etag: the validator of its version; ``None`` if the response had none.
    :param sha256: its digest in hexadecimal digits; ``None`` unless it was verified.
    :param attempts: how many requests for its content were sent.
    :param resumed_from: how many bytes an earlier call had received; 0 if it began from the start.
    :param restarted: whether bytes were discarded because the file had changed, or because the
        server could not resume.
    """

    to: Path | None
    size: int
    etag: str | None
    sha256: str | None
    attempts: int
    resumed_from: int
    restarted: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """
    A file that was uploaded.

    :param path: its virtual path.
    :param uri: ``workspace:`` and the path, which a chat message can refer to; ``None`` if it was
        uploaded to a path.
    :param name: the name under which it is stored.
    :param size: its length in bytes.
    :param sha256: its digest in hexadecimal digits.
    :param etag: the validator of its version; ``None`` if the response had none.
    """

    path: str
    uri: str | None
    name: str
    size: int
    sha256: str
    etag: str | None


@dataclass(frozen=True, slots=True)
class Digest:
    """
    The digest of one version of a file.

    :param sha256: 64 hexadecimal digits.
    :param size: its length in bytes.
    :param etag: the validator of the version.
    """

    sha256: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """
    Something that an archive does not contain.

    :param path: its virtual path.
    :param reason: such as ``symlink``, ``permission_denied`` or ``changing`` (reference/archives,
        "Manifest").
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Renamed:
    """
    A file that has another name in an archive.

    :param member: its name there.
    :param path: its virtual path.
    """

    member: str
    path: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """
    What an archive contains, and what it does not.

    :param members: how many files and directories it contains.
    :param bytes: the sum of the files' lengths.
    :param skipped_total: how many are missing.
    :param skipped: the first of them.
    :param renamed: the first of those that have another name.
    """

    members: int
    bytes: int
    skipped_total: int
    skipped: tuple[Skipped, ...]
    renamed: tuple[Renamed, ...]
