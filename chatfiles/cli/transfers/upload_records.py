"""
What ``chatfiles put --continue`` needs of uploads that earlier commands have begun.

Each upload has one small file in the user's directory of state (XDG Base Directory Specification).
It has no credential, and only this user can read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from chatfiles.client.core.resumable_upload import UploadRecord
from chatfiles.posix.atomic_file import replace_file

__all__ = ["RecordFile", "records_directory"]

#: Seconds after which a record is removed.  Workspaces keep uploads for a day, by default.
OLD = 7 * 24 * 3600.0
#: Maximum bytes of a record: its URL has a base URL in it.
LIMIT = 64 * 1024

_NAME = re.compile(r"[0-9a-f]{32}\.json(\.tmp-[0-9a-f]+)?")


def records_directory(environ: Mapping[str, str]) -> str:
    """
    :param environ: the environment variables.
    :return: the path of the directory of records, which need not exist.
    """
    state = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # then it is ignored, as the specification says
        state = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "chatfiles", "uploads")


class RecordFile:
    """
    The file with the record of one upload.

    :param directory: see `records_directory`.
    :param upload: what distinguishes the upload from others: its file and its destination.
    :ivar path: of the file.
    """

    def __init__(self, directory: str, upload: Sequence[str]) -> None:
        name = hashlib.sha256(json.dumps(upload).encode("ascii")).hexdigest()[:32]
        self._directory = directory
        self.path = os.path.join(directory, name + ".json")

    def load(self) -> UploadRecord | None:
        """:return: the record; ``None`` if there is none that can be used."""
        try:
            with open(self.path, "rb") as file:
                return UploadRecord.decode(file.read(LIMIT))
        except OSError:
            return None

    def save(self, record: UploadRecord) -> None:
        """
        Write the record, and remove those that are old.

        :raise OSError: it could not be written.
        """
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        replace_file(os.fsencode(self.path), record.encode())
        self._sweep()

    def drop(self, url: str) -> None:
        """Remove the record, if it is of the upload at *url*, and not of one begun meanwhile."""
        record = self.load()
        if record is not None and record.url == url:
            with suppress(OSError):
                os.unlink(self.path)

    def _sweep(self) -> None:
        for name in filter(_NAME.fullmatch, os.listdir(self._directory)):
            path = os.path.join(self._directory, name)
            with suppress(OSError):
                if time.time() - os.stat(path, follow_symlinks=False).st_mtime > OLD:
                    os.unlink(path)
