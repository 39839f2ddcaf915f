"""
Cases for downloads (reference/downloads, "One version"), for both ways to a file: from the
workspace directly and through the platform.
"""

from __future__ import annotations

import mmap
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from twisted.trial.unittest import SkipTest

from tests.live.processes import (
    IMPATIENT,
    LONG_AGO,
    SLACK,
    SOAK,
    ImpatientCase,
    LiveCase,
    Role,
    lines_of,
    quoted,
)
from tests.live.rawhttp import Answer, Connection, Incomplete, Response, fetch

__all__ = ["ContentCases", "PaceCases", "Way"]

MIB = 1 << 20
#: How much the memory of either role may grow while a large file is sent.
ALLOWED_GROWTH = 32 * MIB
#: Larger than what is in flight at once: sockets may hold some 40 MiB.
LARGE = 96 * MIB
#: A client's receive buffer, so small that most of a file is still to be sent.
SMALL_BUFFER = 128 * 1024
#: A slow reader's buffer: on loopback the kernel announces space in steps of some 64 KiB.
TINY_BUFFER = 16 * 1024


class Way(LiveCase):
    """
    One way to the files.

    :cvar hop: ``direct`` or ``through``.
    """

    hop = ""

    @property
    def role(self) -> Role:
        """The role that receives the requests."""
        return self.pair.workspace if self.hop == "direct" else self.pair.platform

    def target(self, path: str, more: str = "") -> tuple[bytes, dict[str, str]]:
        """:return: the request target, and the header with the credential."""
        for name, _, target, credential in self.pair.hops(f"path={quoted(path)}{more}"):
            if name == self.hop:
                return target, credential
        raise SkipTest("nothing can connect to the workspace")

    def get(
        self,
        path: str,
        fields: dict[str, str] | list[tuple[str, str]] = {},  # noqa: B006
        *,
        method: str = "GET",
        more: str = "",
    ) -> Response:
        """:return: the whole response."""
        target, credential = self.target(path, more)
        items = [*credential.items(), *dict(fields).items()]
        if isinstance(fields, list):
            items = [*credential.items(), *fields]
        return fetch(self.role.url, target, items, method=method)

    def begin(
        self, path: str, *, receive_buffer: int | None = SMALL_BUFFER, request_id: str = "begun"
    ) -> tuple[Connection, Answer]:
        """:return: a slow reader's connection, and the response, of which the headers are read."""
        connection = self.connect(self.role, receive_buffer=receive_buffer)
        target, credential = self.target(path)
        connection.ask("GET", target, {**credential, "X-Request-Id": request_id})
        answer = connection.answer()
        self.assertEqual(answer.head.status, 200)
        return connection, answer

    def make_sparse(self, name: str, size: int) -> str:
        """:return: the path on disk of a sparse file with marks in a few places."""
        path = self.pair.at("workspace", name)
        with open(path, "wb") as file:
            file.truncate(size)
            for at in (0, 1, size // 3, size // 2, size - 65537, size - 1):
                file.seek(max(0, at))
                file.write(b"%d" % at if at < size - 20 else b"!")
        os.utime(path, (LONG_AGO, LONG_AGO))
        return path

    def compare(self, answer: Answer, path: str, first: int = 0) -> None:
        """The body equals the content of the file from *first* on."""
        at = first
        with open(path, "rb", buffering=0) as file:
            while data := answer.read(MIB):
                if os.pread(file.fileno(), len(data), at) != data:
                    raise AssertionError(f"the octets differ between {at} and {at + len(data)}")
                at += len(data)


class ContentCases(Way):
    """The content of downloads, also of files that change meanwhile."""

    def test_sizes(self) -> None:
        """Files of sizes around every internal limit arrive unchanged."""
        chance = random.Random(1)
        for size in (0, 1, 2, 11, 65535, 65536, 65537, MIB - 1, MIB, MIB + 1, 5 * MIB + 7):
            content = chance.randbytes(size)
            self.pair.write("workspace/sized.bin", content)
            answer = self.get("/workspace/sized.bin")
            self.assertEqual((answer.status, answer["content-length"]), (200, str(size)))
            self.assertTrue(answer.body == content, size)
            head = self.get("/workspace/sized.bin", method="HEAD")
            self.assertEqual(lines_of(head.fields), lines_of(answer.fields), size)
            self.assertEqual(head.body, b"")

    def test_one_connection(self) -> None:
        """One connection serves requests of all kinds in turn, also pipelined ones."""
        content = random.Random(2).randbytes(300_000)
        self.pair.write("workspace/again.bin", content)
        target, credential = self.target("/workspace/again.bin")
        missing, _ = self.target("/workspace/missing")
        connection = self.connect(self.role)
        for _ in range(3):
            self.assertEqual(connection.exchange("GET", target, credential).body, content)
            self.assertEqual(connection.exchange("HEAD", target, credential).body, b"")
            self.assertEqual(connection.exchange("GET", missing, credential).status, 404)
            self.assertEqual(connection.exchange("GET", target).status, 401)
            self.assertEqual(connection.exchange("POST", target, credential, b"x").status, 405)
        wanted = [("GET", target), ("HEAD", target), ("GET", missing), ("GET", target)] * 3
        for method, what in wanted:
            connection.ask(method, what, credential)
        statuses = []
        for method, what in wanted:
            answer = connection.response(method)
            statuses.append(answer.status)
            if method == "GET" and what == target:
                self.assertTrue(answer.body == content)
        self.assertEqual(statuses, [200, 200, 404, 200] * 3)

    def test_at_the_same_time(self) -> None:
        """Concurrent transfers do not mix."""
        contents = {n: random.Random(n).randbytes(700_000 + n) for n in range(24)}
        for n, content in contents.items():
            self.pair.write(f"workspace/side-{n}.bin", content)
        wrong: list[int] = []

        def fetch_one(n: int) -> None:
            if self.get(f"/workspace/side-{n}.bin").body != contents[n]:
                wrong.append(n)

        threads = [threading.Thread(target=fetch_one, args=(n,)) for n in contents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def large(self, size: int) -> None:
        """Fetch a file of *size*; the memory of both roles does not grow with it."""
        path = self.make_sparse("large.bin", size)
        self.addCleanup(os.unlink, path)
        self.get("/workspace/missing")
        roles = (self.pair.platform, self.pair.workspace)
        before = [role.forget_peak() for role in roles]
        _, answer = self.begin("/workspace/large.bin", receive_buffer=None)
        self.assertEqual(answer.head["content-length"], str(size))
        self.compare(answer, path)
        self.assertEqual(answer.received, size)
        for role, was in zip(roles, before, strict=True):
            self.assertLess(role.memory() - was, ALLOWED_GROWTH, role.name)

    def test_large(self) -> None:
        """256 MiB arrive whole, and the memory of both roles does not grow."""
        self.large(256 * MIB)

    def test_very_large(self) -> None:
        """5 GiB arrive whole as well: sizes and offsets have more than 32 bits."""
        if not SOAK:
            raise SkipTest("CHATFILES_SOAK=1 is not set")
        self.large(5 * 1024 * MIB + 3)

    def test_far_range(self) -> None:
        """A range beyond the first 4 GiB of a file returns exactly that part."""
        size = 5 * 1024 * MIB
        path = self.make_sparse("far.bin", size)
        self.addCleanup(os.unlink, path)
        first = size - 70_000
        answer = self.get("/workspace/far.bin", {"Range": f"bytes={first}-"})
        self.assertEqual(answer.status, 206)
        self.assertEqual(answer["content-range"], f"bytes {first}-{size - 1}/{size}")
        with open(path, "rb") as file:
            file.seek(first)
            self.assertTrue(answer.body == file.read())

    # -- files that change while they are sent

    def assert_cut(self, answer: Answer) -> None:
        """The body ends early, and the client can detect that."""
        self.assertRaises(Incomplete, answer.rest)
        self.assertFalse(answer.complete)

    def test_grows(self) -> None:
        """Of a file that grows, the announced bytes are sent; the connection can be used again."""
        path = self.make_sparse("growing.log", LARGE)
        connection, answer = self.begin("/workspace/growing.log")
        answer.exactly(100_000)
        with open(path, "ab") as log:
            log.write(b"one more line\n" * 1000)
            log.flush()
            rest = 0
            while data := answer.read(MIB):
                rest += len(data)
                if rest % 7 == 0:
                    log.write(b"and another\n")
                    log.flush()
        self.assertEqual(answer.received, LARGE)
        target, credential = self.target("/workspace/missing")
        self.assertEqual(connection.exchange("GET", target, credential).status, 404)

    def test_shrinks(self) -> None:
        """The transfer is aborted if the file is truncated, even to nothing."""
        for size in (0, 100_001, LARGE // 2, LARGE - 1):
            path = self.make_sparse("shrinking.bin", LARGE)
            _, answer = self.begin("/workspace/shrinking.bin")
            answer.exactly(100_000)
            os.truncate(path, size)
            self.assert_cut(answer)

    def test_rewritten(self) -> None:
        """The transfer is aborted before its last byte if the file is rewritten in place."""
        for at in (0, LARGE // 2, LARGE - 1):
            path = self.make_sparse("rewritten.bin", LARGE)
            _, answer = self.begin("/workspace/rewritten.bin")
            answer.exactly(100_000)
            with open(path, "r+b") as file:
                file.seek(at)
                file.write(b"X")
            self.assert_cut(answer)

    def test_rewritten_through_a_mapping(self) -> None:
        """
        A write through a shared mapping is noticed like any other if the page is on disk already:
        the transfer is aborted, and the next one has another entity tag.
        """
        path = self.make_sparse("mapped.bin", LARGE)
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), LARGE) as content:
            for at, byte in ((0, b"a"), (LARGE - 1, b"b")):
                content[at : at + 1] = byte  # the page can be written from now on
                os.fsync(file.fileno())  # until the kernel has stored it
                os.utime(path, (LONG_AGO, LONG_AGO))
                _, answer = self.begin("/workspace/mapped.bin")
                answer.exactly(100_000)
                content[at : at + 1] = b"X"
                if os.stat(path).st_mtime == LONG_AGO:
                    raise SkipTest("this file system never tells of such writes")
                self.assert_cut(answer)
                etag = self.get("/workspace/mapped.bin", method="HEAD")["etag"]
                self.assertNotEqual(etag.removeprefix("W/"), answer.head["etag"])

    def test_truncated_and_written_anew(self) -> None:
        """The transfer is aborted if the file is truncated, then rewritten: a usual way to save."""
        path = self.make_sparse("saved.bin", LARGE)
        _, answer = self.begin("/workspace/saved.bin")
        answer.exactly(100_000)
        with open(path, "wb") as file:
            file.truncate(LARGE)
        self.assert_cut(answer)

    def test_the_log_tells(self) -> None:
        """The logs of both roles report an interrupted transfer, with the request's id."""
        path = self.make_sparse("told.bin", LARGE)
        _, answer = self.begin("/workspace/told.bin", request_id=f"told-{self.hop}")
        answer.exactly(100_000)
        os.truncate(path, 0)
        self.assert_cut(answer)
        self.pair.workspace.logged(rf"told-{self.hop} .* 200 \d+ bytes .* file_changed")
        if self.hop == "through":
            self.pair.platform.logged(rf"told-through {self.pair.id} .* 200 .* upstream_cut")

    def test_replaced(self) -> None:
        """A file that is replaced or deleted during the transfer is sent as it was."""
        for replace in (True, False):
            path = self.make_sparse("replaced.bin", LARGE)
            kept = self.pair.at("kept.bin")
            os.link(path, kept)
            _, answer = self.begin("/workspace/replaced.bin")
            answer.exactly(100_000)
            if replace:
                self.pair.write("workspace/new.bin", b"new")
                os.rename(self.pair.at("workspace", "new.bin"), path)
            else:
                os.unlink(path)
            self.compare(answer, kept, 100_000)
            self.assertEqual(answer.received, LARGE)
            os.unlink(kept)
        self.assertEqual(self.get("/workspace/replaced.bin").status, 404)

    def test_deleted_for_good(self) -> None:
        """A file whose last name is deleted is sent to its end."""
        path = self.make_sparse("gone.bin", LARGE)
        _, answer = self.begin("/workspace/gone.bin")
        answer.exactly(100_000)
        os.unlink(path)
        self.assertEqual(len(answer.rest()), LARGE - 100_000)

    def test_moved_and_closed(self) -> None:
        """Once a file is open, a change of its name or mode does not affect the transfer."""
        path = self.make_sparse("moved.bin", LARGE)
        _, answer = self.begin("/workspace/moved.bin")
        answer.exactly(100_000)
        os.chmod(path, 0)
        os.rename(path, self.pair.at("moved.bin"))
        self.compare(answer, self.pair.at("moved.bin"), 100_000)
        self.assertEqual(answer.received, LARGE)

    def test_one_version(self) -> None:
        """
        A complete body never mixes bytes of two versions, also if the file is rewritten while its
        last bytes are in flight.
        """
        for size in (50_000, 70_000, MIB, 3 * MIB, 20 * MIB):
            for taken in (0, 40_000):
                path = self.pair.write("workspace/version.bin", b"a" * size)
                _, answer = self.begin("/workspace/version.bin")
                answer.exactly(taken)
                time.sleep(0.02)  # so that what is in flight arrives
                with open(path, "r+b") as file:
                    file.write(b"b" * size)
                try:
                    rest = answer.rest()
                except Incomplete:
                    continue
                self.assertEqual(rest.count(b"a"), size - taken, (size, taken))

    def test_one_version_of_a_large_file(self) -> None:
        """
        The same for a file of which most is sent by reference, on every hop, to a client with a
        large buffer.
        """
        for left in (0, 1000, MIB, 8 * MIB, 20 * MIB, 60 * MIB, LARGE):
            path = self.pair.at("workspace", "large-version.bin")
            with open(path, "wb") as file:
                file.truncate(LARGE)
            os.utime(path, (LONG_AGO, LONG_AGO))
            _, answer = self.begin("/workspace/large-version.bin", receive_buffer=4 * MIB)
            while answer.received < LARGE - left:
                answer.read(min(MIB, LARGE - left - answer.received))
            with open(path, "r+b") as file:
                for _ in range(LARGE // MIB):
                    file.write(b"b" * MIB)
            try:
                rest = answer.rest()
            except Incomplete:
                continue
            self.assertEqual(rest.count(b"\0"), left)


class PaceCases(ImpatientCase, Way):
    """Readers that are slow, stop, or disconnect; both roles have a short timeout."""

    def test_readers(self) -> None:
        """
        A client that reads 2 MB/s or 50 kB/s is served, however much is buffered on the way; one
        that reads nothing is disconnected, and can detect that.  All run at the same time, to save
        time.
        """
        self.make_sparse("slow.bin", LARGE)
        with ThreadPoolExecutor() as threads:
            readers = [threads.submit(self.slow, rate) for rate in (2_000_000, 50_000)]
            stalled = threads.submit(self.stalled)
        for reader in (*readers, stalled):
            reader.result()

    def slow(self, rate: int, seconds: float = 1.5 * IMPATIENT + 1) -> None:
        """Read so many bytes per second for longer than the timeout; the transfer continues."""
        about, roles = f"slow-{rate}-{self.hop}", (self.role, self.pair.workspace)
        marks = [role.mark() for role in roles]
        connection, answer = self.begin(
            "/workspace/slow.bin", receive_buffer=TINY_BUFFER, request_id=about
        )
        began = time.monotonic()
        while (gone := time.monotonic() - began) < seconds:
            due = int(gone * rate) - answer.received
            if due > 0:
                answer.exactly(due)
            time.sleep(0.02)
        connection.close()
        # After an abort, buffered data still arrives; so check the logs.
        for role, mark in zip(roles, marks, strict=True):
            outcome = role.logged(rf"{about} .* s (\w+) from ", since=mark)[1]
            self.assertEqual(outcome, "client_left", f"{about}, as the {role.name} tells")

    def stalled(self) -> None:
        """Read a little, then nothing more; the transfer is aborted."""
        _, answer = self.begin("/workspace/slow.bin", request_id=f"stalled-{self.hop}")
        answer.exactly(100_000)
        began = time.monotonic()
        self.role.logged(rf"stalled-{self.hop} .* client_stalled")
        self.assertGreater(time.monotonic() - began, 0.5, "cut too early")
        self.assertRaises(Incomplete, answer.rest)

    def test_leaves(self) -> None:
        """A client that disconnects ends the transfer on every hop within a second."""
        self.make_sparse("left.bin", LARGE)
        mark = self.pair.workspace.mark()
        connection, answer = self.begin("/workspace/left.bin", request_id=f"left-{self.hop}")
        answer.exactly(100_000)
        self.assertTrue([d for d in self.pair.workspace.descriptors() if "left.bin" in d])
        connection.close()
        soon = 0.5 + SLACK
        self.pair.workspace.logged(rf"left-{self.hop} .* client_left", since=mark, seconds=soon)
        self.assertFalse([d for d in self.pair.workspace.descriptors() if "left.bin" in d])
        if self.hop == "through":
            self.pair.platform.logged(r"left-through .* client_left", seconds=soon)
