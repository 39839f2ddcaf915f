"""
Asks a workspace for the SHA-256 of a file, and shows how far its computation is (RFC 9530).
"""

from __future__ import annotations

from typing import Protocol

from chatfiles.cli.http.client import Client
from chatfiles.client.core.digests import digest_of_version

__all__ = ["DigestProgress", "ask_digest"]


class DigestProgress(Protocol):
    """Is notified of the progress of a computation."""

    def begin(self, done: int, total: int | None) -> None:
        """The workspace has read *done* bytes of *total*."""

    def advance(self, count: int) -> None:
        """It has read *count* more bytes."""


def ask_digest(
    client: Client, workspace: str, path: bytes, progress: DigestProgress, etag: str | None = None
) -> str:
    """
    :param workspace: its id.
    :param path: the virtual path.
    :param progress: is notified while the workspace computes.
    :param etag: the version that is wanted; ``None`` for the present one.
    :return: the SHA-256 of the file, in hexadecimal.
    :raise CliError: there is no digest, or the file has another version now.
    """
    before: int | None = None

    def computing(done: int, size: int) -> None:
        nonlocal before
        if before is None or done < before:
            progress.begin(done, size)
        else:
            progress.advance(done - before)
        before = done

    context = client.context(workspace)
    return client.run(digest_of_version(context, path, etag, computing))
