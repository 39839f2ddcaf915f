"""
Tests for `chatfiles.workspace.archive.source`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import time
import zipfile
from collections.abc import Callable
from io import BytesIO

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import ChatfilesError, UnknownLength
from chatfiles.rules.archive_request import ArchiveFormat
from chatfiles.rules.virtual_paths import VirtualPath
from chatfiles.streams.file_source import FileChanged
from chatfiles.workspace.archive import source as source_module
from chatfiles.workspace.archive.deflate import PIECE
from chatfiles.workspace.archive.file_members import ATTEMPTS, WHOLE_FILE
from chatfiles.workspace.archive.manifest import MOST_BYTES, MOST_NAMED, Manifest, Reason
from chatfiles.workspace.files.open_beneath import refusal
from chatfiles.workspace.files.open_file import OpenFile
from tests.contract.file_store import NAMES, Kind, Symlink
from tests.workspace.archive.source_case import FORMATS, STARTED_NS, SourceCase, read
from tests.workspace.files.test_open_beneath import as_nobody

NOISE = random.Random(1).randbytes(2_000_000)
ZIP, TAR = ArchiveFormat.ZIP, ArchiveFormat.TAR


class ContentTests(SourceCase):
    """What is in an archive."""

    maxDiff = None
    deny = (b"/workspace/d/hidden/**", b"/workspace/d/*.key")

    def test_folder(self) -> None:
        """A directory comes before what is in it; names are sorted by bytes; nothing is lost."""
        self.build(
            {
                b"/workspace/d/b/x": b"x",
                b"/workspace/d/b-b": b"",
                b"/workspace/d/b/y/z": NOISE,
                b"/workspace/d/a": b"text" * 100_000,
                b"/workspace/d/B": NOISE[:WHOLE_FILE],
                b"/workspace/d/c": NOISE[: WHOLE_FILE + 1],
                b"/workspace/d/empty": Kind.DIRECTORY,
                b"/workspace/d/\xc3\xa9": b"1",
                b"/workspace/d/fifo": Kind.FIFO,
                b"/workspace/d/link": Symlink(b"a"),
                b"/workspace/d/to": Symlink(b"b"),
                b"/workspace/d/hidden/x": b"secret",
                b"/workspace/d/x.key": b"secret",
                b"/workspace/d/.chatfiles-part-1": b"partial",
            }
        )
        os.chmod(self.at(b"/workspace/d/a"), 0o4750)
        expected = {
            b"d": None,
            b"d/B": NOISE[:WHOLE_FILE],
            b"d/a": b"text" * 100_000,
            b"d/b": None,
            b"d/b/x": b"x",
            b"d/b/y": None,
            b"d/b/y/z": NOISE,
            b"d/b-b": b"",
            b"d/c": NOISE[: WHOLE_FILE + 1],
            b"d/empty": None,
            b"d/hidden": None,
            b"d/\xc3\xa9": b"1",
        }
        for archive_format in FORMATS:
            found = self.archive(b"/workspace/d", archive_format=archive_format)
            self.assertEqual(list(found.members), list(expected))
            self.assertTrue(found.members == expected)
            refs = {"fifo": "special", "link": "symlink", "to": "symlink"}
            self.assertEqual(found.skipped, {f"/workspace/d/{k}": v for k, v in refs.items()})
            manifest = dict(found.manifest)
            del manifest["skipped"]
            self.assertRegex(manifest.pop("finished"), r"\A20\d\d-\d\d-\d\dT[\d:]{8}\.\d{9}Z\Z")
            self.assertEqual(
                manifest,
                {
                    "format": 1,
                    "workspace": None,
                    "paths": ["/workspace/d"],
                    "started": "2023-11-14T22:13:20.123456789Z",
                    "members": 12,
                    "bytes": sum(len(content or b"") for content in expected.values()),
                    "skipped_total": 3,
                    "skipped_by_reason": {"special": 1, "symlink": 2},
                    "renamed": [],
                },
            )
            self.assertEqual(self.count(b"/workspace/d").entries, 12)

    def test_one_file(self) -> None:
        """A file is the only member; one that has the name of the manifest is put aside."""
        manifest = b"chatfiles-manifest.json"
        self.build({b"/workspace/d/a": b"a", b"/workspace/" + manifest: b"mine"})
        for archive_format in FORMATS:
            found = self.archive(b"/workspace/d/a", archive_format=archive_format)
            self.assertEqual(found.members, {b"a": b"a"})
            found = self.archive(b"/workspace/" + manifest, archive_format=archive_format)
            self.assertEqual(found.members, {manifest + b"/" + manifest: b"mine"})

    def test_several(self) -> None:
        """Several paths are below the directory that is above all of them."""
        self.build(
            {
                b"/workspace/d/a/1": b"1",
                b"/workspace/d/b/2/3": b"3",
                b"/workspace/d/c": b"c",
                b"/configs/x": b"x",
            }
        )
        os.utime(self.at(b"/workspace/d"), (1_500_000_000, 1_500_000_000))
        paths = [b"/workspace/d/b/2", b"/workspace/d/a", b"/workspace/d/a/1", b"/workspace/d/a"]
        for archive_format in FORMATS:
            found = self.archive(*paths, archive_format=archive_format)
            expected = {b"d": None, b"d/a": None, b"d/a/1": b"1", b"d/b/2": None, b"d/b/2/3": b"3"}
            self.assertEqual(list(found.members.items()), list(expected.items()))
            refs = ["/workspace/d/b/2", "/workspace/d/a", "/workspace/d/a/1"]
            self.assertEqual(found.manifest["paths"], refs)
            self.assertEqual(found.manifest["members"], 5)
            found = self.archive(b"/workspace/d/c", b"/configs/x", archive_format=archive_format)
            expected = {b"files": None, b"files/configs/x": b"x", b"files/workspace/d/c": b"c"}
            self.assertEqual(list(found.members.items()), list(expected.items()))

    def test_left_out_step_by_step(self) -> None:
        """A step may end at each file that is left out, so that many do not hold a thread."""
        for name in (b"/workspace/d/%d" % number for number in range(20)):
            self.build({name: b"x"})
        source = self.source(self.count(b"/workspace/d"))
        for number in range(20):
            os.unlink(self.at(b"/workspace/d/%d" % number))
        self.patch(source_module, "STEP_SECONDS", -1)
        self.assertGreater(len(list(source)), 20)

    def test_time_of_the_top(self) -> None:
        """The directory above several paths keeps its time."""
        self.build({b"/workspace/d/a": b"a", b"/workspace/d/b": b"b"})
        os.utime(self.at(b"/workspace/d"), (1_500_000_000, 1_500_000_000))
        plan = self.count(b"/workspace/d/a", b"/workspace/d/b")
        with zipfile.ZipFile(BytesIO(self.rest(self.source(plan)))) as whole:
            self.assertEqual(whole.getinfo("d/").date_time, (2017, 7, 14, 2, 40, 0))

    def test_names(self) -> None:
        """A tar has the bytes of each name.  A zip has names that can be shown, and none twice."""
        names = [*NAMES, b"back%5Cslash", b"back%255Cslash", b"50%", b"x\\y\xff"]
        self.build({b"/workspace/d/" + name: name for name in names})
        for archive_format in (ArchiveFormat.TAR, ArchiveFormat.TAR_GZ):
            found = self.archive(b"/workspace/d", archive_format=archive_format)
            self.assertEqual(found.members, {b"d": None, **{b"d/" + n: n for n in names}})
            self.assertEqual(found.manifest["renamed"], [])
        found = self.archive(b"/workspace/d")
        by_content = {content: name for name, content in found.members.items()}
        self.assertEqual(len(by_content), len(names) + 1)
        self.assertEqual(by_content[b"back%5Cslash"], b"d/back%5Cslash")
        self.assertEqual(by_content[b"back%255Cslash"], b"d/back%255Cslash")
        self.assertEqual(by_content[b"back\\slash"], b"d/back%25255Cslash")
        self.assertEqual(by_content[b"new\nline"], b"d/new%0Aline")
        self.assertEqual(by_content[b"50%"], b"d/50%")
        renamed = {each["ref"]: each["member"] for each in found.manifest["renamed"]}
        changed = {
            "/workspace/d/back%5Cslash": "d/back%25255Cslash",
            "/workspace/d/new%0Aline": "d/new%0Aline",
            "/workspace/d/%FF%FE%20not%20UTF-8": "d/%FF%FE not UTF-8",
            "/workspace/d/%01%7F": "d/%01%7F",
            "/workspace/d/x%5Cy%FF": "d/x%5Cy%FF",
        }
        self.assertEqual(renamed, changed)

    def test_names_of_directories(self) -> None:
        """All members below a directory that is renamed are listed, and the directory."""
        self.build({b"/workspace/d/a\\b/50%/c": b"1", b"/workspace/d/a%5Cb/c": b"2"})
        found = self.archive(b"/workspace/d")
        new = b"d/a%255Cb"
        expected = {b"d": None, b"d/a%5Cb": None, b"d/a%5Cb/c": b"2"}
        expected |= {new: None, new + b"/50%": None, new + b"/50%/c": b"1"}
        self.assertEqual(found.members, expected)
        renamed = {each["member"]: each["ref"] for each in found.manifest["renamed"]}
        ref = "/workspace/d/a%5Cb"
        self.assertEqual(
            renamed,
            {
                "d/a%255Cb/": ref,
                "d/a%255Cb/50%/": ref + "/50%25",
                "d/a%255Cb/50%/c": ref + "/50%25/c",
            },
        )

    def test_names_of_paths(self) -> None:
        """The paths of the request are renamed like all others, and none becomes another's."""
        self.build({b"/workspace/a\\b/x": b"1", b"/workspace/a%5Cb/x": b"2"})
        found = self.archive(b"/workspace/a\\b/x", b"/workspace/a%5Cb/x")
        self.assertEqual(
            set(found.members), {b"workspace", b"workspace/a%5Cb/x", b"workspace/a%255Cb/x"}
        )
        (renamed,) = found.manifest["renamed"]
        self.assertEqual(renamed["member"], "workspace/a%255Cb/x")

    def test_unreadable(self) -> None:
        """Directories and files that must not be read are reported."""
        self.build({b"/workspace/d/closed/x": b"1", b"/workspace/d/open": b"12"})
        self.build({b"/workspace/d/private": b"1"})
        os.chmod(self.at(b"/workspace/d/closed"), 0)
        os.chmod(self.at(b"/workspace/d/private"), 0)
        found = as_nobody(lambda: self.archive(b"/workspace/d"))
        self.assertEqual(found.members, {b"d": None, b"d/open": b"12"})
        refused = ["/workspace/d/closed", "/workspace/d/private"]
        self.assertEqual(found.skipped, dict.fromkeys(refused, "permission_denied"))


