"""
Calls while PostgreSQL, or the network to it, fails: they never report an absence, end by the
deadline, and work again without a restart.
"""

from __future__ import annotations

from collections.abc import Awaitable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred

from chatfiles.errors import RegistryUnavailable
from chatfiles.model import token_hash
from tests.contract.registry_case import FIRST, begun, every_call
from tests.platform.registry.postgres.faults_case import LATE, FaultCase
from tests.platform.registry.postgres.postgres_case import PostgresTestCase, pause
from tests.support.postgres_server import server

if TYPE_CHECKING:
    from chatfiles.platform.registry.postgres.registry import PostgresRegistry


class ServerTests(FaultCase):
    """A server that stops and comes back."""

    async def test_down_at_the_start(self) -> None:
        """
        If the database is unavailable at the start, calls fail with `RegistryUnavailable`, and the
        registry connects later by itself.
        """
        self.database.allow(False)
        registry = self.make()
        self.assertIn("not currently accepting", await self.fails(registry.start()))
        for call in every_call(registry).values():
            with self.assertRaises(RegistryUnavailable):
                await call()
        self.database.allow(True)
        self.assertIsNone(await self.recovers(lambda: registry.workspace(FIRST)))
        await registry.start()
        await self.listens(registry)

    async def test_backends_killed(self) -> None:
        """A lookup succeeds although idle connections were killed."""
        registry = await self.start()
        await self.add_first(registry)
        for _ in range(10):
            self.database.terminate()
            calls: list[Awaitable[Any]] = [registry.workspace(FIRST) for _ in range(10)]
            self.assertEqual(await self.outcomes(calls, within=2 + LATE), {"found"})

    async def test_killed_while_asked(self) -> None:
        """A lookup whose connection is killed is repeated; a change is not."""
        registry = await self.start(timeout=PostgresTestCase.registry_timeout)
        await self.add_first(registry)
        with self.database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE")
            found = begun(registry.workspace(FIRST))
            changed = begun(registry.touch_workspaces({FIRST: self.moment}))
            waiting = " FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
            of_this = (self.database.name,)
            while len(self.database.server.execute("SELECT 1" + waiting, of_this)) < 2:
                await pause(0.01)
            self.database.server.execute("SELECT pg_terminate_backend(pid)" + waiting, of_this)
            self.assertIn("terminating connection", await self.fails(changed))
        self.assertIsNotNone(await found)

    async def test_restart(self) -> None:
        """
        While the server restarts, calls fail with `RegistryUnavailable`; then the registry works
        again without a restart of the platform.
        """
        registry = await self.start()
        await self.add_first(registry)
        server().stop()
        try:
            self.assertEqual(
                await self.outcomes([registry.workspace(FIRST) for _ in range(50)], 2 + LATE),
                {RegistryUnavailable},
            )
            await self.noticed(registry)
        finally:
            server().start()
        await self.recovers(registry.check)
        self.assertIsNotNone(await registry.token(token_hash("token")))
        await self.recovers(lambda: registry.touch_workspaces({FIRST: self.moment}))

    async def test_way_cut(self) -> None:
        """
        If connections are closed, at any stage, calls fail with `RegistryUnavailable`, and the
        registry connects again.
        """
        hop, url = self.hop()
        registry = await self.start(url)
        await self.add_first(registry)
        for _ in range(3):
            hop.refuses = True
            hop.cut()
            await self.noticed(registry)
            await self.fails(registry.workspace(FIRST))
            hop.refuses = False
            self.assertIsNotNone(await self.recovers(lambda: registry.workspace(FIRST)))
            await self.recovers(lambda: registry.touch_workspaces({FIRST: self.moment}))
            while not registry.watching:
                await pause(0.01)

    async def test_read_only(self) -> None:
        """On a standby lookups succeed, and changes fail with an error."""
        registry = await self.start()
        await self.add_first(registry)
        session = import_module("chatfiles.platform.registry.postgres.session")
        self.patch(session.PostgresTransaction, "_begin", "BEGIN READ ONLY;")
        self.assertIn(
            "read-only", await self.fails(registry.touch_workspaces({FIRST: self.moment}))
        )
        self.assertIsNotNone(await registry.workspace(FIRST))

    async def test_no_longer_read_only(self) -> None:
        """
        The first change after a database was read-only succeeds: a connection that is still
        read-only is closed.
        """
        registry = await self.start()
        await self.add_first(registry)
        alter = f"ALTER DATABASE {self.database.name}"
        self.database.server.execute(f"{alter} SET default_transaction_read_only = on")
        try:
            self.database.terminate()
            touched = {FIRST: self.moment}
            while "read-only" not in await self.fails(registry.touch_workspaces(touched)):
                await pause(0.01)  # the registry has not noticed yet that it was disconnected
            stale = await registry._connector.connect()
        finally:
            self.database.server.execute(f"{alter} RESET default_transaction_read_only")
        registry._writers._idle[:] = [stale]
        await registry.touch_workspaces(touched)
        self.assertTrue(stale.is_closed)


