"""
Reads the manifest of an archive: its last member, which lists what the archive lacks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from chatfiles.cli.errors import CliError, untrusted
from chatfiles.cli.exit_status import Exit
from chatfiles.client.local.archive_manifest import tar_member, zip_member

__all__ = ["Manifest", "checked_manifest", "read_manifest"]

#: The reasons for which nothing that an archive could hold is missing.
_HARMLESS = frozenset({"symlink", "special"})
#: The exit statuses of other reasons; of a reason that is not listed here it is `Exit.INCOMPLETE`.
_STATUSES = {"permission_denied": Exit.CREDENTIALS, "too_long": Exit.REFUSED}
_HINTS = {
    Exit.CREDENTIALS: "the workspace itself may not read them",
    Exit.REFUSED: "their names are too long for a zip; choose another format",
    Exit.INCOMPLETE: "they changed while they were packed; get them one by one, or run the command "
    "again",
}


@dataclass(frozen=True)
class Manifest:
    """
    What an archive lacks.

    :param skipped: reference and reason of each file that was skipped; perhaps not of all.
    :param total: how many were skipped.
    :param reasons: each reason → how many were skipped for it.
    """

    skipped: tuple[tuple[str, str], ...]
    total: int
    reasons: Mapping[str, int]

    @property
    def lacking(self) -> tuple[tuple[str, str], ...]:
        """Those of `skipped` that the archive should hold: no symlinks or special files."""
        return tuple(each for each in self.skipped if each[1] not in _HARMLESS)

    def error(self, archive: str) -> CliError | None:
        """
        :param archive: the archive in messages.
        :return: the error for an archive that lacks something; ``None`` if it lacks nothing.
        """
        reasons = {each: count for each, count in self.reasons.items() if each not in _HARMLESS}
        if not reasons:
            return None
        status = max(_STATUSES.get(reason, Exit.INCOMPLETE) for reason in reasons)
        count = sum(reasons.values())
        what = "1 file or directory" if count == 1 else f"{count} files or directories"
        why = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items()))
        return CliError(f"{archive} lacks {what}: {why}", status, hint=_HINTS[status])


def read_manifest(file: BinaryIO, form: str) -> Manifest:
    """
    :param file: the archive, open for reading.
    :param form: ``zip``, ``tar`` or ``tar.gz``.
    :return: its manifest.
    :raise CliError: there is none, it contradicts the archive, or the archive is malformed.
    """
    return checked_manifest(
        lambda: zip_member(file) if form == "zip" else tar_member(file, form, "r:")
    )


def checked_manifest(find: Callable[[], tuple[bytes, int]]) -> Manifest:
    """
    :param find: returns the content of the manifest, and the number of other members; it may raise
        anything.
    :return: the manifest.
    :raise CliError: see `read_manifest`.
    """
    try:
        text, members = find()
        value = json.loads(text)
        manifest, promised = _manifest(value), int(value["members"])
    except Exception as error:  # the libraries raise many kinds for what is malformed
        raise untrusted("the archive has no manifest that can be read") from error
    if promised != members:
        raise untrusted(f"the archive has {members} members, its manifest says {promised}")
    return manifest


def _manifest(value: dict[str, Any]) -> Manifest:
    """:return: what the JSON of a manifest says."""
    skipped = tuple((str(each["ref"]), str(each["reason"])) for each in value["skipped"])
    listed = Counter(reason for _, reason in skipped)
    counts = value.get("skipped_by_reason", {})  # an older workspace counts no reasons
    if not all(type(count) is int and count >= 0 for count in counts.values()):
        raise ValueError("a count is no number")
    # What is listed was skipped, whatever the counts say.
    return Manifest(skipped, int(value["skipped_total"]), Counter(counts) | listed)
