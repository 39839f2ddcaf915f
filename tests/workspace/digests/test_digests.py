"""
Digests are computed once for all who ask, a few at a time, and remembered by version.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from chatfiles.errors import Conflict, ReadFailed, Unavailable
from chatfiles.model import FileFacts
from chatfiles.streams.file_source import FileChanged
from chatfiles.workspace.digests.cache import DigestCache
from chatfiles.workspace.digests.computation import AT_ONCE, STALLED_AFTER, UNUSED_AFTER
from chatfiles.workspace.digests.digests import KEPT, Progress
from chatfiles.workspace.files.open_file import OpenFile
from tests.workspace.digests.digests_case import INLINE, DigestsCase, sha256

#: More than one step, and more than a download waits for.
LARGE = bytes(range(25))
PATH = b"/workspace/file"
ROOT = b"/workspace"


class CacheTests(DigestsCase):
    """`DigestCache`."""

    def test_bounded(self) -> None:
        """The version that was not used for longest is dropped."""
        cache = DigestCache(2)
        first, second, third = (FileFacts(1, inode, 1, 1, 1) for inode in range(3))
        cache.put(first, b"1")
        cache.put(second, b"2")
        cache.put(first, b"1")
        self.assertEqual(cache.get(first), b"1")
        cache.put(third, b"3")
        self.assertEqual([cache.get(each) for each in (first, second, third)], [b"1", None, b"3"])
        self.assertEqual(len(cache), 2)
        self.assertEqual(self.digests._cache._most, KEPT)


class AtOnceTests(DigestsCase):
    """The digest of a small file, which a download waits for."""

    def digest(self, file: OpenFile) -> Any:
        return Deferred.fromCoroutine(self.digests.at_once(file, ROOT))

    def test_kept(self) -> None:
        """It is kept, and the file stays open."""
        file = self.open(self.write(LARGE))
        digest = self.digest(file)
        self.threads.finish()
        self.assertEqual(self.successResultOf(digest), sha256(LARGE))
        self.assertEqual(self.digests.known(file.facts), sha256(LARGE))
        self.assertTrue(self.is_open(file))

    def test_young(self) -> None:
        """That of a version whose tag is weak is not kept."""
        self.age_ns = 10**9 - 1
        file = self.open(self.write(b"x"))
        digest = self.digest(file)
        self.threads.finish()
        self.assertEqual(self.successResultOf(digest), sha256(b"x"))
        self.assertIsNone(self.digests.known(file.facts))

    def test_changed(self) -> None:
        """There is none if the file has changed, or cannot be read."""
        path = self.write(LARGE)
        first, second = self.open(path), self.open(path)
        digests = [self.digest(first), self.digest(second)]
        second.close()
        self.threads.finish(1)
        self.write(b"y" * 25, os.path.basename(path))
        self.threads.finish()
        for digest, file in zip(digests, (first, second), strict=True):
            self.assertIsNone(self.successResultOf(digest))
            self.assertIsNone(self.digests.known(file.facts))


class WithinTests(DigestsCase):
    """The digest of a file of any size."""

    def ask(self, file: OpenFile, path: bytes = PATH, owner: bytes = ROOT) -> Any:
        """:return: what a client receives within 5 seconds."""
        return Deferred.fromCoroutine(self.digests.within(5.0, path, file, owner))

    def open_large(self, content: bytes = LARGE) -> OpenFile:
        return self.open(self.write(content))

    def test_complete(self) -> None:
        """The digest is delivered and kept, and the file is closed."""
        file = self.open_large()
        asked = self.ask(file)
        self.threads.finish_all()
        self.assertEqual(self.successResultOf(asked), sha256(LARGE))
        self.assertEqual(self.digests.known(file.facts), sha256(LARGE))
        self.assertFalse(self.is_open(file))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_in_threads(self) -> None:
        """Each step is a call of the root; a file on a network file system is closed there, too."""
        path = self.write(LARGE)
        first, second = self.open(path, local=False), self.open(path, local=False)
        asked = [self.ask(first), self.ask(second)]
        self.assertTrue(self.is_open(second))
        seen = []
        while self.threads.running:
            seen.append(self.threads.running[0].owner)
            self.threads.finish()
        self.assertEqual(seen, [ROOT] * 5)  # three steps, two closes
        for each in asked:
            self.assertEqual(self.successResultOf(each), sha256(LARGE))
        self.assertFalse(self.is_open(first) or self.is_open(second))

    def test_shared(self) -> None:
        """All who ask for one version share one computation; a client may leave."""
        path = self.write(LARGE)
        files = [self.open(path) for _ in range(3)]
        asked = [self.ask(file, path=b"/workspace/%d" % at) for at, file in enumerate(files)]
        self.assertEqual(len(self.threads.running), 1)
        self.assertEqual([self.is_open(file) for file in files], [True, False, False])
        asked[0].cancel()
        self.failureResultOf(asked[0], CancelledError)
        self.threads.finish_all()
        for each in asked[1:]:
            self.assertEqual(self.successResultOf(each), sha256(LARGE))
        self.assertFalse(self.is_open(files[0]))

    def test_progress(self) -> None:
        """A client that has waited learns the progress; the computation continues."""
        path = self.write(LARGE)
        asked = self.ask(self.open(path))
        self.threads.finish()
        self.clock.advance(5)
        self.assertEqual(self.successResultOf(asked), Progress(10, 25))
        self.threads.finish()
        again = self.ask(self.open(path))
        self.assertEqual(len(self.threads.running), 1)
        self.threads.finish()
        self.assertEqual(self.successResultOf(again), sha256(LARGE))

    def test_at_once(self) -> None:
        """At most two are computed at the same time; the next one begins when one has ended."""
        files = [self.open_large(bytes([number]) * 25) for number in range(4)]
        asked = [self.ask(file) for file in files]
        self.assertEqual(len(self.threads.running), AT_ONCE)
        for _ in range(3):
            self.threads.finish()
            self.assertEqual(len(self.threads.running), AT_ONCE)
            self.threads.finish()
        self.assertEqual([each.called for each in asked], [True, True, False, False])
        self.threads.finish_all()
        self.assertEqual(self.successResultOf(asked[3]), sha256(b"\3" * 25))

    def test_small(self) -> None:
        """Small files do not wait for large ones; they have as many turns of their own."""
        for _ in range(AT_ONCE):
            self.ask(self.open_large(bytes(60)))
        small = [self.open(self.write(bytes([number]) * INLINE)) for number in range(4)]
        asked = [self.ask(file) for file in small]
        self.assertEqual(len(self.threads.running), 2 * AT_ONCE)
        while not all(each.called for each in asked):
            self.threads.finish(-1)
            self.assertLessEqual(len(self.threads.running), 2 * AT_ONCE)
        for number, each in enumerate(asked):
            self.assertEqual(self.successResultOf(each), sha256(bytes([number]) * INLINE))
        self.assertEqual(len(self.threads.running), AT_ONCE)

    def test_waiting(self) -> None:
        """One that waits for its turn keeps no file open after its clients have left."""
        files = [self.open_large() for _ in range(4)]
        asked = [self.ask(file) for file in files]
        asked[2].cancel()
        self.failureResultOf(asked[2], CancelledError)
        self.assertFalse(self.is_open(files[2]))
        self.clock.advance(4)
        self.threads.finish()
        self.threads.finish()
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(asked[3]), Progress(0, 25))
        self.assertFalse(self.is_open(files[3]))
        self.assertEqual([self.is_open(file) for file in files[:2]], [True, True])
        self.threads.finish_all()
        self.assertEqual(self.threads.running, [])

    def test_unused(self) -> None:
        """One that nobody asks for ends after a minute."""
        file = self.open_large(bytes(60))
        asked = self.ask(file)
        self.clock.advance(5)
        self.successResultOf(asked)
        for _ in range(2):  # as fast as a slow disk allows
            self.clock.advance(UNUSED_AFTER / 2 - 1)
            self.threads.finish()
        self.assertTrue(self.is_open(file))
        self.clock.advance(2)
        self.threads.finish_all()
        self.assertIsNone(self.digests.known(file.facts))
        self.assertFalse(self.is_open(file))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_asked_again(self) -> None:
        """Each client that asks gives it another minute."""
        content = bytes(60)
        path = self.write(content)
        for _ in range(6):
            asked = self.ask(self.open(path))
            self.threads.finish()
            if not asked.called:
                self.clock.advance(5)
                self.clock.advance(UNUSED_AFTER - 1)
        self.assertEqual(self.successResultOf(asked), sha256(content))

    def test_stalled(self) -> None:
        """A disk that does not respond gives its turn to another one, and continues later."""
        files = [self.open_large(bytes([number]) * 25) for number in range(3)]
        asked = [
            self.ask(file, owner=root) for file, root in zip(files, (b"a", b"b", b"b"), strict=True)
        ]
        self.clock.advance(STALLED_AFTER - 1)
        self.threads.finish(1)
        self.clock.advance(1)
        self.assertEqual(len(self.threads.running), 3)  # the first one still hangs
        self.assertEqual(self.successResultOf(asked[0]), Progress(0, 25))
        again = self.ask(self.open(self.top + b"/0"))
        self.threads.finish()
        self.assertEqual(len(self.threads.running), AT_ONCE)
        self.threads.finish_all()
        self.assertEqual(self.successResultOf(again), sha256(b"\0" * 25))
        self.assertEqual(self.digests.known(files[2].facts), sha256(b"\2" * 25))

    def test_hangs(self) -> None:
        """Files on a disk that hangs are released when nobody asks for them any more."""
        files = [self.open_large() for _ in range(2)]
        for file in files:
            self.ask(file)
        self.clock.pump([5] * 12)
        self.assertEqual([file._is_closing for file in files], [False, False])
        self.clock.pump([5])
        self.assertEqual([file._is_closing for file in files], [True, True])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.threads.finish_all()
        self.assertIsNone(self.digests.known(files[0].facts))

    def test_changed(self) -> None:
        """If the file changes, its clients open it again; after three versions they give up."""
        path = self.write(LARGE)
        for expected in (FileChanged, FileChanged, Conflict):
            asked = [self.ask(self.open(path)) for _ in range(2)]
            self.threads.finish()
            self.write(LARGE, os.path.basename(path))
            self.threads.finish()
            for each in asked:
                failure = self.failureResultOf(each)
                self.assertIsInstance(failure.value, expected)
        self.assertEqual(failure.value.code, "file_changing")
        asked = [self.ask(self.open(path))]
        self.threads.finish_all()
        self.assertEqual(self.successResultOf(asked[0]), sha256(LARGE))

    def replace(self, path: bytes, name: bytes = PATH) -> type[BaseException]:
        """:return: the error of a client whose version is replaced."""
        asked = self.ask(self.open(path), name)
        self.write(LARGE, os.path.basename(path))
        self.threads.finish()
        return self.failureResultOf(asked).type  # type: ignore[no-any-return]

    def test_counted_by_path(self) -> None:
        """Versions are counted for each path, until one is complete or a minute has passed."""
        path, other = self.write(LARGE), self.write(LARGE)
        replaced = [self.replace(path), self.replace(path)]
        replaced += [self.replace(other, b"/workspace/other")]
        asked = self.ask(self.open(path))
        self.threads.finish_all()
        self.successResultOf(asked)
        replaced += [self.replace(path), self.replace(path)]
        self.clock.advance(60)
        replaced += [self.replace(path), self.replace(path)]
        self.assertEqual(replaced, [FileChanged] * 7)
        self.assertIs(self.replace(path), Conflict)

    def test_replaced_is_bounded(self) -> None:
        """The number of paths that are remembered is bounded."""
        path = self.write(LARGE)
        self.replace(path)
        for number in range(300):
            self.digests._count(b"%d" % number)
        self.assertEqual(len(self.digests._replaced), 256)
        self.assertEqual([self.replace(path), self.replace(path)], [FileChanged] * 2)

    def test_young(self) -> None:
        """A large file is read when it is so old that its digest can be kept."""
        for size, slept in ((INLINE, 0.01), (INLINE + 1, 1.01)):
            self.age_ns = 0
            file = self.open_large(bytes(size))
            self.slept.clear()
            asked = self.ask(file)
            self.threads.finish()
            self.assertEqual([round(each, 3) for each in self.slept], [slept])
            self.threads.finish_all()
            self.assertEqual(self.successResultOf(asked), sha256(bytes(size)))
            self.assertIsNone(self.digests.known(file.facts))

    def test_left(self) -> None:
        """
        A digest that cannot be kept waits for a client that has received 202, because it would
        never receive it otherwise; but not for ever.
        """
        path = self.write(LARGE)
        os.utime(path, (4e9, 4e9))
        asked = self.ask(self.open(path))
        self.clock.advance(5)
        self.successResultOf(asked)
        file = self.open(path)
        self.threads.finish_all()
        self.assertEqual(self.digests.known(file.facts), sha256(LARGE))
        self.clock.advance(60)
        self.assertIsNone(self.digests.known(file.facts))
        self.assertEqual(len(self.digests._cache), 0)

    def test_io_error(self) -> None:
        """A file that cannot be read is an error of this machine."""

        def broken(*_: object) -> int:
            raise OSError(errno.EIO, "broken")

        asked = self.ask(self.open_large())
        self.patch(os, "preadv", broken)
        self.threads.finish()
        failure = self.failureResultOf(asked, ReadFailed)
        self.assertIsInstance(failure.value.__cause__, OSError)

    def test_no_thread(self) -> None:
        """If no thread can be had, the client may retry, and the file is closed."""
        self.threads.queue.resize(0)
        self.patch(self.threads.queue, "is_full", lambda owner: True)
        file = self.open_large()
        self.failureResultOf(self.ask(file), Unavailable)
        self.assertFalse(self.is_open(file))

    def test_stop(self) -> None:
        """When the role stops, nothing is computed any more."""
        files = [self.open_large() for _ in range(3)]
        asked = [self.ask(file) for file in files]
        self.digests.stop()
        self.digests.stop()
        for each in asked:
            each.addErrback(lambda _: None)
        self.threads.finish_all()
        self.assertEqual([self.is_open(file) for file in files], [False] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class BesideTests(DigestsCase):
    """The digest of a file that is being sent."""

    def test_used(self) -> None:
        """It is computed as long as the file is sent, however long that takes."""
        file = self.open(self.write(bytes(60)))
        with self.digests.beside(PATH, file, ROOT):
            for _ in range(5):
                self.threads.finish()
                self.clock.advance(UNUSED_AFTER)
        self.assertTrue(self.is_open(file))
        self.threads.finish()
        self.assertEqual(self.digests.known(file.facts), sha256(bytes(60)))

    def test_ended(self) -> None:
        """After the transfer it goes on for a minute, so that the digest can be asked for."""
        file = self.open(self.write(bytes(60)))
        with self.digests.beside(PATH, file, ROOT):
            self.threads.finish()
        file.close()
        self.clock.advance(UNUSED_AFTER - 1)
        self.threads.finish()
        self.clock.advance(1)
        self.threads.finish()
        self.assertEqual(self.threads.running, [])
        self.assertIsNone(self.digests.known(file.facts))

    def test_no_descriptor(self) -> None:
        """If no descriptor is free, the file is sent without it."""

        def none(_: int) -> int:
            raise OSError(errno.EMFILE, "none")

        self.patch(os, "dup", none)
        with self.digests.beside(PATH, self.open(self.write(LARGE)), ROOT):
            self.assertEqual(self.threads.running, [])

    def test_interrupted(self) -> None:
        """A transfer that fails leaves the computation."""
        file = self.open(self.write(LARGE))

        def send() -> None:
            with self.digests.beside(PATH, file, ROOT):
                raise FileChanged

        self.assertRaises(FileChanged, send)
        self.threads.finish_all()
        self.assertEqual(self.digests.known(file.facts), sha256(LARGE))
