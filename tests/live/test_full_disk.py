"""
A disk that is full in the middle, and has space again (reference/resumable, "Chunks";
reference/writes, "Publication").
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import random
import resource
import subprocess
from collections.abc import Mapping

from twisted.trial.unittest import SkipTest

from tests.live.processes import LiveCase
from tests.live.rawhttp import Response
from tests.live.test_resumable import MIB, Way, chunk, repr_digest
from tests.live.test_write_kill import WritableVictim
from tests.live.test_writes import Hop
from tests.live.upload_client import Way as FormWay
from tests.live.upload_client import file, form

#: Bytes of the disk, of each file, and of what others leave for it.
DISK, SIZE, LEFT = 8 * MIB, 3 * MIB, MIB
#: Numbers of workspaces of one platform.
NUMBERS = itertools.count(100)


class SmallDisk(WritableVictim):
    """A workspace on a small disk of its own."""

    def start(self) -> None:
        self.disk = os.path.join(self.base, "workspace")
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "chatfiles", self.disk]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SkipTest(f"no file system can be mounted: {done.stderr.strip()}")
        super().start()

    def discard(self) -> None:
        """End the process, and remove the disk."""
        self.kill()
        subprocess.run(["umount", self.disk], check=True)

    def fill(self, left: int = LEFT) -> None:
        """Let others take all of the disk but so many bytes."""
        facts = os.statvfs(self.disk)
        free = facts.f_bavail * facts.f_frsize
        with open(self.ballast, "wb") as taken:
            taken.write(b"\0" * (free - left))

    def free(self) -> None:
        """Let there be space again."""
        os.unlink(self.ballast)

    @property
    def ballast(self) -> str:
        """The file of others."""
        return os.path.join(self.disk, "ballast")


class FullDiskTests(LiveCase):
    """Everything that writes, on both ways."""

    def setUp(self) -> None:
        super().setUp()
        self.victim = SmallDisk(self.pair, next(NUMBERS), unnamed=True)
        self.addCleanup(self.victim.discard)
        self.content = random.Random(4).randbytes(SIZE)

    def ways(self) -> list[tuple[Way, Hop, FormWay]]:
        """:return: both ways to the workspace."""
        direct, through = self.victim.ways()
        base = f"/workspaces/{self.victim.id}"
        return [
            (
                Way(way.name, way.url, f"{base}/uploads", way.fields),
                Hop(way.name, way.url, base, way.fields),
                way,
            )
            for way, base in ((direct, "/internal"), (through, base))
        ]

    def refused(self, answer: Response) -> None:
        self.assertEqual((answer.status, answer.json["code"]), (507, "no_space"))

    def stored(self, answer: Response) -> str:
        """:return: the path of the file that a last chunk has finished."""
        path = answer["chatfiles-uri"].removeprefix("workspace:/workspace/")
        return os.path.join(self.victim.disk, path)

    def test_resumable(self) -> None:
        """The offset is what was written, nothing of a chunk with a checksum; then it goes on."""
        digest = base64.b64encode(hashlib.sha256(self.content).digest()).decode()
        checksum = {"Upload-Checksum": f"sha256 {digest}"}
        for way, _, _ in self.ways():
            for query in ("", "?path=/workspace/out/x"):
                for more in ({}, checksum):
                    self.resume(way, query, more)
            self.assertEqual(self.victim.files(), {})

    def resume(self, way: Way, query: str, more: Mapping[str, str]) -> None:
        target = way.create(SIZE, query)
        self.victim.fill()
        self.refused(way.ask("PATCH", target, {**chunk(0), **more}, self.content))
        offset = way.offset(target)
        if more:
            self.assertEqual(offset, 0)
        else:
            self.assertTrue(0 < offset <= LEFT, offset)
        self.refused(way.ask("PATCH", target, {**chunk(offset), **more}, self.content[offset:]))
        self.victim.free()
        if more:
            last = way.ask("PATCH", target, {**chunk(0), **more}, self.content)
        else:
            last = way.patch(target, way.offset(target), self.content[way.offset(target) :])
        self.finished(way, target, last)

    def finished(self, way: Way, target: str, last: Response) -> None:
        self.assertEqual(last["repr-digest"], repr_digest(self.content))
        with open(self.stored(last), "rb") as stored:
            self.assertEqual(stored.read(), self.content)
        os.unlink(self.stored(last))
        self.assertEqual(way.ask("DELETE", target).status, 204)
        self.assertEqual(self.victim.listed(), [])

    def test_last_byte(self) -> None:
        """A file that only its record has no space for is published later."""
        for way, _, _ in self.ways():
            for query in ("", "?path=/workspace/out/x"):
                target = way.create(SIZE, query)
                self.assertEqual(way.patch(target, 0, self.content[:-1]).status, 204)
                self.victim.fill(0)
                self.refused(way.patch(target, SIZE - 1, self.content[-1:]))
                head = way.ask("HEAD", target)
                self.assertEqual(head["upload-offset"], str(SIZE))
                self.assertIsNone(head.get("chatfiles-uri"))
                self.victim.free()
                self.finished(way, target, way.patch(target, SIZE, b""))

    def test_largest_file(self) -> None:
        """The same for a limit on the size of a file."""
        self.content, limit = random.Random(5).randbytes(6 * MIB), 5 * MIB
        pid, unlimited = self.victim.role.pid, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        for way, _, _ in self.ways():
            for query in ("", "?path=/workspace/out/x"):
                target = way.create(len(self.content), query)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, unlimited[1]))
                answer = way.patch(target, 0, self.content)
                self.assertEqual((answer.status, answer.json["code"]), (413, "file_too_large"))
                self.assertEqual(way.offset(target), limit)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
                self.finished(way, target, way.patch(target, limit, self.content[limit:]))

    def test_creation(self) -> None:
        """An upload for which there is not enough space is not created."""
        for way, _, _ in self.ways():
            self.victim.fill()
            fields = {"Upload-Length": str(SIZE)}
            self.refused(way.ask("POST", way.base, fields, b""))
            self.victim.free()
            self.assertEqual(self.victim.listed(), [])

    def test_put(self) -> None:
        """A file keeps its old content, and nothing is left; then it is replaced."""
        for _, hop, form_way in self.ways():
            self.assertEqual(hop.put("out/a", b"old").status, 201)
            self.victim.fill()
            self.refused(hop.put("out/a", self.content))
            self.refused(hop.put("out/d/b&parents=1", self.content))
            self.refused(form_way.send(form(file(b"x"), file(self.content))))
            self.assertEqual(self.victim.files(), {"a": b"old"})
            self.assertEqual(self.victim.listed(), [])
            self.victim.free()
            self.assertEqual(hop.put("out/a", self.content).status, 200)
            self.assertEqual(self.victim.files(), {"a": self.content})
            self.assertEqual(hop.ask("DELETE", "file?path=/workspace/out/a").status, 204)
