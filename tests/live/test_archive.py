"""reference/archives on a running workspace."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import zipfile
from io import BytesIO

from twisted.trial.unittest import SkipTest

from chatfiles.rules.archive_request import ArchiveFormat
from tests.live.archives import ArchiveCase
from tests.live.processes import SOAK, Pair, canary, until
from tests.live.rawhttp import Answer, Incomplete
from tests.live.transfers import ALLOWED_GROWTH, MIB
from tests.workspace.archive.source_case import FORMATS, read

ZIP, TAR, TAR_GZ = FORMATS
#: Larger than what is in flight at once to a reader with a small buffer.
LARGE = 16 * MIB
#: How often something is done while directories, and while files, change.
SWAPPED, REWRITTEN = (1000, 1000) if SOAK else (100, 20)


class ContentTests(ArchiveCase):
    """What a client receives."""

    def test_formats(self) -> None:
        """A folder arrives in each format, and several paths."""
        self.pair.write("workspace/folder/a", b"a")
        self.pair.write("workspace/folder/b/c", os.urandom(3 * MIB))
        self.pair.write("home/x", b"x")
        with contextlib.suppress(FileExistsError):
            os.symlink("a", self.pair.at("workspace", "folder", "link"))
        for archive_format in FORMATS:
            found = self.content("/workspace/folder", archive_format)
            names = [b"folder", b"folder/a", b"folder/b", b"folder/b/c"]
            self.assertEqual(list(found.members), names)
            self.assertEqual(found.skipped, {"/workspace/folder/link": "symlink"})
            answer = self.post("/home/x", "/workspace/folder/a", archive_format=archive_format)
            found = read(answer.body, archive_format)
            names = [b"files", b"files/home/x", b"files/workspace/folder/a"]
            self.assertEqual(list(found.members), names)

    def test_log(self) -> None:
        """Each archive has a line in the log."""
        self.pair.write("workspace/logged/a", b"a")
        mark = self.pair.workspace.mark()
        body = self.get("/workspace/logged").body
        line = rf" archive 200 {len(body)} bytes .* complete from \S+"
        self.pair.workspace.logged(line, since=mark)

    def test_programs(self) -> None:
        """curl unpacks with tar as it arrives; ``unzip -t`` tests the whole."""
        self.pair.write("workspace/unpacked/a b.txt", b"a" * 100_000)
        for program in ("curl", "tar", "unzip"):
            if shutil.which(program) is None:
                raise SkipTest(f"{program} is not installed")
        (header,) = self.credential.items()
        url = self.role.url + self.target("/workspace/unpacked", TAR_GZ)
        place = self.pair.at("through" if self.through else "direct")
        os.mkdir(place)
        command = 'curl -sSf -H @- "$1" | tar -xzf - -C "$2"'
        subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}", "-", url, place],
            input=": ".join(header).encode(),
            check=True,
        )
        with open(os.path.join(place, "unpacked", "a b.txt"), "rb") as file:
            self.assertEqual(file.read(), b"a" * 100_000)
        path = self.pair.at("whole.zip")
        with open(path, "wb") as file:
            file.write(self.get("/workspace/unpacked").body)
        subprocess.run(["unzip", "-tqq", path], check=True)


class ContentThroughTests(ContentTests):
    """The same through a platform."""

    through = True


class ManyCase(ArchiveCase):
    """Tests with a workspace that makes many archives at once."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(workspace=["--max-archives=64"])


