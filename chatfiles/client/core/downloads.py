"""
Downloads files to the disk: complete, of one version, and verified if the program wants it.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from chatfiles.client.core.context import Context
from chatfiles.client.core.digests import (
    WANTED,
    announced_sha256,
    check_sha256,
    digest_of_version,
)
from chatfiles.client.core.errors import DigestMismatch
from chatfiles.client.core.fetch import Fetch
from chatfiles.client.core.names import VirtualPath, condition, last_segment, path_bytes
from chatfiles.client.core.progress import Callback
from chatfiles.client.core.sinks import Destination, NamedFile, OpenFile
from chatfiles.client.core.steps import Response, Steps, local
from chatfiles.client.core.values import Downloaded
from chatfiles.client.core.versions import Span, Versions

__all__ = ["Target", "download", "place"]

#: Where a download goes: a path, or a binary file that is open for writing.
Target = str | os.PathLike[str] | BinaryIO


def download(
    context: Context,
    path: VirtualPath,
    to: Target,
    *,
    resume: bool,
    verify: bool,
    if_match: str | None,
    progress: Callback | None,
) -> Steps[Downloaded]:
    """:return: the operation ``download``."""
    raw = path_bytes(path)
    condition(if_match)
    return _Download(context, raw, if_match, verify, progress).run(to, resume=resume)


class _Download:
    def __init__(
        self,
        context: Context,
        path: bytes,
        if_match: str | None,
        verify: bool,
        progress: Callback | None,
    ) -> None:
        self._context = context
        self._path = path
        self._if_match = if_match
        self._verify = verify
        self._progress = context.progress(progress)

    def run(self, to: Target, *, resume: bool) -> Steps[Downloaded]:
        if hasattr(to, "write"):
            destination: Destination = OpenFile(cast("BinaryIO", to), hashes=self._verify)
            return (yield from self._into(destination, None, resume=False))
        name = os.fsdecode(self._path.rpartition(b"/")[2])
        target = yield from local(partial(place, cast("str", to), name))
        file = NamedFile(target, hashes=self._verify)
        return (yield from self._into(file, target, resume=resume))

    def _into(
        self, destination: Destination, target: str | None, *, resume: bool
    ) -> Steps[Downloaded]:
        try:
            received, etag = 0, None
            if resume:
                received, etag = yield from destination.take()
            if self._if_match not in (None, "*", etag):
                received, etag = 0, None  # it is not of a version that the program wants
            versions = Versions(Span(), self._if_match, etag=etag, received=received)
            sink = _Announced(destination)
            fetch = Fetch(
                self._context.route("fs/file", self._path),
                versions,
                sink,
                self._context.new_retries(),
                self._context.now,
                WANTED if self._verify else None,
                self._progress,
            )
            yield from fetch.run()
            sha256 = None
            if self._verify:
                sha256 = yield from self._verified(destination, sink.sha256, versions.etag)
            self._progress.end(versions.received)
            yield from destination.publish()
        finally:
            destination.close()
        return Downloaded(
            to=None if target is None else Path(target),
            size=versions.received,
            etag=versions.etag,
            sha256=sha256,
            attempts=fetch.attempts,
            resumed_from=0 if versions.restarted else received,
            restarted=versions.restarted,
        )

    def _verified(
        self, destination: Destination, expected: str | None, etag: str | None
    ) -> Steps[str]:
        if expected is None:
            expected = yield from digest_of_version(self._context, self._path, etag)
        actual = destination.sha256()
        try:
            check_sha256(expected, actual)
        except DigestMismatch:
            yield from destination.reject()
            raise
        return actual


class _Announced:
    """
    A destination, and the digest that responses announce.

    :ivar sha256: the digest, if the last response has one.
    """

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self.write = destination.write
        self.restart = destination.restart
        self.sha256: str | None = None

    def begin(self, versions: Versions, response: Response) -> Steps[None]:
        self.sha256 = announced_sha256(response)
        return self._destination.begin(versions, response)


def place(to: str | os.PathLike[str], name: str) -> str:
    """
    :param to: the path of a file or directory.
    :param name: of the file in a directory.
    :return: the path of the file.
    :raise ValueError: it is a directory, and the name is none.
    :raise FileNotFoundError: the directory of the file does not exist.
    """
    target = os.fsdecode(to)
    if target.endswith("/") or os.path.isdir(target):
        last_segment(os.fsencode(name))
        target = os.path.join(target, name)
    os.stat(os.path.dirname(target) or ".")
    return target
