"""
What the tests of the embedded registry share.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.sqlite.registry import SQLiteRegistry
from tests.contract.registry_case import begun

REACTOR: Any = reactor


class ThreadedClock(Clock):
    """A fake clock with the real reactor's `callFromThread`."""

    def callFromThread(self, work: Callable[..., object], *args: object, **kw: object) -> None:
        REACTOR.callFromThread(work, *args, **kw)


class SQLiteTestCase(TestCase):
    """Tests with a registry in a file, to which another program has access too."""

    def setUp(self) -> None:
        self.moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        self.path = os.path.join(self.directory, "registry.db")
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def make(self, **given: Any) -> SQLiteRegistry:
        values = {"clock": REACTOR, "now": lambda: self.moment, "poll_interval": 0.01} | given
        registry = SQLiteRegistry(self.path, **values)
        self.addCleanup(lambda: begun(registry.close()))
        return registry

    async def start(self, **given: Any) -> SQLiteRegistry:
        registry = self.make(**given)
        await registry.start()
        return registry

    def raw(self) -> AbstractContextManager[sqlite3.Connection]:
        return closing(sqlite3.connect(self.path, isolation_level=None))

    def execute(self, *statements: str) -> list[tuple[object, ...]]:
        with self.raw() as connection:
            for statement in statements:
                found = connection.execute(statement).fetchall()
        return found

    def log(self) -> list[str]:
        return [
            formatEvent(event)
            for event in self.events
            if event["log_namespace"].startswith("chatfiles")
        ]

    async def fails(self, awaitable: Any) -> BaseException | None:
        """:return: the cause of the `RegistryUnavailable`."""
        with self.assertRaises(RegistryUnavailable) as caught:
            await awaitable
        cause: BaseException | None = caught.exception.__cause__
        return cause