class ChangeTests(SourceCase):
    """Files that change between counting and sending, or meanwhile."""

    def changed(
        self, change: Callable[[], object], archive_format: ArchiveFormat = ZIP
    ) -> tuple[dict[bytes, bytes | None], dict[str, str]]:
        """:return: the archive of ``/workspace`` that is counted before a change."""
        source = self.source(self.count(b"/workspace"), archive_format)
        change()
        found = read(self.rest(source), archive_format)
        return found.members, found.skipped

    def test_vanished(self) -> None:
        """Files and directories that do not exist any more are skipped and reported."""

        def change() -> None:
            os.unlink(self.at(b"/workspace/a"))
            os.unlink(self.at(b"/workspace/d/x"))
            os.rmdir(self.at(b"/workspace/d"))

        for archive_format in FORMATS:
            self.build({b"/workspace/a": b"a", b"/workspace/d/x": b"x"})
            with contextlib.suppress(FileExistsError):
                self.build({b"/workspace/b": b"b"})
            members, skipped = self.changed(change, archive_format)
            self.assertEqual(members, {b"workspace": None, b"workspace/b": b"b"})
            self.assertEqual(skipped, {"/workspace/a": "vanished", "/workspace/d": "vanished"})

    def test_replaced_by_symlinks(self) -> None:
        """Nothing is read through a symlink that has taken the place of a file or directory."""
        self.build({b"/configs/a": b"outside", b"/configs/x": b"outside"})
        self.build({b"/workspace/a": b"a", b"/workspace/d/x": b"x", b"/workspace/e": b"e"})

        def change() -> None:
            for name, target in ((b"a", b"/configs/a"), (b"d", b"/configs")):
                os.rename(self.at(b"/workspace/" + name), self.at(b"/" + name))
                os.symlink(self.at(target), self.at(b"/workspace/" + name))
            os.unlink(self.at(b"/workspace/e"))
            os.mkfifo(self.at(b"/workspace/e"))

        members, skipped = self.changed(change)
        self.assertEqual(members, {b"workspace": None})
        expected = {"/workspace/a": "symlink", "/workspace/d": "symlink", "/workspace/e": "special"}
        self.assertEqual(skipped, expected)

    def test_new_files(self) -> None:
        """Files that were not counted are not added."""
        self.build({b"/workspace/a": b"a"})
        members, _ = self.changed(lambda: self.build({b"/workspace/b": b"b"}))
        self.assertEqual(members, {b"workspace": None, b"workspace/a": b"a"})

    def test_given_paths_vanish(self) -> None:
        """So are the paths of the request."""
        self.build({b"/workspace/a": b"a", b"/workspace/d/x": b"x"})
        source = self.source(self.count(b"/workspace/a", b"/workspace/d"))
        os.unlink(self.at(b"/workspace/a"))
        os.rename(self.at(b"/workspace/d"), self.at(b"/workspace/e"))
        found = read(self.rest(source), ZIP)
        self.assertEqual(found.members, {b"workspace": None})
        self.assertEqual(set(found.skipped.values()), {"vanished"})

    def test_another_size(self) -> None:
        """A file has the size that it has when it is opened."""
        self.build({b"/workspace/a": b"a"})

        def change() -> None:
            with open(self.at(b"/workspace/a"), "wb") as file:
                file.write(NOISE)

        for archive_format in FORMATS:
            members, _ = self.changed(change, archive_format)
            self.assertTrue(members[b"workspace/a"] == NOISE)

    def test_unopened(self) -> None:
        """A file that a program holds a lease on, or whose length is unknown, is skipped."""
        self.build({b"/workspace/a": b"a", b"/workspace/b": b"", b"/workspace/c": b"c"})
        plan = self.count(b"/workspace")
        open_in = self.store.open_in

        def fails(directory_fd: int, path: VirtualPath) -> OpenFile:
            if path.raw == b"/workspace/a":
                raise refusal(OSError(errno.EAGAIN, "leased"))
            if path.raw == b"/workspace/b":
                raise UnknownLength
            return open_in(directory_fd, path)

        self.patch(self.store, "open_in", fails)
        found = read(self.rest(self.source(plan)), ZIP)
        self.assertEqual(found.members, {b"workspace": None, b"workspace/c": b"c"})
        self.assertEqual(found.skipped, {"/workspace/a": "changing", "/workspace/b": "special"})

    def test_no_descriptors(self) -> None:
        """The archive is interrupted if the role lacks descriptors, or the disk fails."""
        self.build({b"/workspace/a": b"a"})
        plan = self.count(b"/workspace")
        for number in (errno.EMFILE, errno.ENOMEM, errno.EIO):
            error = refusal(OSError(number, ""))

            def fails(*_: object, error: ChatfilesError = error) -> OpenFile:
                raise error

            self.patch(self.store, "open_in", fails)
            self.assertRaises(type(error), self.rest, self.source(plan))

    def test_root_is_gone(self) -> None:
        """The archive is interrupted."""
        self.build({b"/workspace/a": b"a"})
        source = self.source(self.count(b"/workspace"))
        os.rename(self.at(b"/workspace"), self.at(b"/elsewhere"))
        self.assertRaises(ChatfilesError, self.rest, source)


