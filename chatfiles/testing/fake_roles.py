"""
A platform and a workspace for the tests of programs that call them.  They run in the process of the
test, on free ports of 127.0.0.1, with the code of the real roles.  The registry is in memory, and
the files are in a directory of the test.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, maybeDeferred

from chatfiles.embedding import embedded_platform, embedded_workspace
from chatfiles.http.server.site import Site
from chatfiles.model import ALL_SCOPES, Scope, new_secret, token_hash, token_prefix
from chatfiles.runtime.role_service import RoleService
from chatfiles.testing.memory_registry import MemoryRegistry

__all__ = ["FakePlatform", "FakeWorkspace", "KnownWorkspace"]

_ROOTS = ("configs", "workspace", "home", "plugins")


class KnownWorkspace(NamedTuple):
    """
    A workspace that a platform knows.

    :param id: its id.
    :param token: an auth token of it.
    """

    id: UUID
    token: str


class _FakeRole:
    """
    A role on a free port of 127.0.0.1.

    :ivar url: where it listens, without a slash at the end; empty before `start`.
    """

    url = ""

    def __init__(self, reactor: Any, service: RoleService) -> None:
        self._reactor = reactor
        self._service = service
        self._site = Site(
            service.resource, reactor, header_timeout=30.0, idle_timeout=60.0, observers=()
        )
        self._port: Any = None

    async def start(self) -> None:
        """Begin to serve."""
        await self._service.begin()
        self._port = self._reactor.listenTCP(0, self._site, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self._port.getHost().port}"

    async def stop(self) -> None:
        """Stop listening, interrupt what runs, and release everything."""
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
            await self._site.drain(0.0)
        await self._service.stopService()


class FakeWorkspace(_FakeRole):
    """
    A workspace that serves a directory.

    :param reactor: the reactor of the test.
    :param directory: the roots are ``configs``, ``workspace``, ``home`` and ``plugins`` in it,
        which are made.
    :param options: further options of ``twistd chatfiles``, such as ``--writable=/workspace``.
    :ivar secret: the inbound secret.
    """

    def __init__(self, reactor: Any, directory: str, options: Iterable[str] = ()) -> None:
        self.directory = directory
        self.secret = new_secret()
        for root in _ROOTS:
            os.makedirs(os.path.join(directory, root), exist_ok=True)
        secret_file = os.path.join(directory, "configs", ".platform_inbound_secret")
        with open(os.open(secret_file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(self.secret)
        roots = [f"--root=/{root}={os.path.join(directory, root)}" for root in _ROOTS]
        super().__init__(reactor, embedded_workspace(reactor, [*roots, *options]))

    def write(self, path: str, content: bytes) -> None:
        """
        Make a file.

        :param path: a virtual path, such as ``/workspace/a.txt``.
        """
        target = os.path.join(self.directory, path.removeprefix("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(content)


class FakePlatform(_FakeRole):
    """
    A platform that reaches workspaces on this machine.

    :param reactor: the reactor of the test.
    :param options: further options of ``twistd chatfiles``, such as ``--open-registration``.
    :ivar registry: its registry, which can fail or be slow.
    :ivar admin_token: opens every route.
    """

    def __init__(self, reactor: Any, options: Iterable[str] = ()) -> None:
        self.registry = MemoryRegistry()
        self.admin_token = new_secret()
        service = embedded_platform(
            reactor,
            ["--upstream-allow=127.0.0.0/8", *options],
            admin_token=self.admin_token,
            registry=self.registry,
        )
        super().__init__(reactor, service)

    async def add(
        self, workspace: FakeWorkspace | None = None, scopes: frozenset[Scope] = ALL_SCOPES
    ) -> KnownWorkspace:
        """
        Make a workspace known, as its registration would.

        :param workspace: which has been started; ``None`` for one that the platform cannot reach.
        :param scopes: what its token allows.
        """
        known, token = uuid4(), new_secret()
        adding: Deferred[Any] = self.registry.create_workspace(
            known,
            name=f"workspace {known}",
            url=workspace.url if workspace is not None else None,
            delivery_mode="push",
            secret=workspace.secret if workspace is not None else new_secret(),
            digest=token_hash(token),
            prefix=token_prefix(token),
            scopes=scopes,
            token_name=None,
        )
        await adding
        return KnownWorkspace(known, token)
