"""
A platform as it is put together, with the real reactor: what must not be shared in it.
"""

from __future__ import annotations

import socket
import threading
from typing import Any
from uuid import UUID

from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from twisted.web.http_headers import Headers

from chatfiles.errors import UpstreamFailed
from chatfiles.options import Options
from chatfiles.platform import service
from chatfiles.platform.context import PlatformContext
from chatfiles.platform.forward import Read
from chatfiles.platform.lookups import CHECK_THREADS, LOOKUP_THREADS
from chatfiles.platform.resolve import Target
from chatfiles.platform.resources import platform_tree
from chatfiles.platform.urls import parse_workspace_url
from tests.contract.registry_case import begun
from tests.loopback import until
from tests.platform_memory import ADMIN


class LookupTests(TestCase):
    """Name servers that do not answer."""

    async def test_registration_and_dialling(self) -> None:
        """Whoever registers names that nobody answers for makes all workspaces unreachable."""
        dead, looked_up = threading.Event(), []
        self.addCleanup(dead.set)

        def getaddrinfo(host: str, *_: Any, **__: Any) -> Any:
            looked_up.append(host)
            if host.startswith("dead"):
                dead.wait()
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

        self.patch(socket, "getaddrinfo", getaddrinfo)
        context = await self.platform()
        names = [f"dead{n}.test" for n in range(2 * LOOKUP_THREADS)]
        for name in names:
            check = begun(context.check_url(f"http://{name}"))
            check.addErrback(lambda _: None)
            self.addCleanup(check.cancel)
        await until(reactor, lambda: len(looked_up) >= CHECK_THREADS)
        read = Read(b"GET", b"/workspace/a", None, Headers(), "id")
        target = Target(UUID(int=1), parse_workspace_url("http://live.test:1"), "secret")
        with self.assertRaises(UpstreamFailed) as caught:
            await context.gateway.read(target, read)
        self.assertEqual(caught.exception.detail, "the connection was refused")
        self.assertEqual(sorted(looked_up), sorted([*names[:CHECK_THREADS], "live.test"]))

    async def platform(self) -> PlatformContext:
        """:return: what the routes of a running platform work with."""
        contexts: list[PlatformContext] = []

        def seen(context: PlatformContext) -> Any:
            contexts.append(context)
            return platform_tree(context)

        self.patch(service, "platform_tree", seen)
        options = Options({})
        options.parseOptions(
            [
                "--role=platform",
                f"--database=sqlite:{self.mktemp()}",
                "--upstream-allow=127.0.0.0/8",
            ]
        )
        settings: Any = options.settings
        platform = service.platform_service(
            reactor, settings, ADMIN, (), lambda: self.fail("the platform cannot start")
        )
        platform.startService()
        self.addCleanup(platform.stopService)
        assert platform._starting is not None
        await platform._starting
        return contexts[0]