class SmallFileTests(SourceCase):
    """Files that are read as a whole."""

    def test_always_changing(self) -> None:
        """A file that changes each time it is read is skipped, in all formats."""
        self.build({b"/workspace/a": NOISE[:10_000], b"/workspace/b": b"b"})
        opened: list[bytes] = []

        def rewrite(path: bytes) -> None:
            opened.append(path)
            if path == b"/workspace/a":
                os.utime(self.at(path), ns=(len(opened), len(opened)))

        self.store.when_opened = rewrite
        for archive_format in FORMATS:
            opened.clear()
            found = self.archive(b"/workspace", archive_format=archive_format)
            self.assertEqual(found.members, {b"workspace": None, b"workspace/b": b"b"})
            self.assertEqual(found.skipped, {"/workspace/a": "changing"})
            self.assertEqual(opened, [b"/workspace/a"] * ATTEMPTS + [b"/workspace/b"])

    def test_changed_once(self) -> None:
        """A file that changes once is read again: it has its new content."""
        self.build({b"/workspace/a": b"a" * 10_000})
        pending = [b"b" * 10_000, b"c" * 9_999]

        def rewrite(path: bytes) -> None:
            if pending:
                with open(self.at(path), "r+b") as file:
                    file.truncate(file.write(pending.pop(0)))
                os.utime(self.at(path), ns=(1, len(pending)))

        self.store.when_opened = rewrite
        found = self.archive(b"/workspace")
        self.assertEqual(found.members[b"workspace/a"], b"c" * 9_999)
        self.assertEqual(found.skipped, {})

    def test_grows(self) -> None:
        """Of a file that grows, the bytes are added that it had."""
        self.build({b"/workspace/a": b"a" * 10_000})

        def grow(path: bytes) -> None:
            with open(self.at(path), "ab") as file:
                file.write(b"more")

        self.store.when_opened = grow
        found = self.archive(b"/workspace")
        self.assertEqual(found.members[b"workspace/a"], b"a" * 10_000)


