"""
One file on its way down, over as many requests as it takes.

A transfer that was cut goes on where it stopped only if the server can prove that the rest belongs
to the same version: ``Range`` with ``If-Range`` and a strong validator (RFC 9110, 13.1.5).
Anything else begins again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Protocol
from urllib.parse import quote_from_bytes

from chatfiles.cli.errors import CliError
from chatfiles.cli.http.client import Client
from chatfiles.cli.http.response_body import announced_length, pieces, untrusted
from chatfiles.cli.transfers.output_file import Sink

__all__ = ["DEFAULT_RETRIES", "Progress", "Transfer", "download_route"]

#: How often it is tried again, one time after the other, unless the person says.
DEFAULT_RETRIES = 3
#: Seconds between two attempts: twice as long each time, up to this.
LONGEST_PAUSE = 30

_STRONG = re.compile(r'"[\x21\x23-\x7e]*"')
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class Progress(Protocol):
    """Whoever wants to know how far a transfer is."""

    def begin(self, received: int, total: int | None) -> None:
        """An answer has begun: *received* bytes are here already, of *total* if known."""

    def advance(self, count: int) -> None:
        """*count* more bytes have been written."""

    def retrying(self, error: CliError, pause: int) -> None:
        """An attempt has failed; another will be made in *pause* seconds."""


def download_route(workspace: str, path: bytes) -> str:
    """
    :param workspace: its id.
    :param path: the virtual path, as bytes.
    :return: the route below the platform's base URL.
    """
    return f"/workspaces/{workspace}/chat/download?path={quote_from_bytes(path, safe='/')}"


class Transfer:
    """
    :param route: see `download_route`.
    :param sink: where the bytes go.
    :param pause: sleeps for a number of seconds.
    """

    def __init__(
        self,
        client: Client,
        route: str,
        sink: Sink,
        progress: Progress,
        pause: Callable[[float], object],
    ) -> None:
        self._client = client
        self._route = route
        self._sink = sink
        self._progress = progress
        self._pause = pause
        self._etag: str | None = None
        self._total: int | None = None
        self._has_begun = False
        self._goes_on = False
        self.received = 0

    def run(self, retries: int | None) -> None:
        """
        :param retries: how many more attempts are made, one after the other, when one fails for a
            passing reason; one that brought more of the same version counts anew.  ``None``:
            `DEFAULT_RETRIES`, and none before a first answer has begun.
        :raise CliError: the bytes did not come, or not all.
        """
        most = DEFAULT_RETRIES if retries is None else retries
        failures = 0
        while True:
            before = self.received
            try:
                return self._attempt()
            except CliError as error:
                if self._goes_on and before < self.received:
                    failures = 0
                may_retry = self._has_begun or retries is not None
                if not (error.transient and may_retry and failures < most):
                    raise
                pause = min(error.retry_after or 2**failures, LONGEST_PAUSE)
                self._progress.retrying(error, pause)
                self._pause(pause)
                failures += 1

    def _attempt(self) -> None:
        self._goes_on = False
        headers: dict[str, str] = {}
        if self.received and self._etag and self._total is not None:
            headers = {"Range": f"bytes={self.received}-", "If-Range": self._etag}
        with self._client.open("GET", self._route, headers=headers) as response:
            if response.status == 206 and headers:
                self._go_on(response)
            elif response.status == 200:
                self._begin(response)
            else:
                raise self._client.refusal(response)
            coding = response.headers.get("Content-Encoding", "identity")
            if coding.strip().lower() != "identity":
                raise untrusted("it is encoded, which was not asked for")
            self._progress.begin(self.received, self._total)
            for piece in pieces(response):
                self._sink.write(piece)
                self.received += len(piece)
                self._progress.advance(len(piece))

    def _begin(self, response: HTTPResponse) -> None:
        self._has_begun = True
        if self.received:
            self._sink.restart()
            self.received = 0
        etag = response.headers.get("ETag", "")
        self._etag = etag if _STRONG.fullmatch(etag) else None
        self._total = announced_length(response)

    def _go_on(self, response: HTTPResponse) -> None:
        match = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if match is None or response.headers.get("ETag") != self._etag:
            raise untrusted("it is a part of something, but not of this version of the file")
        first, last, total = (int(number) for number in match.groups())
        if first != self.received or last != total - 1 or total != self._total:
            raise untrusted("it is another part of the file than was asked for")
        if announced_length(response) not in (None, total - first):
            raise untrusted("its length and its range disagree")
        self._goes_on = True
