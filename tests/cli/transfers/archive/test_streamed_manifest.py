"""
The manifest of archives that pass by, in the forms that a workspace sends.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli.errors import CliError
from chatfiles.cli.transfers.archive import streamed_manifest
from chatfiles.cli.transfers.archive.manifest import Manifest
from chatfiles.cli.transfers.archive.streamed_manifest import passing_manifest
from chatfiles.workspace.archive.member import ArchiveWriter, Member
from chatfiles.workspace.archive.tar_members import GzipTarWriter, TarWriter
from chatfiles.workspace.archive.zip_members import ZipWriter

NAME = b"chatfiles-manifest.json"


def add(writer: ArchiveWriter, name: bytes, content: bytes, size: int | None = None) -> bytes:
    """:return: a file of the archive, of which the header says that it has *size* bytes."""
    begun = writer.begin(Member(name, len(content) if size is None else size, 0))
    return begun + (writer.data(content) if content else b"") + writer.end()


def manifest_of(members: int) -> bytes:
    """:return: the content of a manifest."""
    listed = {"members": members, "skipped_total": 0, "skipped": []}
    return json.dumps(listed).encode()


def made(writer: ArchiveWriter, *, large: bool = False) -> bytes:
    """:return: an archive of three files and a directory."""
    zeros, noise = bytes(3_000_000), os.urandom(300_000)
    body = writer.directory(b"d", 0) + add(writer, b"d/empty", b"")
    body += add(writer, b"d/" + 200 * b"zeros", zeros, 5 << 30 if large else None)
    body += add(writer, b"d/noise", noise)
    return body + add(writer, NAME, manifest_of(4)) + b"".join(writer.finish())


def split(body: bytes, seed: int) -> Iterator[bytes]:
    """Yield *body* in pieces of random sizes."""
    chance, start = random.Random(seed), 0
    while start < len(body):
        size = chance.choice((1, 3, 100, 70_000, 500_000))
        yield body[start : start + size]
        start += size


class PassingTests(SynchronousTestCase):
    """`passing_manifest`."""

    def test_forms(self) -> None:
        """Archives of all formats, in pieces of any size."""
        for form, writer in (("zip", ZipWriter), ("tar", TarWriter), ("tar.gz", GzipTarWriter)):
            body = made(writer())
            for seed in range(5):
                found = passing_manifest(split(body, seed), form)
                self.assertEqual(found, Manifest((), 0, {}))

    def test_zip64(self) -> None:
        """A file whose lengths have 64 bits."""
        self.assertEqual(passing_manifest(split(made(ZipWriter(), large=True), 1), "zip").total, 0)

    def test_changed_file(self) -> None:
        """A file that has changed is no member, as the manifest says."""
        writer = ZipWriter()
        body = writer.begin(Member(b"d/f", 10, 0)) + writer.data(b"12345")
        body += b"".join(writer.abandon()) + add(writer, NAME, manifest_of(0))
        body += b"".join(writer.finish())
        self.assertEqual(passing_manifest(iter([body]), "zip").total, 0)

    def test_damaged_file(self) -> None:
        """A file with another checksum contradicts the manifest."""
        body = made(ZipWriter())
        at = body.index(b"d/noise") + 1000
        damaged = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        error = self.assertRaises(CliError, passing_manifest, iter([damaged]), "zip")
        self.assertIn("has 3 members, its manifest says 4", str(error))

    def test_long_manifest(self) -> None:
        """A manifest without end does not fill the memory."""
        self.patch(streamed_manifest, "LIMIT", 1000)
        writer = ZipWriter()
        body = add(writer, NAME, b" " * 1001)
        self.assertRaises(CliError, passing_manifest, iter([body]), "zip")

    def test_all_is_taken(self) -> None:
        """Every piece is taken, and what the pieces raise is raised."""

        def breaks() -> Iterator[bytes]:
            yield b"x" * 1000
            raise BrokenPipeError

        for form in ("zip", "tar", "tar.gz"):
            pieces = split(b"x" * 1000, 1)
            self.assertRaises(CliError, passing_manifest, pieces, form)
            self.assertEqual(list(pieces), [])
            self.assertRaises(BrokenPipeError, passing_manifest, breaks(), form)