class LongFileTests(SourceCase):
    """Files that are sent piece by piece."""

    def changed(
        self, change: Callable[[bytes], object], archive_format: ArchiveFormat, content: bytes
    ) -> bytes:
        """:return: an archive in which a long file is changed when a part of it was read."""
        with contextlib.suppress(FileExistsError):
            self.build({b"/workspace/b": b"b"})
        place = self.at(b"/workspace/a")
        with open(place, "wb") as file:
            file.write(content)
        os.utime(place, (1, 1))
        source = self.source(self.count(b"/workspace"), archive_format)
        begun = [next(source), next(source)]
        change(place)
        return b"".join([*begun, self.rest(source)])

    def test_old_version(self) -> None:
        """A file that grows, is replaced or deleted has the bytes that it had."""

        def grow(place: bytes) -> None:
            with open(place, "ab") as file:
                file.write(b"more")

        def replace(place: bytes) -> None:
            with open(place + b".new", "wb") as file:
                file.write(b"new")
            os.rename(place + b".new", place)

        for archive_format in FORMATS:
            for change in (grow, replace, os.unlink):
                archive = self.changed(change, archive_format, NOISE)
                found = read(archive, archive_format)
                self.assertTrue(found.members[b"workspace/a"] == NOISE)
                self.assertEqual(found.skipped, {})

    def test_torn(self) -> None:
        """
        A file that shrinks or is rewritten is not in a zip, which continues.  A tar is interrupted.
        """

        def shrink(place: bytes) -> None:
            os.truncate(place, len(NOISE) - 1)

        def empty(place: bytes) -> None:
            os.truncate(place, 0)

        def rewrite(place: bytes) -> None:
            with open(place, "r+b") as file:
                file.write(b"X")

        for content in (NOISE, b"some text\n" * 200_000):
            for change in (shrink, empty, rewrite):
                archive = self.changed(change, ZIP, content)
                found = read(archive, ZIP)
                self.assertEqual(found.members, {b"workspace": None, b"workspace/b": b"b"})
                self.assertEqual(found.skipped, {"/workspace/a": "changing"})
                self.assertEqual((found.manifest["members"], found.manifest["bytes"]), (2, 1))
                for archive_format in (TAR, ArchiveFormat.TAR_GZ):
                    self.assertRaises(FileChanged, self.changed, change, archive_format, content)


