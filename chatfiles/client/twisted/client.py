"""
The client for programs that run Twisted's reactor.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from pathlib import Path
from typing import Any, BinaryIO, Self
from uuid import UUID

from twisted.web.iweb import IAgent

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
from chatfiles.client.twisted.driver import Driver

__all__ = ["AsyncClient"]


class AsyncClient:
    """
    Files of one workspace, over the HTTP API of a platform, for Twisted.

    Its methods are those of `chatfiles.client.Client`, as coroutine functions; those that return
    iterators return asynchronous ones.  To cancel the `Deferred` of a coroutine ends the transfer.
    As an asynchronous context manager, it is closed at the end.  Files are read and written in
    threads of the reactor's pool.

    :param reactor: by default, the one of the process.
    :param agent: sends the requests, in place of an agent that checks responses like `Client`.  The
        token is passed to it.  *ca* and *connect_timeout* have no effect then.
    :raise ValueError: a parameter is not valid; the text does not contain the token.
    :raise OSError: a file cannot be read.
    :raise RuntimeError: asyncio runs here, and the reactor does not.
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
        reactor: Any = None,
        agent: IAgent | None = None,
    ) -> None:
        settings = Settings.of(
            base_url, token, workspace, ca, connect_timeout, idle_timeout, retries
        )
        if reactor is None:
            reactor = _reactor_of_process()
        self._context = Context(settings.base_url, settings.workspace, settings.retries)
        self._driver = Driver(reactor, settings, agent)

    @classmethod
    def from_environment(cls, **options: Any) -> Self:
        """See `chatfiles.client.Client.from_environment`."""
        found = environment_options(os.environ) | options
        required(found)
        return cls(**found)

    def __repr__(self) -> str:
        context = self._context
        return f"{type(self).__name__}({context.base_url!r}, workspace={context.workspace!r})"

    async def close(self) -> None:
        """End all requests; returns when their connections have ended."""
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    # -- what is there

    async def stat(self, path: VirtualPath) -> Entry:
        """See `chatfiles.client.Client`."""
        self._driver.check_open()
        return await self._driver.run(listing.stat(self._context, path))

    def list(self, path: VirtualPath, *, page_size: int = 1000) -> AsyncIterator[Entry]:
        """See `chatfiles.client.Client`."""
        self._driver.check_open()
        return self._driver.iterate(listing.list_directory(self._context, path, page_size))

    def walk(self, path: VirtualPath, *, depth: int = 64) -> AsyncIterator[Entry]:
        """See `chatfiles.client.Client`."""
        self._driver.check_open()
        return self._driver.iterate(listing.walk(self._context, path, depth))

    # -- content

    async def read(
        self,
        path: VirtualPath,
        start: int | None = None,
        stop: int | None = None,
        *,
        if_match: str | None = None,
    ) -> bytes:
        """See `chatfiles.client.Client`."""
        self._driver.check_open()
        return await self._driver.run(reading.read(self._context, path, start, stop, if_match))

    def stream(
        self,
        path: VirtualPath,
        start: int = 0,
        *,
        chunk: int = reading.CHUNK,
        if_match: str | None = None,
    ) -> AsyncIterator[bytes]:
        """See `chatfiles.client.Client`."""
        self._driver.check_open()
        return self._driver.iterate(reading.stream(self._context, path, start, chunk, if_match))

    async def download(
        self,
        path: VirtualPath,
        to: str | os.PathLike[str] | BinaryIO,
        *,
        resume: bool = True,
        verify: bool = False,
        if_match: str | None = None,
        progress: Callback | None = None,
    ) -> Downloaded:
        """See `chatfiles.client.Client`."""
        self._driver.check_open()
        return await self._driver.run(
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

    async def upload(
        self,
        source: str | os.PathLike[str] | BinaryIO | Iterable[bytes] | AsyncIterable[bytes],
        *,
        name: str | bytes | None = None,
        to: VirtualPath | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
        resumable: bool | None = None,
        verify: bool = True,
        progress: Callback | None = None,
    ) -> Stored:
        """See `chatfiles.client.Client`."""
        self._driver.check_open()
        return await self._driver.run(
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

    async def archive(
        self,
        paths: VirtualPath | Iterable[VirtualPath],
        to: str | os.PathLike[str],
        *,
        format: str = "zip",  # noqa: A002 - the name of the API
        progress: Callback | None = None,
    ) -> Manifest:
        """See `chatfiles.client.Client`."""
        self._driver.check_open()
        return await self._driver.run(
            archives.archive(self._context, paths, to, form=format, progress=progress)
        )

    async def link(
        self,
        path: VirtualPath | None = None,
        *,
        operation: str = "file",
        expires_in: int = 3600,
        inline: bool = False,
        format: str | None = None,  # noqa: A002
    ) -> str:
        """See `chatfiles.client.Client`."""
        self._driver.check_open()
        return await self._driver.run(
            writes.link(
                self._context,
                path,
                operation=operation,
                expires_in=expires_in,
                inline=inline,
                form=format,
            )
        )

    async def digest(self, path: VirtualPath, *, if_match: str | None = None) -> Digest:
        """See `chatfiles.client.Client`."""
        self._driver.check_open()
        return await self._driver.run(digests.digest(self._context, path, if_match))

    # -- changes

    async def delete(
        self, path: VirtualPath, *, directory: bool = False, if_match: str | None = None
    ) -> None:
        """See `chatfiles.client.Client`."""
        self._driver.check_open()
        await self._driver.run(
            writes.delete(self._context, path, directory=directory, if_match=if_match)
        )

    async def mkdir(self, path: VirtualPath, *, parents: bool = False) -> None:
        """See `chatfiles.client.Client`."""
        self._driver.check_open()
        await self._driver.run(writes.mkdir(self._context, path, parents=parents))

    async def move(
        self,
        source: VirtualPath,
        target: VirtualPath,
        *,
        overwrite: bool = False,
        if_match: str | None = None,
    ) -> None:
        """See `chatfiles.client.Client`."""
        self._driver.check_open()
        await self._driver.run(
            writes.move(self._context, source, target, overwrite=overwrite, if_match=if_match)
        )


def _reactor_of_process() -> Any:
    """:raise RuntimeError: asyncio runs here, and the reactor does not: nothing would happen."""
    from twisted.internet import reactor  # noqa: PLC0415, TID251 - of the process

    if not getattr(reactor, "running", True) and _asyncio_runs():
        raise RuntimeError(
            "AsyncClient needs Twisted's reactor, which does not run here: with asyncio, use Client"
            " in threads (asyncio.to_thread), or run Twisted's AsyncioSelectorReactor"
        )
    return reactor


def _asyncio_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
