"""
What the cases of the client library share: a client of either kind, and scripted servers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from chatfiles.testing import ScriptedServer, ServerConnection

__all__ = ["TOKEN", "WORKSPACE", "ClientCase"]

WORKSPACE = "3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d"
TOKEN = "tok-0123456789"

if TYPE_CHECKING:
    Base = TestCase
else:
    Base = object


class ClientCase(Base):
    """
    Subclasses say in `new` which kind of client is tested: its methods are coroutine functions, or
    return asynchronous iterators.

    :ivar pauses: the seconds that clients have waited for.
    :ivar server: the last one that was started.
    """

    #: Whether clients take asynchronous iterators.
    is_asynchronous = False
    server: ScriptedServer

    def setUp(self) -> None:
        self.pauses: list[float] = []
        self.directory = tempfile.mkdtemp(prefix="chatfiles-test-")
        self.addCleanup(shutil.rmtree, self.directory)

    def new(self, url: str, token: Any = TOKEN, workspace: Any = WORKSPACE, **options: Any) -> Any:
        """:return: a client, which is closed with the test, and records its pauses."""
        raise NotImplementedError

    def token_file(self) -> Path:
        """:return: a file with a token."""
        return Path(self.write("token", TOKEN.encode() + b"\n"))

    def client(
        self, script: Callable[[ServerConnection], object], prefix: str = "", **options: Any
    ) -> Any:
        """:return: a client of a server that runs *script* for each connection."""
        self.server = ScriptedServer(script)
        self.addCleanup(self.server.close)
        return self.new(self.server.url + prefix, **options)

    def path(self, name: str) -> str:
        """:return: a path in the directory of the test."""
        return os.path.join(self.directory, name)

    def content(self, name: str) -> bytes:
        """:return: of a file in the directory of the test."""
        with open(self.path(name), "rb") as file:
            return file.read()

    def write(self, name: str, content: bytes, mode: str = "wb") -> str:
        """:return: the path of a file in the directory of the test, with *content*."""
        with open(self.path(name), mode) as file:
            file.write(content)
        return self.path(name)

    def files(self) -> list[str]:
        """:return: the names in the directory of the test."""
        return sorted(os.listdir(self.directory))

    def sent(self, name: str) -> list[str | None]:
        """:return: the header *name* of each request that the server has received."""
        return [request.header(name) for request in self.server.requests]

    def begin(self, awaitable: Any) -> Any:
        """:return: a call that has begun, which can be awaited later."""
        return Deferred.fromCoroutine(awaitable)

    async def fails(self, kind: type[Any], awaitable: Any) -> Any:
        """:return: the error, which has to be of exactly this kind."""
        try:
            await awaitable
        except kind as error:
            self.assertIs(type(error), kind)
            self.assertNotIn(TOKEN, f"{error}{error!r}")
            return error
        raise AssertionError(f"no {kind.__name__}")


async def gather(iterator: Any) -> list[Any]:
    """:return: what an asynchronous iterator gives."""
    return [each async for each in iterator]
