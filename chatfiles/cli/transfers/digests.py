"""
Asks a workspace for the SHA-256 of a file, and compares it with what was received (RFC 9530).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

from chatfiles.cli.errors import CliError, Exit, untrusted
from chatfiles.cli.http.client import Client
from chatfiles.cli.http.response import Response
from chatfiles.cli.http.routes import operation_route
from chatfiles.cli.terminal.tables import as_object
from chatfiles.client.core.digests import WANTED
from chatfiles.rules.digest_fields import given_sha256

__all__ = ["WANTED", "DigestProgress", "DigestQuery", "check_digest", "digest_in"]

#: Maximum bytes of a response with a digest: a path has at most 4096 bytes, percent-encoded.
RESPONSE_LIMIT = 64 * 1024
#: Seconds to wait before the next question, unless the server sends a number; and the longest wait.
PAUSE, LONGEST_PAUSE = 2, 30

_HEXADECIMAL = re.compile(r"[0-9a-f]{64}")


class DigestProgress(Protocol):
    """Is notified of the progress of a computation."""

    def begin(self, done: int, total: int | None) -> None:
        """The workspace has read *done* bytes of *total*."""

    def advance(self, count: int) -> None:
        """It has read *count* more bytes."""


def digest_in(response: Response) -> str | None:
    """:return: the SHA-256 in ``Repr-Digest``, in hexadecimal; ``None`` if there is none."""
    sha256 = given_sha256([response.header("Repr-Digest").encode("latin-1")])
    return None if sha256 is None else sha256.hex()


class DigestQuery:
    """
    Asks for digests, and asks again while a workspace computes one.

    :param client: sends the requests.
    :param workspace: its id.
    :param progress: is notified while the workspace computes.
    :param pause: sleeps for a number of seconds.
    """

    def __init__(
        self,
        client: Client,
        workspace: str,
        progress: DigestProgress,
        pause: Callable[[float], object],
    ) -> None:
        self._client = client
        self._workspace = workspace
        self._progress = progress
        self._pause = pause

    def ask(self, path: bytes, etag: str | None = None) -> str:
        """
        :param path: the virtual path.
        :param etag: the version that is wanted; ``None`` for the present one.
        :return: the SHA-256 of the file, in hexadecimal.
        :raise CliError: there is no digest, or the file has another version now.
        """
        route = operation_route(self._workspace, "digest", path)
        headers = {"Accept": "application/json"} | ({"If-Match": etag} if etag else {})
        done = None
        while True:
            with self._client.open("GET", route, headers=headers) as response:
                if response.status not in (200, 202):
                    raise self._refusal(response)
                answer = as_object(response.json(RESPONSE_LIMIT))
                wait = response.header("Retry-After")
            if response.status == 200:
                return _sha256(answer)
            done = self._computing(answer, done)
            self._pause(min(int(wait) if wait.isdecimal() else PAUSE, LONGEST_PAUSE))

    def _computing(self, answer: dict[str, Any], before: int | None) -> int:
        """:return: how many bytes the workspace has read; *before* is the last such number."""
        done, size = answer.get("done"), answer.get("size")
        if not isinstance(done, int) or not isinstance(size, int):
            raise untrusted("it does not say how much has been computed")
        if before is None or done < before:
            self._progress.begin(done, size)
        else:
            self._progress.advance(done - before)
        return done

    def _refusal(self, response: Response) -> CliError:
        if response.status == 412:
            return CliError(
                "the file has changed since it was downloaded, so it cannot be verified",
                Exit.INCOMPLETE,
                hint="run the command again",
            )
        return self._client.refusal(response)


def check_digest(received: str, expected: str) -> None:
    """
    Compare two SHA-256 in hexadecimal.

    :param received: that of the bytes that were downloaded.
    :param expected: the workspace's.
    :raise CliError: they differ.
    """
    if received != expected:
        raise CliError(
            f"downloaded bytes do not match sha256 {expected}",
            Exit.INCOMPLETE,
            hint=f"their SHA-256 is {received}; do not use them",
        )


def _sha256(answer: dict[str, Any]) -> str:
    value = answer.get("sha256")
    if not isinstance(value, str) or not _HEXADECIMAL.fullmatch(value):
        raise untrusted("it has no SHA-256")
    return value
