"""
What becomes of calls when PostgreSQL, or the way to it, fails: never an absence, never later than
the deadline, and over by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable
from importlib import import_module
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults

from chatfiles.errors import RegistryUnavailable
from chatfiles.model import token_hash
from tests.contract.registry_case import FIRST, begun, every_call
from tests.platform.registry.postgres.faults_case import LATE, FaultCase
from tests.platform.registry.postgres.postgres_case import REACTOR, PostgresTestCase, pause
from tests.support.postgres_server import server


class ServerTests(FaultCase):
    """The server goes, and comes back."""

    async def test_down_at_the_start(self) -> None:
        """A platform does not start without its database, or never finds it afterwards."""
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
        """A lookup fails because an idle connection was killed, or an absence is told."""
        registry = await self.start()
        await self.add_first(registry)
        for _ in range(10):
            self.database.terminate()
            calls: list[Awaitable[Any]] = [registry.workspace(FIRST) for _ in range(10)]
            self.assertEqual(await self.outcomes(calls, within=2 + LATE), {"found"})

    async def test_killed_while_asked(self) -> None:
        """A lookup whose connection is killed under it is not asked again, or a change is."""
        registry = await self.start(timeout=PostgresTestCase.registry_timeout)
        await self.add_first(registry)
        with self.database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE")
            found = begun(registry.workspace(FIRST))
            changed = begun(registry.touch_workspaces({FIRST: self.moment}))
            await pause(0.3)
            self.database.server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND wait_event_type = 'Lock'",
                (self.database.name,),
            )
            self.assertIn("terminating connection", await self.fails(changed))
        self.assertIsNotNone(await found)

    async def test_restart(self) -> None:
        """A restart of the server needs one of ours, or reads as an absence."""
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
        """A connection that is closed under us, at any stage, is an error that nobody foresaw."""
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
        """On a standby lookups fail as well, or changes are lost without a word."""
        registry = await self.start()
        await self.add_first(registry)
        session = import_module("chatfiles.platform.registry.postgres.session")
        self.patch(session.PostgresTransaction, "_begin", "BEGIN READ ONLY;")
        self.assertIn(
            "read-only", await self.fails(registry.touch_workspaces({FIRST: self.moment}))
        )
        self.assertIsNotNone(await registry.workspace(FIRST))

    async def test_no_longer_read_only(self) -> None:
        """What is written first after a database was read-only fails, because a connection still
        believes that it is."""
        registry = await self.start()
        await self.add_first(registry)
        alter = f"ALTER DATABASE {self.database.name}"
        self.database.server.execute(f"{alter} SET default_transaction_read_only = on")
        try:
            self.database.terminate()
            touched = {FIRST: self.moment}
            while "read-only" not in await self.fails(registry.touch_workspaces(touched)):
                await pause(0.01)  # it has not noticed yet that it was disconnected
            stale = await registry._connector.connect()
        finally:
            self.database.server.execute(f"{alter} RESET default_transaction_read_only")
        registry._writers._idle[:] = [stale]
        await registry.touch_workspaces(touched)
        self.assertTrue(stale.is_closed)


class SlowTests(FaultCase):
    """The server answers late, or not at all."""

    async def test_locked_table(self) -> None:
        """A table that is locked for longer than the deadline holds callers as long."""
        registry = await self.start()
        await self.add_first(registry)
        with self.database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE")
            calls: list[Awaitable[Any]] = [registry.workspace(FIRST) for _ in range(20)]
            calls += [registry.token(token_hash("token")) for _ in range(20)]
            self.assertEqual(await self.outcomes(calls, 2 + LATE), {RegistryUnavailable})
            self.assertIn("57014", "".join(self.log()))
        self.assertIsNotNone(await self.recovers(lambda: registry.workspace(FIRST)))

    async def test_locked_row(self) -> None:
        """A row that somebody else changes makes lookups wait, or a change that was given up is
        made after all."""
        registry = await self.start()
        await self.add_first(registry)
        with self.database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN; UPDATE workspaces SET name = 'y'")
            changes = [
                begun(
                    registry.register(FIRST, url="http://b", delivery_mode=None, create_name=None)
                )
                for _ in range(5)
            ]
            found = await registry.workspace(FIRST)
            assert found is not None
            self.assertEqual(await self.outcomes(changes, 2 + LATE), {RegistryUnavailable})
        after = await registry.workspace(FIRST)
        assert after is not None
        self.assertEqual(after.url, "http://a")
        await registry.touch_workspaces({FIRST: self.moment})

    async def test_hung_socket(self) -> None:
        """A network that swallows everything holds callers for minutes, or for ever."""
        hop, url = self.hop()
        registry = await self.start(url)
        await self.add_first(registry)
        await gatherResults([begun(registry.workspace(FIRST)) for _ in range(10)])
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
        """500 lookups at once fail, hang, or are told an absence."""
        registry = await self.start()
        await self.add_first(registry)
        calls: list[Awaitable[Any]] = [registry.workspace(FIRST) for _ in range(250)]
        calls += [registry.token(token_hash("token")) for _ in range(250)]
        outcomes = await self.outcomes(calls, 2 + LATE)
        self.assertLessEqual(outcomes, {"found", RegistryUnavailable})
        self.assertIsNotNone(await registry.workspace(FIRST))

    async def test_too_many(self) -> None:
        """A server that hangs fills the memory with calls, or the room is never given back."""
        registry = await self.start()
        await self.add_first(registry)
        with self.database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE")
            waiting = [begun(registry.workspace(FIRST)) for _ in range(1004)]
            begin = REACTOR.seconds()
            await self.fails(registry.workspace(FIRST))
            self.assertLess(REACTOR.seconds() - begin, 0.5)
            await self.outcomes(waiting, 2 + LATE)
        self.assertIsNotNone(await self.recovers(lambda: registry.workspace(FIRST)))

    async def test_callers_that_leave(self) -> None:
        """A caller that has left breaks those who come after it."""
        registry = await self.start()
        await self.add_first(registry)
        calls: list[Awaitable[Any]] = [registry.workspace(FIRST) for _ in range(20)]
        for call in calls:
            assert isinstance(call, Deferred)
            call.cancel()
            self.failureResultOf(call, CancelledError)
        self.assertIsNotNone(await registry.workspace(FIRST))
