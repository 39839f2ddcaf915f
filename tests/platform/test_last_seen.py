"""
Heartbeats and the last use of tokens: recorded in memory, written in batches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.last_seen import BATCH, FLUSH_INTERVAL, LastSeenBuffer
from tests.contract.registry_case import FIRST, SECOND, SECRET, begun
from tests.platform.memory_platform import START, MemoryPlatformCase
from tests.support.memory_client import Received, post

LATER = datetime(2026, 3, 1, 13, tzinfo=UTC)


class MomentsTests(SynchronousTestCase):
    """`LastSeenBuffer`."""

    def setUp(self) -> None:
        self.moment = START
        self.clock = Clock()
        self.written: list[dict[UUID, datetime]] = []
        self.answers: list[Deferred[None]] = []
        self.failing = False
        self.error: Exception = RegistryUnavailable()
        self.moments = LastSeenBuffer("heartbeats", self.write, self.clock, lambda: self.moment)
        self.moments.startService()

    def write(self, batch: Mapping[UUID, datetime]) -> Deferred[None]:
        self.written.append(dict(batch))
        answer: Deferred[None] = Deferred()
        self.answers.append(answer)
        if self.failing:
            answer.errback(self.error)
        return answer

    def answer(self) -> None:
        self.answers[-1].callback(None)

    def test_at_intervals(self) -> None:
        """
        At each interval the latest moment of each id is written; without new moments nothing is
        written.
        """
        for seconds in range(100):
            self.moment = START + timedelta(seconds=seconds)
            self.moments.record(FIRST)
        self.moments.record(SECOND)
        self.assertEqual(self.written, [])
        self.clock.advance(FLUSH_INTERVAL)
        self.assertEqual(self.written, [{FIRST: self.moment, SECOND: self.moment}])
        self.answer()
        self.clock.advance(FLUSH_INTERVAL)
        self.assertEqual(len(self.written), 1)

    def test_kept(self) -> None:
        """
        Moments that cannot be written are kept, and do not replace later ones. An outage is logged
        once.
        """
        self.failing = True
        self.moments.record(FIRST)
        self.moments.record(SECOND)
        with capturedLogs() as events:
            for _ in range(3):
                self.clock.advance(FLUSH_INTERVAL)
        self.assertEqual(
            [formatEvent(event) for event in events],
            [f"heartbeats cannot be written yet: {RegistryUnavailable.text}"],
        )
        self.moment = LATER
        self.moments.record(FIRST)
        self.failing = False
        self.clock.advance(FLUSH_INTERVAL)
        self.assertEqual(self.written[-1], {FIRST: LATER, SECOND: START})

    def test_error_of_ours(self) -> None:
        """
        After an unexpected error, writing continues at the next interval. The error is logged once
        until a write succeeds.
        """
        self.failing, self.error = True, TypeError("x")
        self.moments.record(FIRST)
        for _ in range(3):
            self.clock.advance(FLUSH_INTERVAL)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.failing = False
        self.clock.advance(FLUSH_INTERVAL)
        self.assertEqual(self.written, [{FIRST: START}] * 4)
        self.answer()
        self.failing = True
        self.moments.record(SECOND)
        self.successResultOf(begun(self.moments.stopService()))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_noted_meanwhile(self) -> None:
        """A moment recorded while a batch is being written is kept for the next batch."""
        self.moments.record(FIRST)
        self.moments.record(SECOND)
        self.clock.advance(FLUSH_INTERVAL)
        self.moment = LATER
        self.moments.record(FIRST)
        self.assertEqual(self.moments.latest(SECOND), START)
        self.answer()
        self.assertEqual((self.moments.latest(FIRST), self.moments.latest(SECOND)), (LATER, None))
        self.clock.advance(FLUSH_INTERVAL)
        self.assertEqual(self.written[-1], {FIRST: LATER})

    def test_in_pieces(self) -> None:
        """
        A backlog is written in batches of at most `BATCH`, as the registry takes no more at once.
        Only the batch that failed is written again.
        """
        ids = [UUID(int=number) for number in range(2 * BATCH + 1)]
        for each in ids:
            self.moments.record(each)
        self.clock.advance(FLUSH_INTERVAL)
        self.answer()
        self.failing = True
        self.answer()
        self.assertEqual([len(batch) for batch in self.written], [BATCH, BATCH, 1])
        self.failing = False
        self.clock.advance(FLUSH_INTERVAL)
        self.assertEqual(list(self.written[-1]), ids[-1:])

    def test_at_the_end(self) -> None:
        """
        Stopping the service writes what has been recorded since the last write, and waits for it.
        """
        self.moments.record(FIRST)
        stopped = begun(self.moments.stopService())
        self.assertEqual(self.written, [{FIRST: START}])
        self.assertNoResult(stopped)
        self.answer()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_at_the_end_of_what_is_running(self) -> None:
        """Stopping the service waits for a batch that is being written."""
        self.moments.record(FIRST)
        self.clock.advance(FLUSH_INTERVAL)
        stopped = begun(self.moments.stopService())
        for answer in self.answers:
            answer.callback(None)
        self.successResultOf(stopped)
        self.assertIsNone(self.moments.latest(FIRST))


class HeartbeatTests(MemoryPlatformCase):
    """``POST /registry/heartbeat``."""

    def setUp(self) -> None:
        super().setUp()
        self.add(FIRST, SECRET)
        self.add(SECOND, "")
        for workspace_id in (FIRST, SECOND):  # a heartbeat of another one is a registration
            self.registry.set_status(workspace_id, "online")
        self.registry.asked.clear()

    def beat(self, workspace_id: UUID = FIRST, token: str | None = None) -> Received:
        body = json.dumps({"workspace_id": str(workspace_id)}).encode()
        credential = f"Authorization: Bearer {token or workspace_id}".encode()
        return self.ask(post(body, credential, path=b"/registry/heartbeat"))

    def shown(self, path: str = f"/workspaces/{FIRST}") -> Any:
        return self.get(path).json

    def test_no_write(self) -> None:
        """
        A heartbeat does not wait for a write; with a warm cache it does not use the registry at
        all.
        """
        for seconds in range(10):
            self.moment = START + timedelta(seconds=seconds)
            answer = self.beat()
            self.assertEqual(answer.status, 200)
            expected = {"status": "ok", "platform_inbound_secret": SECRET}
            self.assertEqual(answer.json, expected)
        self.assertEqual(self.registry.asked, ["token", "workspace"])
        self.clock.advance(FLUSH_INTERVAL)
        self.assertEqual(self.registry.asked[2:], ["touch_workspaces"])
        found = self.successResultOf(self.registry.workspace(FIRST))
        assert found is not None
        self.assertEqual((found.last_heartbeat_at, found.status), (self.moment, "online"))
        self.registry.asked.clear()
        self.beat()
        self.assertEqual(self.registry.asked, [])

    def test_shown_at_once(self) -> None:
        """A heartbeat is shown to operators at once, before it is written."""
        self.beat()
        for _ in range(2):
            row = self.shown()
            self.assertEqual(row["last_heartbeat_at"], START.isoformat())
            rows = {row["id"]: row for row in self.shown("/workspaces")["workspaces"]}
            self.assertEqual(rows[str(FIRST)], row)
            self.assertIsNone(rows[str(SECOND)]["last_heartbeat_at"])
            self.clock.advance(FLUSH_INTERVAL)

    def test_shown_of_another_node(self) -> None:
        """
        A later heartbeat that another node has written takes precedence over the local one and over
        the cache.
        """
        self.beat()
        self.successResultOf(self.registry.touch_workspaces({FIRST: LATER}))
        self.assertEqual(self.shown()["last_heartbeat_at"], LATER.isoformat())
        self.clock.advance(FLUSH_INTERVAL)
        self.assertEqual(self.shown()["last_heartbeat_at"], LATER.isoformat())

    def test_removed(self) -> None:
        """A heartbeat of a removed workspace is refused and not recorded."""
        self.beat()
        self.clock.advance(FLUSH_INTERVAL)
        self.successResultOf(self.registry.remove_workspace(FIRST))
        self.assertEqual(self.beat(token="admin").status, 404)
        self.assertEqual(self.beat().status, 401)
        self.assertIsNone(self.heartbeats.latest(FIRST))

    def test_unavailable(self) -> None:
        """
        While the registry is unavailable, a heartbeat gets 503, so that the workspace does not
        register again.
        """
        self.beat()
        self.registry.failing = True
        self.assertEqual(self.beat().status, 503)

    def test_new_secret(self) -> None:
        """
        A missing secret is generated at the first heartbeat; later heartbeats receive the same one.
        """
        minted = self.beat(SECOND).json["platform_inbound_secret"]
        self.assertRegex(minted, r"\A[\w-]{43}\Z")
        self.assertEqual(self.beat(SECOND).json["platform_inbound_secret"], minted)
