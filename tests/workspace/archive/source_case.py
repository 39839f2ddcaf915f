"""
Archives of files on disk, for tests.
"""

from __future__ import annotations

import gzip
import json
import os
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.archive_request import ArchiveFormat
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.workspace.archive.layout import MANIFEST
from chatfiles.workspace.archive.manifest import Manifest
from chatfiles.workspace.archive.plan import Counter, Limits, Plan
from chatfiles.workspace.archive.source import ArchiveSource
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.open_file import OpenFile
from chatfiles.workspace.files.store import FileStore
from tests.contract.file_store import Tree, build, scratch, virtual
from tests.workspace.archive.making import WRITERS

__all__ = ["FORMATS", "GENEROUS", "Read", "SourceCase", "WatchedStore", "read"]

FORMATS = tuple(ArchiveFormat)
GENEROUS = Limits(100_000, 1 << 40)
STARTED_NS = 1_700_000_000_123_456_789


@dataclass(frozen=True)
class Read:
    """
    What an archive contains.

    :param members: names → contents, in order; ``None`` for directories.  Without the manifest.
    :param manifest: its JSON.
    """

    members: dict[bytes, bytes | None]
    manifest: dict[str, Any]

    @property
    def skipped(self) -> dict[str, str]:
        """The refs of what was skipped → the reasons."""
        return {each["ref"]: each["reason"] for each in self.manifest["skipped"]}


def read(archive: bytes, archive_format: ArchiveFormat) -> Read:
    """
    :return: its content.
    :raise AssertionError: it does not end with its manifest, or has a member twice.
    """
    found = list((_zipped if archive_format is ArchiveFormat.ZIP else _tarred)(archive))
    name, text = found.pop()
    if name != MANIFEST or text is None:
        raise AssertionError(f"the last member is {name!r}")
    members = dict(found)
    if len(members) != len(found):
        raise AssertionError("a member is there twice")
    return Read(members, json.loads(text))


def _zipped(archive: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    with zipfile.ZipFile(BytesIO(archive)) as whole:
        for info in whole.infolist():
            name = info.filename.encode()
            yield name.rstrip(b"/"), None if info.is_dir() else whole.read(info)


def _tarred(archive: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    if archive[:2] == b"\x1f\x8b":
        archive = gzip.decompress(archive)
    if archive[-1024:] != bytes(1024):
        raise AssertionError("the end is missing")
    with tarfile.open(fileobj=BytesIO(archive), mode="r:", encoding="utf-8") as whole:
        for info in whole:
            content = whole.extractfile(info)
            name = info.name.encode("utf-8", "surrogateescape")
            yield name, content.read() if content else None


class WatchedStore(FileStore):
    """
    A store whose files may change when they have just been opened.

    :ivar when_opened: receives the path of each file that an archive opens in a directory.
    """

    when_opened: Callable[[bytes], object] = staticmethod(lambda _: None)

    def open_in(self, directory_fd: int, path: VirtualPath) -> OpenFile:
        """See `FileStore.open_in`."""
        file = super().open_in(directory_fd, path)
        self.when_opened(path.raw)
        return file


class SourceCase(SynchronousTestCase):
    """Tests with a directory for each root."""

    roots: Sequence[bytes] = (b"/workspace", b"/configs")
    deny: Sequence[bytes] = ()

    def setUp(self) -> None:
        self.top = scratch(self)
        for root in self.roots:
            os.mkdir(self.top + root)
        secret = self.top + b"/configs/.platform_inbound_secret"
        self.store = WatchedStore(
            {root: self.top + root for root in self.roots}, DenyRules(self.deny), [secret]
        )
        self.addCleanup(self.store.close)

    def build(self, tree: Tree) -> None:
        """Make files; the paths are virtual."""
        build(self.top, tree)

    def at(self, path: bytes) -> bytes:
        """:return: where a virtual path is on disk."""
        return self.top + path

    def count(self, *paths: bytes, limits: Limits = GENEROUS) -> Plan:
        """:return: the plan for these paths."""
        counter = Counter(self.store, limits, [virtual(path) for path in paths])
        for _, call in counter.calls():
            call()
        return counter.plan()

    def source(
        self, plan: Plan, archive_format: ArchiveFormat = ArchiveFormat.ZIP
    ) -> ArchiveSource:
        """:return: the archive for a plan; closed after the test."""
        manifest = Manifest(None, [path.raw for path in plan.paths], STARTED_NS)
        # No file was written just now.
        source = ArchiveSource(
            self.store,
            plan,
            WRITERS[archive_format](),
            manifest,
            now_ns=lambda: time.time_ns() + 10**12,
        )
        self.addCleanup(source.close)
        return source

    def rest(self, source: ArchiveSource) -> bytes:
        """:return: all bytes that are left."""
        return b"".join(source)

    def archive(self, *paths: bytes, archive_format: ArchiveFormat = ArchiveFormat.ZIP) -> Read:
        """:return: the content of a whole archive of these paths."""
        source = self.source(self.count(*paths), archive_format)
        return read(self.rest(source), archive_format)
