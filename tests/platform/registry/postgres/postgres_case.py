"""
What the tests of the registry in PostgreSQL share.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.registry.postgres import open_postgres
from tests.contract.registry_case import begun
from tests.support.patience import PATIENCE
from tests.support.postgres_server import Database, server

if TYPE_CHECKING:
    from chatfiles.platform.registry.postgres.registry import PostgresRegistry

REACTOR: Any = reactor


async def heard(registry: IWorkspaceRegistry, wanted: Callable[[UUID | None], bool]) -> None:
    """Return when *registry* has notified of a change that is *wanted*."""
    told: Deferred[None] = Deferred()

    def changed(workspace_id: UUID | None) -> None:
        if wanted(workspace_id) and not told.called:
            told.callback(None)

    unsubscribe = registry.subscribe(changed)
    await told
    unsubscribe()


async def settled(
    registry: IWorkspaceRegistry, database: Database, mark: UUID | None = None
) -> None:
    """
    Return when *registry* has notified of everything that has been committed so far.

    :param mark: the id in the last notification.
    """
    last = mark or uuid4()
    waiting = begun(heard(registry, lambda found: found == last))
    database.execute("SELECT pg_notify('chatfiles_changed', %s)", (str(last),))
    await waiting


def pause(seconds: float) -> Deferred[None]:
    """Wait while the reactor runs."""
    return deferLater(REACTOR, seconds)


class PostgresTestCase(TestCase):
    """
    Tests that have a database of their own, and registries that use it.

    :cvar registry_timeout: seconds that each registry waits for the server, unless a test sets
        another timeout: tests that are not about an unavailable server must not fail on a slow one.
    """

    registry_timeout = 30.0

    def setUp(self) -> None:
        self.moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.database = Database(server())
        self.addCleanup(self.database.release)
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def make(self, url: str | None = None, **given: Any) -> PostgresRegistry:
        values: dict[str, Any] = {"reactor": REACTOR, "now": lambda: self.moment}
        values |= {"timeout": self.registry_timeout} | given
        registry = open_postgres(self.database.url if url is None else url, **values)
        self.addCleanup(lambda: begun(registry.close()))
        return registry

    async def start(self, url: str | None = None, **given: Any) -> PostgresRegistry:
        registry = self.make(url, **given)
        await registry.start()
        return registry

    async def listens(self, registry: PostgresRegistry) -> None:
        """Return when *registry* is `watching`; a busy machine may need two attempts."""
        while not registry.watching:
            await pause(0.01)

    def log(self) -> list[str]:
        return [
            formatEvent(event)
            for event in self.events
            if event["log_namespace"].startswith("chatfiles")
        ]

    async def fails(self, awaitable: Any) -> str:
        """:return: the cause of the `RegistryUnavailable`."""
        with self.assertRaises(RegistryUnavailable) as caught:
            await awaitable
        return str(caught.exception.__cause__)

    async def recovers(self, ask: Callable[[], Any], within: float = PATIENCE) -> Any:
        """
        :return: the result; until it is available, the only error may be `RegistryUnavailable`.
        """
        deadline = REACTOR.seconds() + within
        while True:
            try:
                return await ask()
            except RegistryUnavailable:
                self.assertLess(REACTOR.seconds(), deadline)
                await pause(0.05)
