"""
Reads the manifest of an archive on the disk: its last member (reference/archives, "Manifest").
"""

from __future__ import annotations

import json
from typing import IO, Any, BinaryIO

from chatfiles.client.core.answers import as_object, integer, listed_path, text
from chatfiles.client.core.errors import BadAnswer
from chatfiles.client.core.values import Manifest, Renamed, Skipped

__all__ = ["LIMIT", "MANIFEST", "read_manifest", "tar_member", "zip_member"]

#: The name of the member, and its maximum bytes.
MANIFEST, LIMIT = "chatfiles-manifest.json", 64 * 1024 * 1024


def read_manifest(file: BinaryIO, form: str) -> Manifest:
    """
    :param file: the archive, open for reading.
    :param form: ``zip``, ``tar`` or ``tar.gz``.
    :return: its manifest.
    :raise BadAnswer: there is none, it contradicts the archive, or the archive is malformed.
    """
    try:
        data, members = zip_member(file) if form == "zip" else tar_member(file, form, "r:")
        value = json.loads(data)
    except Exception as error:  # the libraries raise many kinds for what is malformed
        raise BadAnswer("the archive has no manifest that can be read") from error
    manifest = _parse(as_object(value))
    if manifest.members != members:
        raise BadAnswer(
            f"the archive has {members} members, and its manifest says {manifest.members}"
        )
    return manifest


def _parse(value: dict[str, Any]) -> Manifest:
    return Manifest(
        members=integer(value, "members"),
        bytes=integer(value, "bytes"),
        skipped_total=integer(value, "skipped_total"),
        skipped=tuple(
            Skipped(listed_path(each), text(each, "reason")) for each in _objects(value, "skipped")
        ),
        renamed=tuple(
            Renamed(text(each, "member"), listed_path(each)) for each in _objects(value, "renamed")
        ),
    )


def _objects(value: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = value.get(key, [])
    if not isinstance(found, list):
        raise BadAnswer(f"the manifest has no list as {key}")
    return [as_object(each) for each in found]


def zip_member(file: BinaryIO) -> tuple[bytes, int]:
    """:return: the content of the manifest, and the number of other members."""
    import zipfile  # noqa: PLC0415 - slow to import

    with zipfile.ZipFile(file) as archive, archive.open(MANIFEST) as member:
        return _read(member), len(archive.infolist()) - 1


def tar_member(file: Any, form: str, mode: str) -> tuple[bytes, int]:
    """
    :param file: the archive; only its ``read`` is used for ``r|``.
    :param form: ``tar`` or ``tar.gz``.
    :param mode: of `tarfile.open`: ``r:``, or ``r|`` for a stream.
    :return: the content of the manifest, and the number of members before it.
    """
    import tarfile  # noqa: PLC0415 - slow to import

    count = 0
    packed: Any = mode + ("gz" if form == "tar.gz" else "")
    with tarfile.open(fileobj=file, mode=packed) as archive:
        while (info := archive.next()) is not None:
            # Otherwise it keeps the header of every member.
            archive.members.clear()  # type: ignore[attr-defined]  # it is not in typeshed
            if info.name == MANIFEST and (member := archive.extractfile(info)):
                return _read(member), count
            count += 1
    raise KeyError(MANIFEST)


def _read(member: IO[bytes]) -> bytes:
    data = member.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise ValueError("the manifest is too long")
    return data
