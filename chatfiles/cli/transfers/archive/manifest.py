"""
Reads the manifest of an archive: its last member, which lists what the archive lacks.
"""

from __future__ import annotations

import json
import tarfile
import zipfile
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

from chatfiles.cli.errors import untrusted

__all__ = ["MANIFEST", "Manifest", "read_manifest"]

#: The name of the member.
MANIFEST = "chatfiles-manifest.json"
#: Maximum bytes of a manifest: it lists 1000 paths twice, each of some 12 KiB at most.
LIMIT = 64 * 1024 * 1024


@dataclass(frozen=True)
class Manifest:
    """
    What an archive lacks.

    :param skipped: reference and reason of each file that was skipped; perhaps not of all.
    :param total: how many were skipped.
    """

    skipped: tuple[tuple[str, str], ...]
    total: int

    @property
    def changing(self) -> int:
        """How many files changed while they were packed."""
        return sum(reason == "changing" for _, reason in self.skipped)


def read_manifest(file: BinaryIO, form: str) -> Manifest:
    """
    :param file: the archive, open for reading.
    :param form: ``zip``, ``tar`` or ``tar.gz``.
    :return: its manifest.
    :raise CliError: there is none, or the archive is malformed.
    """
    try:
        value = json.loads(_zip_member(file) if form == "zip" else _tar_member(file, form))
        skipped = tuple((str(each["ref"]), str(each["reason"])) for each in value["skipped"])
        return Manifest(skipped, int(value["skipped_total"]))
    except Exception as error:  # the libraries raise many kinds for what is malformed
        raise untrusted("the archive has no manifest that can be read") from error


def _zip_member(file: BinaryIO) -> bytes:
    with zipfile.ZipFile(file) as archive, archive.open(MANIFEST) as member:
        return _read(member)


def _tar_member(file: BinaryIO, form: str) -> bytes:
    mode: Any = "r:gz" if form == "tar.gz" else "r:"
    with tarfile.open(fileobj=file, mode=mode) as archive:
        while (info := archive.next()) is not None:
            # Otherwise it keeps the header of every member.
            archive.members.clear()  # type: ignore[attr-defined]  # it is not in typeshed
            if info.name == MANIFEST and (member := archive.extractfile(info)):
                return _read(member)
    raise KeyError(MANIFEST)


def _read(member: IO[bytes]) -> bytes:
    data = member.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise ValueError("the manifest is too long")
    return data
