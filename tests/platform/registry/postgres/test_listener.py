"""
The listener with fake connections, which can fail in any way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.postgres.listener import (
    CHECK_INTERVAL,
    RETRY_DELAY,
    TEST_CHANNEL,
    TRIGGERS,
    PostgresListener,
)
from tests.contract.registry_case import begun


class FakeConnection:
    """A connection to a server that delivers each notification to all connections."""

    def __init__(self, case: ListenTests) -> None:
        self._case = case
        self._observers: list[Callable[[Any], None]] = []
        self.on_lost: Callable[[], None] = lambda: None

    def addNotifyObserver(self, observer: Callable[[Any], None]) -> None:
        self._observers.append(observer)

    def execute(self, sql: str, values: Mapping[str, str] | None = None) -> Deferred[None]:
        if values is not None:
            for connection in self._case.connections:
                connection.hear(SimpleNamespace(channel=TEST_CHANNEL, payload=values["payload"]))
        return succeed(None)

    def hear(self, notify: Any) -> None:
        for observer in self._observers:
            observer(notify)

    def rows(self, sql: str) -> Deferred[Any]:
        return fail(self._case.error) if self._case.error else succeed([(TRIGGERS,)])

    def discard(self) -> None:
        self._case.connections.remove(self)


class ListenTests(SynchronousTestCase):
    """
    The listener.

    :ivar error: the error with which a check fails.
    :ivar connections: the open connections.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.error: Exception | None = None
        self.connect_error: Exception | None = None
        self.connections: list[FakeConnection] = []
        self.told: list[UUID | None] = []
        self.outcomes: list[BaseException | None] = []
        self.listener = PostgresListener(
            self.connect,
            self.told.append,
            clock=self.clock,
            outcome=lambda _, error: self.outcomes.append(error),
            new_id=uuid4,
        )

    def connect(self) -> Deferred[Any]:
        if self.connect_error is not None:
            return fail(self.connect_error)
        self.connections.append(FakeConnection(self))
        return succeed(self.connections[-1])

    def test_error_of_ours(self) -> None:
        """
        After an unexpected error the listener is not `watching`, so that no revoked token stays
        valid; it logs the error and connects again.
        """
        self.successResultOf(self.listener.start())
        self.assertEqual((self.listener.watching, self.told), (True, [None]))
        self.error = TypeError("secret")
        self.clock.advance(CHECK_INTERVAL)
        self.assertEqual((self.listener.watching, self.told), (False, [None, None]))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        error = self.outcomes[-1]
        assert isinstance(error, RegistryUnavailable)
        self.assertNotIn("secret", str(error.__cause__))
        self.error = None
        self.clock.advance(RETRY_DELAY)
        self.assertEqual((self.listener.watching, len(self.connections)), (True, 1))
        self.assertIsNone(self.outcomes[-1])
        self.end()

    def test_error_of_ours_in_connecting(self) -> None:
        """
        After an unexpected error while connecting, `start` returns, and the listener tries again.
        """
        self.connect_error = TypeError("x")
        self.successResultOf(self.listener.start())
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertFalse(self.listener.watching)
        self.connect_error = None
        self.clock.advance(RETRY_DELAY)
        self.assertTrue(self.listener.watching)
        self.end()

    def end(self) -> None:
        """Assert that `close` ends everything."""
        self.successResultOf(begun(self.listener.close()))
        self.assertEqual((self.connections, self.clock.getDelayedCalls()), ([], []))
        self.assertFalse(self.listener.watching)
