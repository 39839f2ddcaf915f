"""The client for Twisted meets the contract."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import TestCase

from chatfiles.client import AsyncClient
from tests.contract.client_case import TOKEN, WORKSPACE, ClientCase
from tests.contract.client_downloads import DownloadCases
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


class OperationTests(TwistedCase, OperationCases, TestCase):
    """Everything else."""
