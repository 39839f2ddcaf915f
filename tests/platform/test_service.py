"""
A platform that is assembled with the real reactor: resources that must not be shared.
"""

from __future__ import annotations

import socket
import threading
from sqlite3 import OperationalError
from typing import Any
from unittest import mock
from uuid import UUID

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.http_headers import Headers

from chatfiles.errors import RegistryUnavailable, UpstreamFailed
from chatfiles.platform import service
from chatfiles.platform.admin_token import AdminToken
from chatfiles.platform.forwarding.requests import DownloadRequest
from chatfiles.platform.forwarding.target import WorkspaceAddress
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.route_table import platform_tree
from chatfiles.rules.urls import parse_workspace_url
from chatfiles.runtime.name_lookup import CHECK_THREADS, LOOKUP_THREADS
from chatfiles.runtime.options import Options
from tests.contract.registry_case import begun
from tests.platform.memory_platform import ADMIN
from tests.support.loopback import until

READ = DownloadRequest(b"GET", b"/workspace/a", None, Headers(), "id")


def target(number: int, host: str) -> WorkspaceAddress:
    """:return: a workspace at a host name, where nothing listens."""
    return WorkspaceAddress(UUID(int=number), parse_workspace_url(f"http://{host}:1"), "secret")


class RegistryTests(SynchronousTestCase):
    """The registry of a platform."""

    def test_timeout(self) -> None:
        """Either registry has the given timeout."""
        for database, maker in (
            ("sqlite:/x", "SQLiteRegistry"),
            ("postgresql://h/x", "open_postgres"),
        ):
            with mock.patch.object(service, maker) as made:
                service.open_registry(database, 7.5, reactor)
            self.assertEqual(made.call_args.kwargs["timeout"], 7.5, database)

    def test_option(self) -> None:
        """``--registry-timeout`` is the timeout of the platform's registry."""
        options = Options({})
        options.parseOptions(["--role=platform", "--registry-timeout=7.5"])
        settings: Any = options.settings
        with mock.patch.object(service, "open_registry", side_effect=KeyError) as opened:
            self.assertRaises(
                KeyError,
                service.platform_service,
                reactor,
                settings,
                lambda: AdminToken(ADMIN),
                (),
                self.fail,
            )
        self.assertEqual(opened.call_args.args, (settings.database, 7.5, reactor, None))


class Checked:
    """A registry whose check fails with an error, or does not."""

    def __init__(self, error: Exception | None = None, cause: Exception | None = None) -> None:
        self._error = error
        if error is not None:
            error.__cause__ = cause

    async def check(self) -> None:
        if self._error is not None:
            raise self._error


class AliveTests(SynchronousTestCase):
    """What the watchdog of systemd looks at."""

    def alive(self, registry: Checked, database: str = "sqlite:/x") -> Deferred[None]:
        """:return: the result of the check."""
        checked: Any = registry
        return Deferred.fromCoroutine(service._registry_responds(checked, database))

    def test_thread_hangs(self) -> None:
        """A thread of a registry file that does not respond is no sign of life."""
        hanging = Checked(RegistryUnavailable(), TimeoutError())
        self.failureResultOf(self.alive(hanging), RegistryUnavailable)

    def test_registry_is_down(self) -> None:
        """A registry that is down is no reason to restart the platform."""
        locked = Checked(RegistryUnavailable(), OperationalError("database is locked"))
        late = Checked(RegistryUnavailable(), TimeoutError())
        self.successResultOf(self.alive(Checked()))
        self.successResultOf(self.alive(locked))
        self.successResultOf(self.alive(late, "postgresql://h/d"))


class PageTests(SynchronousTestCase):
    """``--ui``."""

    def test_option(self) -> None:
        """The routes of the page are served unless the option is ``off``."""
        for given, expected in (("--ui=off", False), ("--ui=on", True)):
            options = Options({})
            options.parseOptions(["--role=platform", given])
            settings: Any = options.settings
            with mock.patch.object(service, "platform_tree", side_effect=KeyError) as tree:
                self.assertRaises(
                    KeyError,
                    service.platform_service,
                    reactor,
                    settings,
                    lambda: AdminToken(ADMIN),
                    (),
                    self.fail,
                )
            self.assertIs(tree.call_args.args[0].ui, expected, given)


