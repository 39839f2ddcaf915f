"""
Downloads one file, with as many requests as necessary.

An interrupted transfer continues where it stopped only if the server can prove that the rest
belongs to the same version of the file: ``Range`` with ``If-Range`` and a strong validator
(RFC 9110, 13.1.5).  Otherwise it starts again from the beginning.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote_from_bytes

from chatfiles.cli.errors import CliError, untrusted
from chatfiles.cli.http.client import Client
from chatfiles.cli.http.response import Response
from chatfiles.cli.transfers.digests import WANTED, digest_in
from chatfiles.cli.transfers.output_file import Sink
from chatfiles.cli.transfers.partial_record import PartialRecord, Version
from chatfiles.cli.transfers.retries import DEFAULT_RETRIES, pause_after

__all__ = ["Download", "Progress", "download_route"]

_STRONG = re.compile(r'"[\x21\x23-\x7e]*"')
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


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
    :return: the route below the platform's base URL.
    """
    return f"/workspaces/{workspace}/chat/download?path={quote_from_bytes(path, safe='/')}"


class Download:
    """
    The download of one file.

    :param client: sends the requests.
    :param route: see `download_route`.
    :param sink: receives the bytes.
    :param progress: is notified of each step.
    :param pause: sleeps for a number of seconds.
    :param resumed: the beginning of the file, which the sink holds already.
    :param digest: whether to ask for the digest of the file.
    :ivar received: bytes that the sink holds.
    :ivar etag: the validator of the version that was received, strong or weak; empty if it has
        none.
    :ivar strong_etag: the same if it is strong, else ``None``.
    :ivar sha256: the digest of that version as the server announced it; ``None`` if it did not.
    """

    def __init__(
        self,
        client: Client,
        route: str,
        sink: Sink,
        progress: Progress,
        pause: Callable[[float], object],
        resumed: PartialRecord | None = None,
        *,
        digest: bool = False,
    ) -> None:
        self._client = client
        self._route = route
        self._sink = sink
        self._progress = progress
        self._pause = pause
        self.strong_etag = None if resumed is None else resumed.etag
        self._total = None if resumed is None else resumed.total
        self._has_begun = False
        self._continues = False
        self._headers = WANTED if digest else {}
        self.received = 0 if resumed is None else resumed.size
        self.etag = self.strong_etag or ""
        self.sha256: str | None = None

    @property
    def version(self) -> Version | None:
        """The version of the file that was received, if another request can continue it."""
        if self.strong_etag is None or self._total is None:
            return None
        return Version(self.strong_etag, self._total)

    def run(self, retries: int | None) -> None:
        """
        Fetch the whole file.

        :param retries: how many retries in a row are made after transient errors.  An attempt that
            continued the same version and received more of it resets the count.  ``None`` means
            `DEFAULT_RETRIES`, but no retry before a first response has begun.
        :raise CliError: the file was not received completely.
        """
        most = DEFAULT_RETRIES if retries is None else retries
        failures = 0
        while True:
            before = self.received
            try:
                return self._attempt()
            except CliError as error:
                if self._continues and before < self.received:
                    failures = 0
                may_retry = self._has_begun or retries is not None
                if not (error.transient and may_retry and failures < most):
                    raise
                pause = pause_after(error, failures)
                self._progress.retrying(error, pause)
                self._pause(pause)
                failures += 1

    def _attempt(self) -> None:
        self._continues = False
        headers = dict(self._headers)
        resumes = False
        if self.received and self.strong_etag and self._total is not None:
            headers |= {"Range": f"bytes={self.received}-", "If-Range": self.strong_etag}
            resumes = True
        with self._client.open("GET", self._route, headers=headers) as response:
            if response.status == 206 and resumes:
                self._continue(response)
            elif response.status == 200:
                self._begin(response)
            else:
                raise self._client.refusal(response)
            self.sha256 = digest_in(response)
            coding = response.header("Content-Encoding", "identity")
            if coding.lower() != "identity":
                raise untrusted("it is encoded, which was not asked for")
            self._progress.begin(self.received, self._total)
            for piece in response.body():
                self._sink.write(piece)
                self.received += len(piece)
                self._progress.advance(len(piece))
            # A chunked body announces no length.  Its range did.
            if self._total is not None and self.received != self._total:
                raise untrusted("its body is not as long as its range")

    def _begin(self, response: Response) -> None:
        self._has_begun = True
        total = response.length
        if self.received:
            self._sink.restart()
            self._progress.starting_over()
            self.received = 0
        self.etag = response.header("ETag")
        self.strong_etag = self.etag if _STRONG.fullmatch(self.etag) else None
        self._total = total

    def _continue(self, response: Response) -> None:
        match = _RANGE.fullmatch(response.header("Content-Range"))
        if match is None or response.header("ETag") != self.strong_etag:
            raise untrusted("it is a part of something, but not of this version of the file")
        first, last, total = (int(number) for number in match.groups())
        if first != self.received or last != total - 1 or total != self._total:
            raise untrusted("it is another part of the file than was asked for")
        if response.length not in (None, total - first):
            raise untrusted("its length and its range disagree")
        self._continues = self._has_begun = True
