"""
The client that blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self
from uuid import UUID

from chatfiles.client.blocking.driver import Driver
from chatfiles.client.core import (
    archives,
    digests,
    downloads,
    listing,
    reading,
    uploads,
    writes,
)
from chatfiles.client.core.context import Context
from chatfiles.client.core.names import VirtualPath, environment_options, required
from chatfiles.client.core.progress import Callback
from chatfiles.client.core.settings import Settings
from chatfiles.client.core.values import Digest, Downloaded, Entry, Manifest, Stored

__all__ = ["Client"]


class Client:
    """
    Files of one workspace, over the HTTP API of a platform.  Each method blocks until it is done.

    Threads may share a client.  It starts no thread and no reactor, and imports no Twisted.  As a
    context manager, it is closed at the end.  Every method may raise a `ClientError`; a method of
    a client that was closed raises `RuntimeError`.

    A path is absolute text, bytes, or a ``PurePosixPath``: a name, not a URL.  In text, surrogates
    (``surrogateescape``) are bytes that are not UTF-8.  A path that is not absolute, or has a NUL,
    is a `ValueError`, and no request is sent.

    :param base_url: of the platform, ``http`` or ``https``; it may have a path.
    :param token: a token of the workspace, or the `Path` of a file with it.
    :param workspace: the id of the workspace.
    :param ca: a file of certificate authorities to trust besides those of the machine, in PEM form.
    :param connect_timeout: seconds to connect.
    :param idle_timeout: seconds without progress after which a request has failed.
    :param retries: how often a call may send ``GET`` and ``HEAD`` requests again; nothing else is
        sent twice (reference/client, "Retries").
    :param trust_env: whether ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` have an effect.
    :raise ValueError: a parameter is not valid; the text does not contain the token.
    :raise OSError: a file cannot be read.
    """

    def __init__(
        self,
        base_url: str,
        token: str | Path,
        *,
        workspace: UUID | str,
        ca: Path | None = None,
        connect_timeout: float = 5,
        idle_timeout: float = 60,
        retries: int = 5,
        trust_env: bool = False,
    ) -> None:
        settings = Settings.of(
            base_url, token, workspace, ca, connect_timeout, idle_timeout, retries
        )
        self._context = Context(settings.base_url, settings.workspace, settings.retries)
        self._driver = Driver(
            settings.base_url,
            settings.token,
            ca=settings.ca,
            connect_timeout=settings.connect_timeout,
            idle_timeout=settings.idle_timeout,
            trust_env=trust_env,
        )

    @classmethod
    def from_environment(cls, **options: Any) -> Self:
        """
        :param options: parameters of the client, which override the environment.
        :return: a client with the settings of ``CHATFILES_PLATFORM``, ``CHATFILES_TOKEN`` or
            ``CHATFILES_TOKEN_FILE``, ``CHATFILES_WORKSPACE``, and ``CHATFILES_CA`` if it is set.
        :raise ValueError: one is missing; the text names it.
        """
        found = environment_options(os.environ) | options
        required(found)
        return cls(**found)

    def __repr__(self) -> str:
        context = self._context
        return f"{type(self).__name__}({context.base_url!r}, workspace={context.workspace!r})"

    def close(self) -> None:
        """
        Close all connections.  A method that another thread is waiting for ends within a second.
        """
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    # -- what is there

    def stat(self, path: VirtualPath) -> Entry:
        """
        :param path: of a file, directory, or anything else.
        :return: what it is.
        """
        self._driver.check_open()
        return self._driver.run(listing.stat(self._context, path))

    def list(self, path: VirtualPath, *, page_size: int = 1000) -> Iterator[Entry]:
        """
        :param path: of a directory.
        :param page_size: the most entries of one request, 1 to 10000.
        :return: its entries, sorted by the bytes of their names.
        """
        self._driver.check_open()
        return self._driver.iterate(listing.list_directory(self._context, path, page_size))

    def walk(self, path: VirtualPath, *, depth: int = 64) -> Iterator[Entry]:
        """
        :param path: of a directory.
        :param depth: how many levels, 1 to 64.
        :return: everything below it, each entry as it arrives; a directory precedes what is in it.
        :raise Incomplete: raised at the end, if entries are missing.
        """
        self._driver.check_open()
        return self._driver.iterate(listing.walk(self._context, path, depth))

    # -- content

    def read(
        self,
        path: VirtualPath,
        start: int | None = None,
        stop: int | None = None,
        *,
        if_match: str | None = None,
    ) -> bytes:
        """
        Read a file, or a part of it, as a slice of bytes: ``read(path, 10, 20)`` is 10 bytes, and
        ``read(path, -100)`` the last 100.

        :param start: the offset of the first byte.
        :param stop: the offset behind the last one.
        :param if_match: the entity tag of the version that is wanted.
        :return: the bytes; none behind the end of the file.
        :raise ValueError: *stop* is negative, *start* is and *stop* is given, or it is more than
            64 MiB.
        """
        self._driver.check_open()
        return self._driver.run(reading.read(self._context, path, start, stop, if_match))

    def stream(
        self,
        path: VirtualPath,
        start: int = 0,
        *,
        chunk: int = reading.CHUNK,
        if_match: str | None = None,
    ) -> Iterator[bytes]:
        """
        Read a file piece by piece.  To close the iterator ends the transfer.

        :param start: the offset of the first byte.
        :param chunk: maximum bytes of a piece.
        :param if_match: the entity tag of the version that is wanted.
        :return: the pieces, all of one version of the file.
        :raise Changed: raised by the iterator if the rest belongs to another version.
        """
        self._driver.check_open()
        return self._driver.iterate(reading.stream(self._context, path, start, chunk, if_match))

    def download(
        self,
        path: VirtualPath,
        to: str | os.PathLike[str] | BinaryIO,
        *,
        resume: bool = True,
        verify: bool = False,
        if_match: str | None = None,
        progress: Callback | None = None,
    ) -> Downloaded:
        """
        Download a file.  It is written to ``<to>.part``, and gets its name when it is complete.  If
        the call fails or is cancelled, ``<to>.part`` stays, and the next call continues with it.

        :param to: the path of the new file, or of a directory; or a binary file, which is written
            from where it stands.
        :param resume: whether to continue with ``<to>.part``, if it is of the same version.
        :param verify: whether to compare the SHA-256 with that of the workspace.
        :param if_match: the entity tag of the version that is wanted.
        :param progress: called with the bytes that are there, and with all or ``None``, at most ten
            times a second and once at the end.  What it raises ends the transfer.
        :return: what was downloaded.
        :raise Changed: the file has changed, and *if_match* is given or *to* cannot be rewritten.
        :raise DigestMismatch: the bytes are wrong; no file is left.
        :raise OSError: the file cannot be written.
        """
        self._driver.check_open()
        return self._driver.run(
            downloads.download(
                self._context,
                path,
                to,
                resume=resume,
                verify=verify,
                if_match=if_match,
                progress=progress,
            )
        )

    def upload(
        self,
        source: str | os.PathLike[str] | BinaryIO | Iterable[bytes],
        *,
        name: str | bytes | None = None,
        to: VirtualPath | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
        resumable: bool | None = None,
        verify: bool = True,
        progress: Callback | None = None,
    ) -> Stored:
        """
        Upload a file.  Its content is never in memory as a whole.

        :param source: the path of a file, a binary file, which is read from where it stands, or
            pieces of bytes.
        :param name: the name of a file of the chat; by default that of the source, else ``file``.
        :param to: the path at which it is stored; without it, it is stored as a file of the chat.
        :param if_match: the entity tag of the version that may be replaced; needs *to*.
        :param if_absent: whether nothing may be at *to*.
        :param resumable: whether it is sent in several requests, so that it can continue after an
            interruption; ``None`` to do so if it is larger than one request may be.
        :param verify: whether to compare the SHA-256 with that of the stored file.
        :param progress: see `download`.
        :return: what was stored.
        :raise DigestMismatch: other bytes were stored.
        :raise OSError: the source cannot be read.
        """
        self._driver.check_open()
        return self._driver.run(
            uploads.upload(
                self._context,
                source,
                name=name,
                to=to,
                if_match=if_match,
                if_absent=if_absent,
                resumable=resumable,
                verify=verify,
                progress=progress,
            )
        )

    def archive(
        self,
        paths: VirtualPath | Iterable[VirtualPath],
        to: str | os.PathLike[str],
        *,
        format: str = "zip",  # noqa: A002 - the name of the API
        progress: Callback | None = None,
    ) -> Manifest:
        """
        Download files and directories as one archive.  If it is interrupted, no file is left.

        :param paths: one path, or several.
        :param to: the path of the new file, or of a directory.
        :param format: ``zip``, ``tar`` or ``tar.gz``.
        :param progress: see `download`; the number of all bytes is not known before the end.
        :return: what it contains, and what it does not.
        """
        self._driver.check_open()
        return self._driver.run(
            archives.archive(self._context, paths, to, form=format, progress=progress)
        )

    def link(
        self,
        path: VirtualPath | None = None,
        *,
        operation: str = "file",
        expires_in: int = 3600,
        inline: bool = False,
        format: str | None = None,  # noqa: A002
    ) -> str:
        """
        Make a link that opens without a token (reference/links).

        :param path: of a file or directory; ``None`` for a link for uploads.
        :param operation: ``file``, ``archive`` or ``upload``.
        :param expires_in: seconds, 1 to 604800.
        :param inline: whether a browser may show the file.
        :param format: of an archive.
        :return: an absolute URL.
        """
        self._driver.check_open()
        return self._driver.run(
            writes.link(
                self._context,
                path,
                operation=operation,
                expires_in=expires_in,
                inline=inline,
                form=format,
            )
        )

    def digest(self, path: VirtualPath, *, if_match: str | None = None) -> Digest:
        """
        :param if_match: the entity tag of the version that is wanted.
        :return: the SHA-256 of a file, as the workspace has computed it; waits until it has.
        """
        self._driver.check_open()
        return self._driver.run(digests.digest(self._context, path, if_match))

    # -- changes

    def delete(
        self, path: VirtualPath, *, directory: bool = False, if_match: str | None = None
    ) -> None:
        """
        Delete a file or a symlink.

        :param directory: whether to delete an empty directory instead.
        :param if_match: the entity tag of the version that may be deleted.
        """
        self._driver.check_open()
        self._driver.run(writes.delete(self._context, path, directory=directory, if_match=if_match))

    def mkdir(self, path: VirtualPath, *, parents: bool = False) -> None:
        """
        Create a directory, unless it exists.

        :param parents: whether to create the directories above it too.
        """
        self._driver.check_open()
        self._driver.run(writes.mkdir(self._context, path, parents=parents))

    def move(
        self,
        source: VirtualPath,
        target: VirtualPath,
        *,
        overwrite: bool = False,
        if_match: str | None = None,
    ) -> None:
        """
        Rename a file or directory.

        :param target: its new path.
        :param overwrite: whether a file may replace a file.
        :param if_match: the entity tag of the version of *source* that may be moved.
        """
        self._driver.check_open()
        self._driver.run(
            writes.move(self._context, source, target, overwrite=overwrite, if_match=if_match)
        )