class PartTests(SourceCase):
    """The parts of an archive."""

    def descriptors(self) -> int:
        """:return: how many of our files are open."""
        count = 0
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                count += os.readlink(f"/proc/self/fd/{fd}").startswith(self.top.decode())
        return count

    def test_sizes(self) -> None:
        """A part has one piece of a long file, or many small files."""
        small = {b"/workspace/s/%d" % number: b"x" * 1000 for number in range(500)}
        self.build({b"/workspace/long": NOISE, **small})
        for archive_format in (ZIP, TAR):
            source = self.source(self.count(b"/workspace"), archive_format)
            source._seconds = lambda: 0.0  # a part also ends when it takes long
            sizes = list(map(len, source))
            self.assertLess(len(sizes), 20)
            self.assertLess(max(sizes), 2 * PIECE)

    def test_time(self) -> None:
        """A part ends when it takes long, even without bytes."""
        self.build({b"/workspace/%d" % number: Symlink(b"x") for number in range(50)})
        plan = self.count(b"/workspace")
        now = iter(range(100_000))
        source = self.source(plan)
        source._seconds = lambda: float(next(now))
        parts = list(source)
        self.assertGreater(len(parts), 50)
        self.assertIn(b"", parts)

    def test_owner(self) -> None:
        """No part has files of two roots; the owner is always that of the next part."""
        self.build({b"/workspace/a": b"a", b"/configs/b": b"b"})
        source = self.source(self.count(b"/workspace/a", b"/configs/b"), TAR)
        found = []
        while (part := next(source, None)) is not None:
            found.append((b"files/configs/b" in part, b"files/workspace/a" in part, source.owner))
        expected = [(True, False, b"/workspace"), (False, True, b"/workspace")]
        self.assertEqual(found[-2:], expected)

    def test_close(self) -> None:
        """Everything is closed, wherever the archive ends."""
        self.build({b"/workspace/d/e/long": NOISE})
        before = self.descriptors()
        source = self.source(self.count(b"/workspace"))
        self.assertEqual(self.descriptors(), before)
        next(source)
        self.assertGreater(self.descriptors(), before)
        source.close()
        self.assertEqual(self.descriptors(), before)
        self.assertEqual(list(source), [])
        source.close()
        source = self.source(self.count(b"/workspace"))
        self.rest(source)
        self.assertEqual(self.descriptors(), before)

    def test_many_levels(self) -> None:
        """As many descriptors are open as there are levels."""
        self.build({b"/workspace/" + b"d/" * 63 + b"x": NOISE})
        source = self.source(self.count(b"/workspace"), TAR)
        while len(next(source)) < 100_000:
            pass
        self.assertEqual(self.descriptors(), 65)


