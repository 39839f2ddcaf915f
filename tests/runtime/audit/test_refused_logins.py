"""
Lines about refused credentials: at most one in a second for each client, and none is forgotten.
"""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.http.server.observers import TransferEnded
from chatfiles.runtime.audit import refused_logins
from chatfiles.runtime.audit.refused_logins import INTERVAL, OTHERS, RefusedLogins

#: Of the contract: when a refusal has been told at the latest, in seconds.
TOLD_WITHIN = 2.0


def refused(client: str, request_id: str = "id") -> TransferEnded:
    """:return: a request whose credential was refused."""
    return TransferEnded(request_id, "-", "download", 401, 0, 0.0, "invalid_token", client)


class RefusedLoginsTests(SynchronousTestCase):
    """Refusals, and when they are told."""

    def setUp(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start from the beginning."""
        self.clock = Clock()
        self.told: list[tuple[float, str, int]] = []
        self.logins = RefusedLogins(self.clock, self.tell)

    def tell(self, event: TransferEnded, client: str, count: int) -> None:
        """Remember what is told."""
        self.told.append((self.clock.seconds(), client, count))

    @given(st.lists(st.tuples(st.floats(0, 1.5), st.sampled_from("ab")), max_size=20))
    def test_any(self, refusals: list[tuple[float, str]]) -> None:
        """The counts of each client add up, in time, and its lines are a second apart."""
        self.begin()
        given = dict.fromkeys("ab", 0)
        for pause, client in refusals:
            self.clock.pump([pause / 8] * 8)
            self.logins.refused(refused(client))
            given[client] += 1
        self.clock.pump([TOLD_WITHIN / 8] * 8)
        for client, count in given.items():
            lines = [(at, told) for at, each, told in self.told if each == client]
            self.assertEqual(sum(told for _, told in lines), count)
            for (before, _), (after, _) in itertools.pairwise(lines):
                self.assertGreaterEqual(after - before, INTERVAL - 1e-6)
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_clients(self) -> None:
        """Clients beyond a limit are counted together."""
        self.patch(refused_logins, "MOST_CLIENTS", 2)
        for client in "abcde":
            self.logins.refused(refused(client))
        self.assertEqual([each for _, each, _ in self.told], ["a", "b", OTHERS])
        self.clock.pump([INTERVAL, 0])
        self.assertEqual(self.told[3:], [(INTERVAL, OTHERS, 2)])

    def test_stop(self) -> None:
        """At the end, what was counted is told."""
        for _ in range(3):
            self.logins.refused(refused("a"))
        self.logins.stop()
        self.assertEqual([count for *_, count in self.told], [1, 2])
        self.assertEqual(self.clock.getDelayedCalls(), [])
