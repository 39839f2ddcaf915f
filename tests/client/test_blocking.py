"""The client that blocks meets the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from twisted.trial.unittest import TestCase

from chatfiles.client import Client
from tests.contract.client_case import TOKEN, WORKSPACE, ClientCase
from tests.contract.client_downloads import DownloadCases
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


class OperationTests(BlockingCase, OperationCases, TestCase):
    """Everything else."""