class ManifestTests(SynchronousTestCase):
    """The manifest itself."""

    def test_bounded(self) -> None:
        """It names at most 1000 files, and fewer if their paths are long; all are counted."""
        for length, most in ((1, MOST_NAMED), (4000, MOST_BYTES // 4000)):
            manifest = Manifest("id", [b"/workspace"], STARTED_NS)
            for _ in range(3000):
                manifest.skip(b"/" + b"x" * length, Reason.SYMLINK)
                manifest.rename(b"y" * length, b"/")
            text = manifest.text(time.time_ns())
            self.assertLessEqual(text.count(b'"reason"'), most)
            self.assertGreater(text.count(b'"reason"'), most * 0.8)
            self.assertIn(b'"skipped_total":3000', text)
            self.assertLess(len(text), 4 * MOST_BYTES)

    def test_losses_first(self) -> None:
        """
        What should be in the archive precedes symlinks and special files, so that it is named even
        if there are many of these.
        """
        manifest = Manifest("id", [b"/workspace"], STARTED_NS)
        for _ in range(3000):
            manifest.skip(b"/l", Reason.SYMLINK)
        for reason in (Reason.CHANGING, Reason.PERMISSION_DENIED):
            manifest.skip(b"/f", reason)
            manifest.skip(b"/p", Reason.SPECIAL)
        content = json.loads(manifest.text(STARTED_NS))
        reasons = [each["reason"] for each in content["skipped"]]
        self.assertEqual(reasons[:3], ["changing", "permission_denied", "symlink"])
        self.assertEqual((len(reasons), content["skipped_total"]), (MOST_NAMED, 3004))

    def test_counts(self) -> None:
        """All that was skipped is counted by its reason, also what is not named."""
        manifest = Manifest("id", [b"/workspace"], STARTED_NS)
        for reason, count in ((Reason.CHANGING, 1500), (Reason.VANISHED, 2000)):
            for _ in range(count):
                manifest.skip(b"/f", reason)
        content = json.loads(manifest.text(STARTED_NS))
        self.assertEqual(content["skipped_by_reason"], {"changing": 1500, "vanished": 2000})
