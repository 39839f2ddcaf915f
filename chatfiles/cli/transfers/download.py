"""
Downloads one file, with as many requests as necessary.

What is asked for, and which response continues what has arrived, is decided by
`chatfiles.client.core`.
"""

from __future__ import annotations

from typing import Protocol

from chatfiles.cli.errors import CliError
from chatfiles.cli.http.client import Client
from chatfiles.cli.transfers.output_file import Sink
from chatfiles.cli.transfers.partial_record import PartialRecord, Version
from chatfiles.cli.transfers.retries import DEFAULT_RETRIES, pause_after
from chatfiles.client.core.digests import WANTED, announced_sha256
from chatfiles.client.core.errors import BadAnswer, ClientError
from chatfiles.client.core.fetch import Fetch
from chatfiles.client.core.names import route
from chatfiles.client.core.steps import Response, Sleep, Steps
from chatfiles.client.core.versions import OtherPart, Span, Versions, is_strong

__all__ = ["Download", "Progress", "download_route"]


class Progress(Protocol):
    """Is notified of the progress of a transfer."""

    def begin(self, received: int, total: int | None) -> None:
        """
        A response has begun.

        :param received: bytes that have been written already.
        :param total: bytes of the whole file; ``None`` if not known.
        """

    def advance(self, count: int) -> None:
        """*count* more bytes have been written."""

    def retrying(self, error: CliError, pause: int) -> None:
        """An attempt has failed with *error*; the next one begins in *pause* seconds."""

    def starting_over(self) -> None:
        """The whole file is sent again: it has changed, or the server cannot resume."""


def download_route(workspace: str, path: bytes) -> str:
    """
    :param workspace: its id.
    :param path: the virtual path, as bytes.
    :return: the route below the platform's base URL, which every workspace has.
    """
    return route(workspace, "chat/download", path)


class _Versions(Versions):
    """Does not ask again if a server sends another part than the one that it was asked for."""

    def accept(self, response: Response) -> bool:
        """See `Versions`."""
        try:
            return super().accept(response)
        except OtherPart as error:
            raise BadAnswer(f"the response is not the rest of this version: {error}") from error


class Download:
    """
    The download of one file.

    :param client: sends the requests.
    :param route: see `download_route`.
    :param sink: receives the bytes.
    :param progress: is notified of each step.
    :param resumed: the beginning of the file, which the sink holds already.
    :param digest: whether to ask for the digest of the file.
    :ivar sha256: the digest of the version that was received, as the server announced it; ``None``
        if it did not.
    :ivar version: the version whose bytes the sink holds, if another request can continue it.
    """

    def __init__(
        self,
        client: Client,
        route: str,
        sink: Sink,
        progress: Progress,
        resumed: PartialRecord | None = None,
        *,
        digest: bool = False,
    ) -> None:
        self._client = client
        self._route = route
        self._sink = sink
        self._progress = progress
        self._headers = WANTED if digest else None
        self._versions = _Versions(Span())
        self.version: Version | None = None
        if resumed is not None:
            self.version = resumed.version
            self._versions = _Versions(
                Span(), etag=resumed.etag, received=resumed.size, total=resumed.total
            )
        self.sha256: str | None = None

    @property
    def received(self) -> int:
        """Bytes that the sink holds."""
        return self._versions.received

    @property
    def etag(self) -> str:
        """The validator of the version that was received, strong or weak; empty without one."""
        return self._versions.etag or ""

    @property
    def strong_etag(self) -> str | None:
        """The same if it is strong, else ``None``."""
        return self.etag if is_strong(self.etag) else None

    def run(self, retries: int | None) -> None:
        """
        Fetch the whole file.

        :param retries: how many retries in a row are made after transient errors.  An attempt that
            continued the same version and received more of it resets the count.  ``None`` means
            `DEFAULT_RETRIES`, but no retry before a first response has begun.
        :raise CliError: the file was not received completely.
        """
        again = _Again(self._client, self._versions, self._progress, retries)
        receiver = _Receiver(self, self._sink, self._progress, again)
        fetch = Fetch(self._route, self._versions, receiver, again, self._client.now, self._headers)
        self._client.run(fetch.run())


class _Again:
    """
    When an attempt is made again, see `Download.run`.

    :ivar has_begun: whether there was a response.
    :ivar continued_at: the bytes that had been received when the last response began.
    """

    def __init__(
        self, client: Client, versions: Versions, progress: Progress, retries: int | None
    ) -> None:
        self._client = client
        self._versions = versions
        self._progress = progress
        self._most = DEFAULT_RETRIES if retries is None else retries
        self._failures = 0
        self.has_begun = retries is not None
        self.continued_at = 0

    def again(self, error: ClientError) -> Steps[None]:
        """Wait until the next attempt; raise *error* if there is none."""
        if 0 < self.continued_at < self._versions.received:
            self._failures = 0
        self.continued_at = 0
        known = self._client.errors.of(error)
        if not (known.transient and self.has_begun and self._failures < self._most):
            raise error
        pause = pause_after(known, self._failures)
        self._failures += 1
        self._progress.retrying(known, pause)
        yield Sleep(pause)


class _Receiver:
    """What receives the bytes for the client library."""

    def __init__(self, download: Download, sink: Sink, progress: Progress, again: _Again) -> None:
        self._download = download
        self._sink = sink
        self._progress = progress
        self._again = again

    def begin(self, versions: Versions, response: Response) -> Steps[None]:
        """A response has been accepted."""
        self._again.has_begun, self._again.continued_at = True, versions.received
        self._download.sha256 = announced_sha256(response)
        etag = self._download.strong_etag
        if etag is not None and versions.size is not None:
            self._download.version = Version(etag, versions.size)
        self._progress.begin(versions.received, versions.size)
        yield from ()

    def write(self, piece: bytes) -> Steps[None]:
        """Take the next bytes."""
        self._sink.write(piece)
        self._progress.advance(len(piece))
        yield from ()

    def restart(self) -> Steps[None]:
        """Discard the bytes that were taken."""
        self._download.version = None  # a signal may come before the sink is empty
        self._sink.restart()
        self._progress.starting_over()
        yield from ()
