"""The client that blocks meets the contract."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from twisted.trial.unittest import TestCase

from chatfiles.client import Client
from tests.contract.client_cancellation import FILE, CancellationCase, Stop, endless
from tests.contract.client_case import TOKEN, WORKSPACE, ClientCase
from tests.contract.client_downloads import DownloadCases
from tests.contract.client_hostile import HostileCases
from tests.contract.client_operations import ArchiveCases, ListingCases, OperationCases
from tests.contract.client_reading import ReadingCases, StreamCases
from tests.contract.client_uploads import UploadCases

ITERATORS = ("list", "walk", "stream")


class Awaited:
    """A `Client` whose methods can be awaited, like those of an `AsyncClient`."""

    def __init__(self, client: Client) -> None:
        self.blocking = client

    def __repr__(self) -> str:
        return repr(self.blocking)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.blocking, name)
        if name in ITERATORS:
            return lambda *args, **options: iterated(method(*args, **options))

        async def call(*args: Any, **options: Any) -> Any:
            return method(*args, **options)

        return call


async def iterated(iterator: Any) -> AsyncIterator[Any]:
    """:return: an iterator as an asynchronous one."""
    try:
        for each in iterator:
            yield each
    finally:
        iterator.close()


class BlockingCase(ClientCase):
    """Makes clients that block."""

    def new(self, url: str, token: Any = TOKEN, workspace: Any = WORKSPACE, **options: Any) -> Any:
        """See `ClientCase`."""
        client = Client(url, token, workspace=workspace, **options)
        pause: Callable[[float], object] = self.pauses.append
        client._driver.pause = pause
        self.addCleanup(client.close)
        return Awaited(client)


class ReadingTests(BlockingCase, ReadingCases, TestCase):
    """Reading."""


class StreamTests(BlockingCase, StreamCases, TestCase):
    """Streams."""


class DownloadTests(BlockingCase, DownloadCases, TestCase):
    """Downloads."""


class UploadTests(BlockingCase, UploadCases, TestCase):
    """Uploads."""


class ListingTests(BlockingCase, ListingCases, TestCase):
    """Listings."""


class ArchiveTests(BlockingCase, ArchiveCases, TestCase):
    """Archives."""


class HostileTests(BlockingCase, HostileCases, TestCase):
    """Platforms that mean harm."""


class OperationTests(BlockingCase, OperationCases, TestCase):
    """Everything else."""


class CancellationTests(BlockingCase, CancellationCase, TestCase):
    """Transfers that end at random moments, in three ways."""

    def transfer(self, client: Client, kind: str, progress: Any = None) -> None:
        """Transfer something that never ends."""
        if kind == "download":
            client.download(FILE, self.path("x"), progress=progress, verify=True)
        elif kind == "upload":
            client.upload(endless(), progress=progress)
        elif kind == "stream":
            for piece in client.stream(FILE, chunk=1000):
                if progress is not None:
                    progress(len(piece), None)
        else:
            client._driver.pause = lambda _: progress(0, 0) if progress else None
            client.digest(FILE)

    def test_progress(self) -> None:
        """The caller's function raises an error."""
        client = self.client(self.platform).blocking
        for kind in self.kinds():
            left = self.random.choice((0, 0, 0, 0, 0, 0, 1))

            def progress(done: Any, total: Any) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Stop

            self.assertRaises(Stop, self.transfer, client, kind, progress)
            self.assertEqual(self.sockets(), 0, kind)
        self.check()

    def test_signal(self) -> None:
        """A signal raises an error, like Ctrl-C."""
        client = self.client(self.platform).blocking

        def stop(number: int, frame: object) -> None:
            raise Stop

        before = signal.signal(signal.SIGALRM, stop)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        for kind in self.kinds():
            # Again later: what is raised while Python collects garbage is lost.
            signal.setitimer(signal.ITIMER_REAL, self.random.uniform(0.0001, 0.02), 0.5)
            try:
                self.transfer(client, kind)
            except Stop:
                signal.setitimer(signal.ITIMER_REAL, 0)
        gc.collect()
        self.check()

    def test_closed(self) -> None:
        """Another thread closes the client."""
        self.client(self.platform)
        for kind in self.kinds():
            client = Client(self.server.url, TOKEN, workspace=WORKSPACE)
            timer = threading.Timer(self.random.uniform(0, 0.02), client.close)
            timer.start()
            self.assertRaises(RuntimeError, self.transfer, client, kind)
            timer.join()
        self.check()
