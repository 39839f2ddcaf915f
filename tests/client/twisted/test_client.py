"""The client for Twisted meets the contract."""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatfiles.client import AsyncClient
from tests.contract.client_cancellation import FILE, CancellationCase, endless
from tests.contract.client_case import TOKEN, WORKSPACE, ClientCase
from tests.contract.client_downloads import DownloadCases
from tests.contract.client_hostile import HostileCases
from tests.contract.client_operations import ArchiveCases, ListingCases, OperationCases
from tests.contract.client_reading import ReadingCases, StreamCases
from tests.contract.client_uploads import UploadCases


class TwistedCase(ClientCase):
    """Makes clients for Twisted."""

    is_asynchronous = True

    def new(self, url: str, token: Any = TOKEN, workspace: Any = WORKSPACE, **options: Any) -> Any:
        """See `ClientCase`."""
        client = AsyncClient(url, token, workspace=workspace, reactor=reactor, **options)
        client._driver.pause = self.pause
        self.addCleanup(lambda: Deferred.fromCoroutine(client.close()))
        return client

    def pause(self, seconds: float) -> Deferred[None]:
        """Record a pause."""
        self.pauses.append(seconds)
        return succeed(None)


class ReadingTests(TwistedCase, ReadingCases, TestCase):
    """Reading."""


class StreamTests(TwistedCase, StreamCases, TestCase):
    """Streams."""


class DownloadTests(TwistedCase, DownloadCases, TestCase):
    """Downloads."""


class UploadTests(TwistedCase, UploadCases, TestCase):
    """Uploads."""


class ListingTests(TwistedCase, ListingCases, TestCase):
    """Listings."""


class ArchiveTests(TwistedCase, ArchiveCases, TestCase):
    """Archives."""


class HostileTests(TwistedCase, HostileCases, TestCase):
    """Platforms that mean harm."""


class OperationTests(TwistedCase, OperationCases, TestCase):
    """Everything else."""


class CancellationTests(TwistedCase, CancellationCase, TestCase):
    """Transfers whose Deferred is cancelled at random moments."""

    async def transfer(self, client: AsyncClient, kind: str) -> None:
        """Transfer something that never ends."""
        if kind == "download":
            await client.download(FILE, self.path("x"), verify=True)
        elif kind == "upload":
            await client.upload(endless())
        elif kind == "stream":
            async for _ in client.stream(FILE):
                pass
        else:
            client._driver.pause = lambda _: Deferred()
            await client.digest(FILE)

    async def test_cancelled(self) -> None:
        """The connection and the files are closed."""
        client = self.client(self.platform)
        for kind in self.kinds():
            transfer = self.begin(self.transfer(client, kind))
            await deferLater(reactor, self.random.uniform(0, 0.02))
            transfer.cancel()
            with self.assertRaises(CancelledError):
                await transfer
        await client.close()
        self.check()

    async def test_closed(self) -> None:
        """The client is closed meanwhile."""
        self.client(self.platform)
        for kind in self.kinds():
            client = self.new(self.server.url)
            transfer = self.begin(self.transfer(client, kind))
            await deferLater(reactor, self.random.uniform(0, 0.02))
            await client.close()
            with self.assertRaises(RuntimeError):
                await transfer
        self.check()


class AsyncioTests(SynchronousTestCase):
    """A program that runs asyncio, and not the reactor."""

    def test_refused(self) -> None:
        """The client says at once why it cannot work there; it can with a reactor that is given."""

        async def make(**options: Any) -> None:
            AsyncClient("http://h", TOKEN, workspace=WORKSPACE, **options)

        self.patch(reactor, "running", False)
        error = self.assertRaises(RuntimeError, asyncio.run, make())
        self.assertIn("asyncio.to_thread", str(error))
        asyncio.run(make(reactor=reactor))
        AsyncClient("http://h", TOKEN, workspace=WORKSPACE)  # before the reactor runs
