"""
reference/resumable, "Chunks": a workspace that is killed, or stands still, in the middle of
resumable uploads.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import signal
import time
from collections import Counter
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from tests.live.processes import SOAK, Pair, until
from tests.live.rawhttp import Connection
from tests.live.test_resumable import MIB, Way, repr_digest
from tests.live.test_resumable import chunk as at
from tests.live.test_write_kill import WritableVictim
from tests.live.upload_client import report

#: Bytes of a file, and after how many sixteenths of it the workspace is killed.
SIZE, KILLED_AT = (64 * MIB, range(1, 17)) if SOAK else (2 * MIB, range(6, 17, 5))
PART = SIZE // 16


class Upload:
    """
    An upload that goes on after each kill.

    :param way: to the workspace.
    :param directory: of the partial file.
    :param query: of the creation.
    :param checked: whether each chunk has a checksum; a chunk is a sixteenth of the file then.
    :ivar offset: how far it is.
    """

    def __init__(self, way: Way, directory: str, query: str, checked: bool) -> None:
        self.content = random.Random(query).randbytes(SIZE)
        self._way, self.checked = way, checked
        self.target = way.create(SIZE, query)
        self.partial = os.path.join(directory, f".chatfiles-part-{self.target[-32:]}")
        self.offset = 0

    def fields(self, chunk: bytes) -> dict[str, str]:
        """:return: the headers of a chunk, besides the usual ones."""
        digest = base64.b64encode(hashlib.sha1(chunk, usedforsecurity=False).digest()).decode()
        return {"Upload-Checksum": f"sha1 {digest}"} if self.checked else {}

    def begin(self, part: int) -> Connection:
        """:return: a connection on which a chunk up to the end of a part arrives, often not all."""
        end = min(part * PART, self.offset + PART) if self.checked else SIZE
        chunk = self.content[self.offset : end]
        missing = max(0, random.randrange(-PART // 2, PART // 2))
        sent = chunk[: part * PART - self.offset - missing]
        return self._way.begin(self.target, self.offset, len(chunk), sent, self.fields(chunk))

    def judge(self, part: int) -> str:
        """
        Compare the offset with what is on the disk.

        :return: the outcome of the kill.
        """
        try:
            with open(self.partial, "rb") as file:
                found = file.read()
        except FileNotFoundError:
            found = self.content  # it is finished
        before, self.offset = self.offset, self._way.offset(self.target)
        assert before <= self.offset <= len(found), (before, self.offset, len(found))
        assert found[: self.offset] == self.content[: self.offset]
        if self.checked:
            assert self.offset in (before, min(part * PART, before + PART))
        return "some" if self.offset > before else "nothing"

    def go_on(self, until: int) -> None:
        """Send chunks that are not interrupted."""
        while self.offset < until:
            chunk = self.content[self.offset : min(until, self.offset + PART)]
            answer = self._way.ask(
                "PATCH", self.target, {**at(self.offset), **self.fields(chunk)}, chunk
            )
            assert answer.status == 204, answer.body
            self.offset += len(chunk)

    def finish(self) -> str:
        """
        Send the rest, and forget the upload.

        :return: where the file is.
        """
        self.go_on(SIZE)
        last = self._way.ask("HEAD", self.target)
        assert last["repr-digest"] == repr_digest(self.content)
        assert self._way.ask("DELETE", self.target).status == 204
        return last["chatfiles-uri"].removeprefix("workspace:/workspace/")


class KillTests(SynchronousTestCase):
    """A workspace of its own for each test."""

    def setUp(self) -> None:
        self.pair = Pair()
        self.addCleanup(self.pair.discard)
        self.victim = WritableVictim(self.pair, 0, unnamed=True)
        self.addCleanup(self.victim.kill)

    def ways(self) -> list[Way]:
        """:return: both ways to the workspace."""
        direct, through = self.victim.ways()
        base = f"/workspaces/{self.victim.id}/uploads"
        return [
            Way("direct", direct.url, "/internal/uploads", direct.fields),
            Way("through", through.url, base, through.fields),
        ]

    def test_killed(self) -> None:
        """
        With and without a path and checksums: no offset is beyond what is on the disk, the files
        are right in the end, and nothing is left.
        """
        outcomes: Counter[str] = Counter()
        for way in self.ways():
            self.kill_often(way, outcomes)
        report(f"resumable uploads of {SIZE // MIB} MiB: {dict(outcomes)}")
        self.pair.check_logs()

    def test_late(self) -> None:
        """A chunk that reaches the workspace after its client has left ends no other."""
        way = self.ways()[0]
        target = way.create(6)
        with way.begin(target, 0, 6, b"abc") as first:
            until(partial(self.has, target, b"abc"), "the chunk arrives")
            self.victim.role.signal(signal.SIGSTOP)
            way.begin(target, 0, 6, b"abc", {"X-Request-Id": "late"}).close()
            self.victim.role.signal(signal.SIGCONT)
            self.victim.role.logged("late .* client_left")
            first.send(b"def")
            answer = first.response("PATCH")
        self.assertEqual((answer.status, answer["repr-digest"]), (204, repr_digest(b"abcdef")))

    def has(self, target: str, content: bytes) -> bool:
        """:return: whether the workspace has just this of an upload."""
        name = f".chatfiles-part-{target[-32:]}"
        with open(os.path.join(self.victim.directory, name), "rb") as file:
            return file.read() == content

    def kill_often(self, way: Way, outcomes: Counter[str]) -> None:
        out = os.path.join(self.victim.base, "workspace", "out")
        uploads = [
            Upload(way, place, query, checked)
            for place, query, checked in (
                (self.victim.directory, "", False),
                (self.victim.directory, "", True),
                (out, "?path=/workspace/out/x", False),
                (os.path.join(out, "d"), "?path=/workspace/out/d/y", True),
            )
        ]
        for part in KILLED_AT:
            self.kill_once(uploads, part)
            outcomes.update(each.judge(part) for each in uploads)
        for upload in uploads:
            with open(os.path.join(self.victim.base, "workspace", upload.finish()), "rb") as file:
                self.assertTrue(file.read() == upload.content)
            os.unlink(file.name)
        self.assertEqual((self.victim.listed(), self.victim.files()), ([], {}))

    def kill_once(self, uploads: list[Upload], part: int) -> None:
        for upload in uploads:
            if upload.checked:
                upload.go_on((part - 1) * PART)
        with contextlib.ExitStack() as stack:
            for upload in uploads:
                if upload.offset < part * PART:
                    stack.enter_context(upload.begin(part))
            time.sleep(random.uniform(0, 0.2 if SOAK else 0.05))
            self.victim.kill()
        self.victim.start()
