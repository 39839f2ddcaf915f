"""
Receives the content of one file, with as many requests as necessary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from chatfiles.client.core.answers import refusal
from chatfiles.client.core.errors import Changed, ClientError, Incomplete
from chatfiles.client.core.progress import Progress
from chatfiles.client.core.steps import Receive, Request, Response, Send, Steps
from chatfiles.client.core.versions import NothingFollows, OtherPart, Versions

__all__ = ["Again", "Fetch", "Sink"]


class Again(Protocol):
    """Decides about a request that has failed; see `Retries`."""

    def again(self, error: ClientError) -> Steps[None]:
        """
        Wait until the request may be sent again.

        :raise ClientError: *error*, if it may not.
        """


class Sink(Protocol):
    """What receives the bytes of a file."""

    def begin(self, versions: Versions, response: Response) -> Steps[None]:
        """A response has been accepted, whose bytes follow those that were received."""

    def write(self, piece: bytes) -> Steps[None]:
        """Take the next bytes."""

    def restart(self) -> Steps[None]:
        """
        Discard the bytes that were taken.

        :raise Changed: that is not possible.
        """


class Fetch:
    """
    The transfer of one file.

    :param route: of the file.
    :param versions: what is wanted, and what an earlier transfer has left.
    :param sink: receives the bytes.
    :param retries: of the call.
    :param now: returns seconds since the epoch.
    :param headers: more for each request.
    :param progress: is notified of each piece.
    :ivar attempts: how many requests were sent.
    """

    def __init__(
        self,
        route: str,
        versions: Versions,
        sink: Sink,
        retries: Again,
        now: Callable[[], float],
        headers: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._route = route
        self._versions = versions
        self._sink = sink
        self._retries = retries
        self._now = now
        self._headers = headers or {}
        self._progress = progress or Progress(None)
        self.attempts = 0

    def run(self) -> Steps[None]:
        """
        Receive everything.

        :raise ClientError: not everything was received.
        """
        while True:
            try:
                return (yield from self._attempt_or_end())
            except OtherPart as error:
                if not self._versions.may_restart:
                    raise Changed(str(error)) from error
                yield from self._restart()
                self._versions.discard()
            except ClientError as error:
                if isinstance(error, Incomplete):
                    error.done, error.total = self._versions.received, self._versions.size
                yield from self._retries.again(error)

    def _attempt_or_end(self) -> Steps[None]:
        try:
            yield from self._attempt()
        except NothingFollows:
            if not (yield from self._has_everything()):
                raise

    def _attempt(self) -> Steps[None]:
        versions = self._versions
        self.attempts += 1
        request = Request("GET", self._route, {**versions.headers(), **self._headers})
        with (yield Send(request)) as response:
            if response.status not in (200, 206):
                error = yield from refusal(response, self._now())
                raise versions.refused(response, error)
            if versions.accept(response):
                yield from self._restart()
            yield from self._sink.begin(versions, response)
            while piece := (yield Receive(response)):
                versions.check_fits(len(piece))
                yield from self._sink.write(piece)
                versions.received += len(piece)
                self._progress.at(versions.received, versions.size)
            versions.check_end()

    def _has_everything(self) -> Steps[bool]:
        """
        :return: whether an earlier transfer ended behind the last byte.  A 416 alone does not prove
            it: not every server knows ``If-Range``.
        """
        request = Request("HEAD", self._route, {"If-Match": str(self._versions.etag)})
        with (yield Send(request)) as response:
            if response.status >= 400:
                error = yield from refusal(response, self._now())
                if error.transient:
                    raise error
            is_whole = self._versions.is_whole(response)
            if is_whole:
                yield from self._sink.begin(self._versions, response)
            return is_whole

    def _restart(self) -> Steps[None]:
        yield from self._sink.restart()
        self._progress.restart()