class KilledTests(ManyCase):
    """A workspace that is killed."""

    #: Bytes of the archive; and the tenths after which the workspace is killed.  What is left then
    #: is more than what can be in flight.
    size = 2 * LARGE
    tenths = range(10)

    def test_each_tenth(self) -> None:
        """Wherever that happens, the client sees it, in HTTP and in what it has received."""
        for name in ("a", "b"):
            self.noise(f"killed/{name}", self.size // 2)
        begun: list[tuple[ArchiveFormat, Answer, bytes]] = []
        for archive_format in FORMATS:
            for tenth in self.tenths:
                _, answer = self.begin("/workspace/killed", archive_format)
                self.assertEqual(answer.head.status, 200)
                begun.append((archive_format, answer, answer.exactly(tenth * self.size // 10)))
        self.take_pair()
        self.pair.workspace.kill()
        for archive_format, answer, received in begun:
            self.assertRaises(Incomplete, lambda: len(answer.rest()))  # noqa: B023
            self.assertFalse(answer.complete)
            with self.assertRaises(Exception):  # noqa: B017 - each library has its own
                read(received, archive_format)


class KilledThroughTests(KilledTests):
    """The same through a platform."""

    through = True
    #: Sockets alone may hold some 40 MiB.
    size = 8 * LARGE
    tenths = range(0, 7, 2)


class ChangingTests(ArchiveCase):
    """Files that change while archives are made."""

    def test_interrupted_tar(self) -> None:
        """A file that shrinks interrupts a tar; the log says why.  A zip continues without it."""
        for archive_format in FORMATS:
            place = self.noise("shrinking/a", LARGE)
            self.pair.write("workspace/shrinking/b", b"b")
            about = f"shrinking-{archive_format}"
            _, answer = self.begin("/workspace/shrinking", archive_format, request_id=about)
            begun = answer.exactly(100_000)
            os.truncate(place, LARGE - 1)
            if archive_format is not ZIP:
                self.assertRaises(Incomplete, lambda: len(answer.rest()))  # noqa: B023
                self.pair.workspace.logged(rf"{about} .* file_changed")
                continue
            found = read(begun + answer.rest(), archive_format)
            self.assertEqual(found.members, {b"shrinking": None, b"shrinking/b": b"b"})
            self.assertEqual(found.skipped, {"/workspace/shrinking/a": "changing"})

    def test_symlink_swaps(self) -> None:
        """While directories and files are replaced by symlinks, nothing from outside is sent."""
        secret = canary()
        self.pair.write("outside/file", secret.encode())
        self.pair.write("outside/sub/file", secret.encode())
        for name in ("file", "sub/file", "sub/other"):
            self.pair.write(f"workspace/swapped/{name}", b"inside")
        base = self.pair.at("workspace", "swapped")
        stopped = threading.Event()

        def swap() -> None:
            names = [("file", "file"), ("sub", "sub")]
            while not stopped.is_set():
                for name, target in names:
                    place, aside = f"{base}/{name}", self.pair.at(f"aside-{name}")
                    os.rename(place, aside)
                    os.symlink(self.pair.at("outside", target), place)
                    os.unlink(place)
                    os.rename(aside, place)

        thread = threading.Thread(target=swap)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(stopped.set)
        for count in range(SWAPPED):
            archive_format = (TAR, ZIP)[count % 2]
            answer = self.get("/workspace/swapped", archive_format)
            self.assertEqual(answer.status, 200)
            members = read(answer.body, archive_format).members
            self.assertLessEqual(set(members.values()), {None, b"inside"})
        stopped.set()
        thread.join()
        self.assertEqual(len(self.content("/workspace/swapped").members), 5)

    def test_rewritten_for_ever(self) -> None:
        """Of files that are rewritten in place all the time, no member mixes two versions."""
        sizes = {"small": 200_000, "long": 1_500_000}
        for name, size in sizes.items():
            self.pair.write(f"workspace/rewritten/{name}", b"a" * size)
        stopped = threading.Event()

        def rewrite() -> None:
            version = 0
            with contextlib.ExitStack() as files:
                places = [
                    (files.enter_context(open(self.pair.at("workspace/rewritten", name), "r+b")), n)
                    for name, n in sizes.items()
                ]
                while not stopped.is_set():
                    version = (version + 1) % 256
                    for file, size in places:
                        os.pwrite(file.fileno(), bytes([version]) * size, 0)

        thread = threading.Thread(target=rewrite)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(stopped.set)
        for _ in range(REWRITTEN):
            with zipfile.ZipFile(BytesIO(self.get("/workspace/rewritten").body)) as whole:
                for name in whole.namelist()[:-1]:
                    versions = set(whole.read(name))
                    self.assertLessEqual(len(versions), 1, f"{name} mixes {versions}")


class LimitTests(ArchiveCase):
    """Limits."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(workspace=["--workers=2", "--archive-max-entries=5"])

    def test_four_at_once(self) -> None:
        """Four archives are made at once, by all processes together; then one more is."""
        self.noise("four/a", LARGE)
        begun = [self.begin("/workspace/four", TAR) for _ in range(4)]
        for _, answer in begun:
            self.assertEqual(answer.head.status, 200)
        for _ in range(4):
            refused = self.get("/workspace/four")
            self.assert_error(refused, 503, "too many archives at once", code="too_many_archives")
            self.assertEqual(refused["retry-after"], "5")
        begun[0][0].close()
        until(lambda: self.get("/workspace/four").status == 200, "a slot is free")
        for _, answer in begun[1:]:
            answer.rest()
        self.assertEqual(self.get("/workspace/four").status, 200)

    def test_too_many_entries(self) -> None:
        """Six entries are too many."""
        for name in "abcde":
            self.pair.write(f"workspace/six/{name}")
        body = self.assert_error(self.get("/workspace/six"), 413, "archive too large")
        self.assertEqual(body["detail"], {"entries": 6, "bytes": 0, "limit": 5})


class MemoryTests(ArchiveCase):
    """Memory."""

    def test_large(self) -> None:
        """It does not grow with the files, in any format, also for a reader that stops."""
        path = self.pair.at("workspace", "memory")
        os.mkdir(path)
        with open(os.path.join(path, "noise"), "wb") as file:
            for _ in range(16):
                file.write(os.urandom(8 * MIB))
        self.addCleanup(shutil.rmtree, path)
        self.get("/workspace/memory/missing")
        before = self.pair.workspace.forget_peak()
        for archive_format in FORMATS:
            _, answer = self.begin("/workspace/memory", archive_format)
            answer.exactly(2 * MIB)
            while answer.read(MIB):
                pass
            self.assertTrue(answer.complete)
        self.assertLess(self.pair.workspace.memory() - before, ALLOWED_GROWTH)