class LookupTests(TestCase):
    """Name servers that do not respond."""

    async def test_registration_and_dialling(self) -> None:
        """
        Checks of unresponsive host names occupy at most `CHECK_THREADS` threads; registered
        workspaces stay reachable.
        """
        self.resolve()
        context = await self.platform()
        names = [f"dead{n}.test" for n in range(2 * LOOKUP_THREADS)]
        for name in names:
            check = begun(context.check_url(f"http://{name}"))
            check.addErrback(lambda _: None)
            self.addCleanup(check.cancel)
        await until(reactor, lambda: len(self.looked_up) >= CHECK_THREADS)
        await self.reaches(context)
        self.assertEqual(sorted(self.looked_up), sorted([*names[:CHECK_THREADS], "live.test"]))

    async def test_names_of_one_workspace(self) -> None:
        """
        The unresponsive host names of one workspace occupy one thread; other workspaces stay
        reachable.
        """
        self.resolve()
        context = await self.platform()
        for n in range(2 * LOOKUP_THREADS):
            read = begun(context.gateway.read(target(1, f"dead{n}.test"), READ))
            read.addErrback(lambda _: None)
            self.addCleanup(read.cancel)
        await until(reactor, lambda: self.looked_up)
        await self.reaches(context)
        self.assertEqual(sorted(self.looked_up), ["dead0.test", "live.test"])

    async def test_embedded(self) -> None:
        """
        After an embedded platform has stopped, only the threads of look-ups that hang are left,
        and these end with their look-ups.
        """
        before = set(threading.enumerate())

        def left() -> list[str]:
            names = [thread.name for thread in set(threading.enumerate()) - before]
            return sorted(name.rpartition("-")[0] for name in names if "reactor" not in name)

        go_on = self.resolve()
        context = await self.platform()
        for name, number in (("dead.test", 1), ("live.test", 2)):
            for call in (
                context.check_url(f"http://{name}"),
                context.gateway.read(target(number, name), READ),
            ):
                begun(call).addErrback(lambda _: None)
        await until(reactor, lambda: len(self.looked_up) == 4)
        self.assertEqual(len(left()), 6, left())  # two of them are the registry's
        await self.service.stopService()
        await until(
            reactor, lambda: left() == ["PoolThread-chatfiles-check", "PoolThread-chatfiles-lookup"]
        )
        go_on.set()
        await until(reactor, lambda: not left())

    def resolve(self) -> threading.Event:
        """
        Let look-ups of ``dead*`` block until the test ends; resolve other names to loopback.

        :return: ends the blocking when it is set.
        """
        dead = threading.Event()
        self.addCleanup(dead.set)
        self.looked_up: list[str] = []

        def getaddrinfo(host: str, *_: Any, **__: Any) -> Any:
            if host.endswith(".test"):  # not by a thread that another test has left
                self.looked_up.append(host)
            if host.startswith("dead"):
                dead.wait()
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

        self.patch(socket, "getaddrinfo", getaddrinfo)
        return dead

    async def reaches(self, context: PlatformContext) -> None:
        """Assert that a workspace with a host name is looked up, and connected to, in time."""
        with self.assertRaises(UpstreamFailed) as caught:
            await context.gateway.read(target(2, "live.test"), READ)
        self.assertEqual(caught.exception.detail, "the connection was refused")

    async def platform(self) -> PlatformContext:
        """:return: the context of the routes of a running platform."""
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
            reactor,
            settings,
            lambda: AdminToken(ADMIN),
            (),
            lambda: self.fail("the platform cannot start"),
        )
        platform.startService()
        self.service = platform
        self.addCleanup(lambda: platform.stopService() if platform.running else None)
        assert platform._starting is not None
        await platform._starting
        return contexts[0]