class SlowTests(FaultCase):
    """A server that responds late, or not at all."""

    # The default.  What a machine that stands still for so long delays is done again.
    registry_timeout = 2.0

    async def connected(self, url: str | None = None) -> PostgresRegistry:
        """:return: a registry that is connected, and finds a workspace."""
        await self.add_first(await self.start(timeout=PostgresTestCase.registry_timeout))
        registry = self.make(url)
        await self.recovers(registry.start)
        await self.listens(registry)
        return registry

    async def test_locked_table(self) -> None:
        """A call that waits for a locked table fails at the deadline."""
        registry = await self.connected()
        with self.database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE")
            calls: list[Awaitable[Any]] = [registry.workspace(FIRST) for _ in range(20)]
            calls += [registry.token(token_hash("token")) for _ in range(20)]
            self.assertEqual(await self.outcomes(calls, 2 + LATE), {RegistryUnavailable})
            self.assertIn("57014", "".join(self.log()))
        self.assertIsNotNone(await self.recovers(lambda: registry.workspace(FIRST)))

    async def test_locked_row(self) -> None:
        """
        A row that another transaction changes does not delay lookups. A change that timed out is
        not made later.
        """
        registry = await self.connected()
        with self.database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN; UPDATE workspaces SET name = 'y'")
            changes = [
                begun(
                    registry.register(FIRST, url="http://b", delivery_mode=None, create_name=None)
                )
                for _ in range(5)
            ]
            self.assertIsNotNone(await self.recovers(lambda: registry.workspace(FIRST)))
            self.assertEqual(await self.outcomes(changes, 2 + LATE), {RegistryUnavailable})
        after = await self.recovers(lambda: registry.workspace(FIRST))
        self.assertEqual(after.url, "http://a")
        await self.recovers(lambda: registry.touch_workspaces({FIRST: self.moment}))

    async def test_hung_socket(self) -> None:
        """
        On a network that delivers nothing, calls fail at the deadline; afterwards they succeed
        again.
        """
        hop, url = self.hop()
        registry = await self.connected(url)
        await self.outcomes([registry.workspace(FIRST) for _ in range(10)], 2 + LATE)
        hop.hangs = True
        calls: list[Awaitable[Any]] = [registry.workspace(FIRST) for _ in range(20)]
        calls.append(registry.touch_workspaces({FIRST: self.moment}))
        self.assertEqual(await self.outcomes(calls, 2 + LATE), {RegistryUnavailable})
        await self.noticed(registry)
        self.assertEqual(
            await self.outcomes([registry.workspace(FIRST) for _ in range(20)], 2 + LATE),
            {RegistryUnavailable},
        )
        hop.hangs = False
        self.assertIsNotNone(await self.recovers(lambda: registry.workspace(FIRST)))
        await self.recovers(lambda: registry.touch_workspaces({FIRST: self.moment}))

    async def test_many_at_once(self) -> None:
        """
        Each of 500 concurrent lookups finds its row or fails with `RegistryUnavailable`, in time.
        """
        registry = await self.connected()
        calls: list[Awaitable[Any]] = [registry.workspace(FIRST) for _ in range(250)]
        calls += [registry.token(token_hash("token")) for _ in range(250)]
        outcomes = await self.outcomes(calls, 2 + LATE)
        self.assertLessEqual(outcomes, {"found", RegistryUnavailable})
        self.assertIsNotNone(await self.recovers(lambda: registry.workspace(FIRST)))

    async def test_too_many(self) -> None:
        """
        The number of pending calls is limited, so that a server that hangs does not fill the
        memory; there is room again after the outage.
        """
        registry = await self.connected()
        with self.database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE")
            waiting = [begun(registry.workspace(FIRST)) for _ in range(1004)]
            refused = begun(registry.workspace(FIRST))
            self.failureResultOf(refused, RegistryUnavailable)  # at once
            await self.outcomes(waiting, 2 + LATE)
        self.assertIsNotNone(await self.recovers(lambda: registry.workspace(FIRST)))

    async def test_callers_that_leave(self) -> None:
        """Calls that are cancelled do not affect those that follow."""
        registry = await self.connected()
        calls: list[Awaitable[Any]] = [registry.workspace(FIRST) for _ in range(20)]
        for call in calls:
            assert isinstance(call, Deferred)
            call.cancel()
            self.failureResultOf(call, CancelledError)
        self.assertIsNotNone(await self.recovers(lambda: registry.workspace(FIRST)))
