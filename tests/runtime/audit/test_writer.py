"""
The file of the audit log, and the thread that writes it.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from threading import Event
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.audit import writer
from chatfiles.runtime.audit.writer import CLOSE_TIMEOUT, MOST_TOGETHER, MOST_WAITING, AuditWriter
from tests.support.patience import PATIENCE

LINES = 5000
#: A process that waits for the others to start, and then writes many lines.
PROCESS = f"""
import sys
from twisted.internet import reactor
from chatfiles.runtime.audit.writer import AuditWriter
_, path, name = sys.argv
writer = AuditWriter(path, reactor)
writer.open()
print("ready", flush=True)
sys.stdin.read()
for i in range({LINES}):
    writer.write([f"{{name}}{{i}}:{{'x' * (i % 900)}}"])
writer.close().addCallback(lambda _: reactor.stop())
reactor.run()
"""


class Reactor(Clock):
    """A clock that runs at once what a thread passes to it."""

    def callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        function(*arguments)


class WriterTests(SynchronousTestCase):
    """Lines, from `write` to the file."""

    def setUp(self) -> None:
        self.base = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.base)
        self.path = os.path.join(self.base, "audit.log")
        self.reactor = Reactor()
        self.events: list[LogEvent] = []
        remember: Any = self.events.append
        globalLogPublisher.addObserver(remember)
        self.addCleanup(globalLogPublisher.removeObserver, remember)
        self.patch(writer, "RETRY", 0.01)

    def open(self) -> AuditWriter:
        """:return: a writer, which is closed at the end."""
        opened = AuditWriter(self.path, self.reactor)
        opened.open()
        self.addCleanup(self.close, opened)
        return opened

    def close(self, opened: AuditWriter) -> None:
        """Close it, and wait for its thread."""
        opened.close()
        opened._thread.join(PATIENCE)
        self.assertFalse(opened._thread.is_alive())

    def until(self, holds: Callable[[], object]) -> None:
        """Wait for the thread."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.001)

    def read(self, path: str) -> list[str]:
        """:return: the lines of a file."""
        with open(path) as file:
            return file.read().splitlines()

    def said(self, text: str) -> int:
        """:return: how many lines of the log have this text."""
        return sum(text in eventAsText(event) for event in self.events)

    def test_lines(self) -> None:
        """Lines are appended in order, to a file that only its owner can read."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        opened = self.open()
        opened.write(["a", "b"])
        self.until(lambda: self.read(self.path) == ["a", "b"])
        self.close(opened)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        again = self.open()
        again.write(["c"])
        self.close(again)  # writes what waits
        self.assertEqual(self.read(self.path), ["a", "b", "c"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def written(self, *lengths: int) -> list[bytes]:
        """
        :param lengths: how much of what it is given each of the first calls of ``write`` takes.
        :return: what ``write`` is given from now on.
        """
        found: list[bytes] = []
        real, short = os.write, list(lengths)

        def write(fd: int, data: bytes) -> int:
            found.append(data)
            return real(fd, data[: short.pop(0)] if short else data)

        self.patch(os, "write", write)
        return found

    def test_whole_lines(self) -> None:
        """Each ``write`` has whole lines: one, or several that fit into a page together."""
        written = self.written()
        opened = self.open()
        long = "x" * MOST_TOGETHER
        half = "y" * (MOST_TOGETHER // 2 - 1)
        opened.write(["a", "b", long, long, half, half, "c"])
        self.close(opened)
        expected = ["a\nb\n", f"{long}\n", f"{long}\n", f"{half}\n{half}\n", "c\n"]
        self.assertEqual(written, [each.encode() for each in expected])

    def test_several_processes(self) -> None:
        """Lines of several processes are not mixed, and those of each are in order."""
        command = [sys.executable, "-c", PROCESS, self.path]
        pipe: Any = subprocess.PIPE
        started: list[Any] = [
            subprocess.Popen([*command, name], stdin=pipe, stdout=pipe) for name in "abc"
        ]
        self.assertEqual([each.stdout.readline() for each in started], [b"ready\n"] * 3)
        for each in started:
            each.stdin.close()  # they begin
        for each in started:
            each.stdout.close()
            self.assertEqual(each.wait(PATIENCE), 0)
        found = self.read(self.path)
        for name in "abc":
            mine = [line for line in found if line[:1] == name]
            self.assertEqual(mine, [f"{name}{i}:{'x' * (i % 900)}" for i in range(LINES)])

    def test_reopened(self) -> None:
        """After a rotation, lines go to a new file."""
        opened = self.open()
        opened.write(["a"])
        self.until(lambda: self.read(self.path) == ["a"])
        os.rename(self.path, self.path + ".1")
        opened.reopen()
        self.until(lambda: os.path.exists(self.path))
        opened.write(["b"])
        self.until(lambda: self.read(self.path) == ["b"])
        self.assertEqual(self.read(self.path + ".1"), ["a"])
        open_files = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        self.assertNotIn(os.path.realpath(self.path + ".1"), open_files)

    def test_reopened_twice(self) -> None:
        """A rotation while the file is being opened counts as well."""
        opened = self.open()
        real = opened._open_again

        def open_again(**arguments: bool) -> None:
            real(**arguments)
            if not os.path.exists(self.path + ".1"):
                os.rename(self.path, self.path + ".1")
                opened.reopen()

        self.patch(opened, "_open_again", open_again)
        opened.reopen()
        self.until(lambda: os.path.exists(self.path + ".1"))
        self.until(lambda: os.path.exists(self.path))

    def test_not_reopened(self) -> None:
        """
        If the path cannot be opened again, the old file stays in use, and the path is tried until
        it can be opened.
        """
        opened = self.open()
        moved = self.path + ".1"
        os.rename(self.path, moved)
        os.mkdir(self.path)
        opened.reopen()
        self.until(lambda: self.said("cannot be opened: Is a directory"))
        opened.write(["a"])
        self.until(lambda: self.read(moved) == ["a"])
        self.assertTrue(opened.failed)
        os.rmdir(self.path)
        self.until(lambda: not opened.failed)
        opened.write(["b"])
        self.until(lambda: self.read(self.path) == ["b"])
        for text in ("cannot be opened", "is opened again"):
            self.assertEqual(self.said(text), 1)

    def test_cannot_open(self) -> None:
        """A path that cannot be opened is an error, also a FIFO without a reader."""
        os.mkfifo(self.path)
        self.assertRaises(OSError, AuditWriter(self.path, self.reactor).open)
        self.assertRaises(FileNotFoundError, AuditWriter("/no/such/x", self.reactor).open)

    def test_full(self) -> None:
        """A line that cannot be written is kept, and written when that is possible again."""
        os.symlink("/dev/full", self.path)
        opened = self.open()
        self.assertFalse(opened.failed)
        opened.write(["a", "b"])
        self.until(lambda: opened.failed)
        good = os.path.join(self.base, "good")
        os.symlink(good, self.path + ".new")
        os.rename(self.path + ".new", self.path)
        self.until(lambda: not opened.failed)
        self.assertEqual(self.read(good), ["a", "b"])
        self.assertEqual(self.said("cannot be written: No space left on device"), 1)
        self.assertEqual(self.said("is written again"), 1)

    def test_torn(self) -> None:
        """A line of which only a part was written is repeated, on a line of its own."""
        for taken, expected in (
            ([2], ["ab", "abcd", "ef", "g"]),
            ([2, 1], ["ab", "abcd", "ef", "g"]),
            ([2, 3], ["ab", "ab", "abcd", "ef", "g"]),
            ([7], ["abcd", "ef", "ef", "g"]),
            ([5], ["abcd", "ef", "g"]),
            ([4], ["abcd", "abcd", "ef", "g"]),
        ):
            self.written(*taken)
            opened = self.open()
            opened.write(["abcd", "ef", "g"])
            self.until(lambda: self.read(self.path)[-1:] == ["g"])
            self.close(opened)
            self.assertEqual(self.read(self.path), expected, taken)
            os.unlink(self.path)

    def test_torn_and_rotated(self) -> None:
        """After a part of a line, a new file begins with the whole line."""
        real, short = os.write, [2]

        def write(fd: int, data: bytes) -> int:
            count = real(fd, data[: short.pop()] if short else data)
            if count == 2:
                os.rename(self.path, self.path + ".1")
            return count

        self.patch(os, "write", write)
        opened = self.open()
        opened.write(["abcd"])
        self.until(lambda: os.path.exists(self.path + ".1") and os.path.exists(self.path))
        self.until(lambda: self.read(self.path))
        self.assertEqual(self.read(self.path), ["abcd"])
        self.assertEqual(self.read(self.path + ".1"), ["ab"])

    def test_too_many(self) -> None:
        """No more than a number of lines waits; the log says how many are lost."""
        os.symlink("/dev/full", self.path)
        opened = self.open()
        opened.write(["a"] * (MOST_WAITING - 1))
        opened.write(["a"] * 4)
        self.assertTrue(opened.failed)
        os.unlink(self.path)
        self.until(lambda: self.said("lost 3 lines"))
        self.assertEqual(len(self.read(self.path)), MOST_WAITING)

    def test_lost_at_the_end(self) -> None:
        """What cannot be written at the end is lost, and the log says so."""
        os.symlink("/dev/full", self.path)
        opened = self.open()
        opened.write(["a"] * MOST_WAITING)
        opened.write(["a", "b"])  # too many
        self.close(opened)
        self.assertEqual(self.said(f"lost {MOST_WAITING + 2} lines"), 1)

    def test_closed_while_writing(self) -> None:
        """A line that is added while the thread ends another round is written before the end."""
        opened = self.open()
        real, has_written, goes_on = opened._write_all, Event(), Event()

        def write_all() -> None:
            real()
            has_written.set()
            goes_on.wait(PATIENCE)

        self.patch(opened, "_write_all", write_all)
        opened.write(["a"])
        self.assertTrue(has_written.wait(PATIENCE))
        opened.write(["b"])
        opened.close()
        goes_on.set()
        self.close(opened)
        self.assertEqual(self.read(self.path), ["a", "b"])

    def test_hangs(self) -> None:
        """The end of the role does not wait for a disk that hangs."""
        opened = AuditWriter(self.path, self.reactor)
        opened.open()
        self.patch(opened, "_write_all", lambda: self.until(lambda: closed.called))
        closed = opened.close()
        self.reactor.advance(CLOSE_TIMEOUT)
        self.successResultOf(closed)
        self.assertEqual(self.said("does not respond"), 1)
        opened._thread.join(PATIENCE)

    def test_never_opened(self) -> None:
        """A role that did not start has nothing to close."""
        self.successResultOf(AuditWriter(self.path, self.reactor).close())
