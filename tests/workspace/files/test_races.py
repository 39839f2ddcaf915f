"""
Races: while files are being opened, another process exchanges a part of their path for a symlink
that leads outside.  ``CHATFILES_SOAK=1`` runs the long version.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.errors import ChatfilesError, NotADirectory, NotARegularFile, ReadFailed, Unavailable
from chatfiles.posix.openat2 import (
    Mechanism,
    WouldWait,
    best_mechanism,
    by_cache,
    by_openat2,
    by_walk,
    cache_answers,
)
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.files.walk import Walk
from tests.contract.file_store import (
    Symlink,
    answers_at_once,
    build,
    content,
    scratch,
    virtual,
)
from tests.workspace.files.test_open_beneath import read_beneath

SOAK = os.environ.get("CHATFILES_SOAK") == "1"
SWAPS = 100_000 if SOAK else 20_000
SECONDS = 600.0 if SOAK else 3.0
ATTEMPTS = 500

_EXCHANGE = 2
_HERE = -100  # AT_FDCWD
_PDEATHSIG = 1  # PR_SET_PDEATHSIG


def exchange(one: bytes, other: bytes) -> None:
    """Exchange two names in one step (``renameat2``)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_HERE, one, _HERE, other, _EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@contextmanager
def swapping(one: bytes, other: bytes) -> Iterator[Callable[[], int]]:
    """
    Exchange two names repeatedly, in a separate process.

    :return: a callable that gives how often that has been done.
    """
    try:
        exchange(one, other)
    except (OSError, AttributeError) as error:
        raise SkipTest(f"names cannot be exchanged here: {error}") from None
    count = mmap.mmap(-1, 8)
    parent = os.getpid()
    child = os.fork()
    if not child:
        try:
            libc, done = ctypes.CDLL(None), 0
            libc.prctl(_PDEATHSIG, signal.SIGKILL)  # ends with a test that is killed
            while os.getppid() == parent:  # the test may have been killed before prctl
                for _ in range(64):
                    libc.renameat2(_HERE, one, _HERE, other, _EXCHANGE)
                done += 64
                count[:] = struct.pack("q", done)
        finally:
            os._exit(0)
    try:
        yield lambda: int(struct.unpack("q", count[:])[0])
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


class _Race(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = scratch(self)
        build(
            self.top,
            {
                b"root/dir/f": b"inside",
                b"root/leaf": b"inside",
                b"outside/f": b"SECRET",
                b"to_file": Symlink(self.top + b"/outside/f"),
                b"to_dir": Symlink(self.top + b"/outside"),
            },
        )

    def race(
        self, one: bytes, other: bytes, path: bytes, attempt: Callable[[], object]
    ) -> Counter[object]:
        """
        Try *attempt* while *one* and *other* are exchanged.

        :param path: what *attempt* opens; it is also opened without care.
        :return: how often each result occurred; under ``"careless"``, how often opening without
            care led outside.
        """
        results: Counter[object] = Counter()
        with swapping(self.top + one, self.top + other) as swaps:
            deadline = time.monotonic() + SECONDS
            tried = 0
            while (tried < ATTEMPTS or swaps() < SWAPS) and time.monotonic() < deadline:
                tried += 1
                results[attempt()] += 1
                try:
                    with open(self.top + path, "rb") as file:
                        results["careless"] += file.read() == b"SECRET"
                except OSError:
                    results["lost"] += 1
        return results


class _Mechanisms(_Race):
    mechanism: Mechanism

    def beneath(self, other: bytes, name: bytes, path: bytes) -> None:
        root = os.open(self.top + b"/root", os.O_PATH | os.O_DIRECTORY)
        self.addCleanup(os.close, root)
        results = self.race(
            b"/root/" + name,
            other,
            b"/root/" + path,
            lambda: self.read(root, path),
        )
        self.assertGreater(results.pop("careless"), 0)  # the exchange is effective
        results.pop("lost", None)
        # Never the secret, but both sides of the exchange; a busy directory is possible.
        results.pop(Unavailable, None)
        results.pop(WouldWait, None)
        self.assertEqual(set(results), {b"inside", NotARegularFile})

    def read(self, root: int, path: bytes) -> object:
        return read_beneath(root, path, self.mechanism)

    def test_leaf(self) -> None:
        """A file that becomes a symlink between two checks is not read through it."""
        self.beneath(b"/to_file", b"leaf", b"leaf")

    def test_parent(self) -> None:
        """A directory that becomes a symlink between two checks is not passed through."""
        self.beneath(b"/to_dir", b"dir", b"dir/f")


class OpenAt2RaceTests(_Mechanisms):
    """Races with openat2: the kernel resolves the path."""

    mechanism = staticmethod(by_openat2)
    if best_mechanism() is not by_openat2:
        skip = "openat2 is not available here"


class WalkRaceTests(_Mechanisms):
    """Races with one ``openat`` per segment."""

    mechanism = staticmethod(by_walk)


class CacheRaceTests(_Mechanisms):
    """Races with openat2 from the kernel's cache alone."""

    mechanism = staticmethod(by_cache)
    if not cache_answers():
        skip = "this kernel does not open from its cache alone"

    def read(self, root: int, path: bytes) -> object:
        try:
            return super().read(root, path)
        except WouldWait:
            return WouldWait


class StoreRaceTests(_Race):
    """Races with the whole store."""

    def at_once(self, name: bytes, other: bytes, path: bytes) -> None:
        if not answers_at_once(self.top):
            raise SkipTest("the temporary directory is on no file system that answers at once")
        store = FileStore({b"/workspace": self.top + b"/root"}, DenyRules())
        self.addCleanup(store.close)
        store.open(virtual(b"/workspace/" + path)).close()

        def attempt() -> object:
            try:
                with store.open_at_once(virtual(b"/workspace/" + path)) as file:
                    return content(file)
            except (ChatfilesError, WouldWait) as error:
                return type(error)

        self.assertEqual(attempt(), b"inside")
        results = self.race(b"/root/" + name, other, b"/root/" + path, attempt)
        self.assertGreater(results.pop("careless"), 0)
        for passing in ("lost", Unavailable, WouldWait):
            results.pop(passing, None)
        self.assertEqual(set(results), {b"inside", NotARegularFile})

    def test_leaf_at_once(self) -> None:
        """A file that becomes a symlink is not read through it on the reactor's thread."""
        self.at_once(b"leaf", b"/to_file", b"leaf")

    def test_parent_at_once(self) -> None:
        """A directory that becomes a symlink is not passed through on the reactor's thread."""
        self.at_once(b"dir", b"/to_dir", b"dir/f")

    def listing(self, list_names: Callable[[FileStore], list[bytes]]) -> None:
        build(self.top, {b"outside/EVIDENCE": b""})
        store = FileStore({b"/workspace": self.top + b"/root"}, DenyRules())
        self.addCleanup(store.close)

        def attempt() -> object:
            try:
                return b"EVIDENCE" in list_names(store)
            except ChatfilesError as error:
                return type(error)

        results = self.race(b"/root/dir", b"/to_dir", b"/root/dir/f", attempt)
        self.assertGreater(results.pop("careless"), 0)
        for passing in ("lost", Unavailable):
            results.pop(passing, None)
        self.assertLessEqual(set(results), {False, NotADirectory})
        self.assertIn(False, results)

    def test_listed(self) -> None:
        """A directory that becomes a symlink is not listed through it."""

        def list_names(store: FileStore) -> list[bytes]:
            with store.open_directory(virtual(b"/workspace/dir")) as directory:
                return list(directory.names())

        self.listing(list_names)

    def test_walked(self) -> None:
        """A walk does not enter a directory that becomes a symlink."""

        def list_names(store: FileStore) -> list[bytes]:
            walk = Walk(store.open_directory(virtual(b"/workspace")), 2)
            try:
                return [each.found.name for each in walk if each]
            finally:
                walk.close()

        self.listing(list_names)

    def test_root(self) -> None:
        """A root that becomes a symlink while the role runs is not followed."""
        os.rename(self.top + b"/to_dir", self.top + b"/planted")
        os.rename(self.top + b"/root/dir", self.top + b"/ws")
        store = FileStore({b"/workspace": self.top + b"/ws"}, DenyRules())
        self.addCleanup(store.close)

        def attempt() -> object:
            try:
                with store.open(virtual(b"/workspace/f")) as file:
                    return content(file)
            except ChatfilesError as error:
                return type(error)

        results = self.race(b"/ws", b"/planted", b"/ws/f", attempt)
        self.assertGreater(results.pop("careless"), 0)
        results.pop("lost", None)
        self.assertEqual(set(results), {b"inside", ReadFailed})


del _Mechanisms, _Race
