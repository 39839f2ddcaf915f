"""
Tests for `chatfiles.runtime.name_lookup`.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import Unavailable
from chatfiles.rules.address_policy import IPAddress
from chatfiles.runtime.call_queue import PER_TURN
from chatfiles.runtime.name_lookup import MAX_ADDRESSES, NameLookup, system_lookup
from tests.support.turn_clock import TurnClock

ONE = (ip_address("192.0.2.1"),)


class SystemLookupTests(SynchronousTestCase):
    """The results of the system's resolver, which become a bounded number of addresses."""

    def answer(self, *texts: str) -> Sequence[IPAddress]:
        """:return: the addresses when the system's resolver returns *texts*."""
        rows = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 0)) for text in texts]
        self.patch(socket, "getaddrinfo", lambda *a, **kw: rows)
        return system_lookup("ws.test")

    def test_order(self):
        """The system's order, best address first, is kept; duplicates are removed."""
        found = self.answer("192.0.2.2", "2001:db8::1", "192.0.2.1", "192.0.2.2")
        self.assertEqual(list(map(str, found)), ["192.0.2.2", "2001:db8::1", "192.0.2.1"])

    def test_zone(self):
        """An address with a zone is passed on with it, so that the policy can refuse it."""
        self.assertEqual(str(self.answer("fe80::1%2")[0]), "fe80::1%2")

    def test_bounded(self):
        """At most one address more than `MAX_ADDRESSES` is returned, however many the name has."""
        found = self.answer(*(f"10.0.{i // 256}.{i % 256}" for i in range(10_000)))
        self.assertEqual(len(found), MAX_ADDRESSES + 1)

    def test_for_real(self):
        """The system's resolver accepts the arguments."""
        self.assertTrue(all(address.is_loopback for address in system_lookup("localhost")))


class LookupsTests(SynchronousTestCase):
    """Look-ups, of which a slow one delays only the requests for its name."""

    def setUp(self):
        """Threads that do nothing until the test continues them."""
        self.threads: list[tuple[str, Deferred[Any]]] = []
        self.lookups = NameLookup(self.in_thread, clock=Clock())

    def in_thread(self, lookup: Any, host: str) -> Deferred[Any]:
        """Begin a look-up."""
        self.assertIs(lookup, system_lookup)
        self.threads.append((host, Deferred()))
        return self.threads[-1][1]

    def test_one_thread_for_each_name(self):
        """All requests for one name share one thread and its result."""
        first, second = self.lookups.addresses("a.test"), self.lookups.addresses("a.test")
        other = self.lookups.addresses("b.test")
        self.assertEqual([host for host, _ in self.threads], ["a.test", "b.test"])
        self.threads[1][1].callback(ONE)
        self.assertEqual(self.successResultOf(other), ONE)
        self.assertNoResult(first)
        self.threads[0][1].callback(ONE)
        self.assertEqual(self.successResultOf(first), ONE)
        self.assertEqual(self.successResultOf(second), ONE)

    def test_asked_anew(self):
        """A result is not kept: the next connection looks the name up again."""
        self.lookups.addresses("a.test")
        self.threads[0][1].callback(ONE)
        again = self.lookups.addresses("a.test")
        self.assertEqual(len(self.threads), 2)
        self.assertNoResult(again)

    def test_many_wait(self):
        """
        The result is delivered to 2000 waiting requests in several turns, so that it does not delay
        other work.
        """
        clock = TurnClock()
        self.lookups = NameLookup(self.in_thread, clock=clock)
        told: list[object] = []
        for n in range(2000):
            self.lookups.addresses("a.test", n % 7).addCallback(told.append)
        self.assertEqual(len(self.threads), 1)
        self.threads[0][1].callback(ONE)
        turns = 0
        while len(told) < 2000:
            self.assertEqual(len(told), (turns + 1) * PER_TURN)
            clock.advance(0)
            turns += 1
        self.assertEqual(told, [ONE] * 2000)

    def test_failure(self):
        """All waiting requests receive the error of a look-up."""
        waiting = [self.lookups.addresses("a.test") for _ in range(2)]
        self.threads[0][1].errback(socket.gaierror(socket.EAI_AGAIN, "again"))
        for answer in waiting:
            self.failureResultOf(answer, socket.gaierror)

    def test_cancel(self):
        """A request can be cancelled; other requests for the name still receive the result."""
        first, second = self.lookups.addresses("a.test"), self.lookups.addresses("a.test")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.threads[0][1].callback(ONE)
        self.assertEqual(self.successResultOf(second), ONE)

    def test_cancelled_by_another(self):
        """If one waiting request cancels another one, the rest still receive the result."""
        waiting = [self.lookups.addresses("a.test") for _ in range(4)]
        waiting[0].addCallback(lambda _: waiting[1].cancel())
        self.threads[0][1].callback(ONE)
        self.failureResultOf(waiting[1], CancelledError)
        for answer in waiting[2:]:
            self.assertEqual(self.successResultOf(answer), ONE)

    def test_asked_from_an_answer(self):
        """A request for a name from a callback of its own look-up begins a new look-up."""
        again = self.lookups.addresses("a.test")
        again.addCallback(lambda _: self.lookups.addresses("a.test"))
        self.threads[0][1].callback(ONE)
        self.assertNoResult(again)
        self.threads[1][1].callback(())
        self.assertEqual(self.successResultOf(again), ())


class QueueTests(SynchronousTestCase):
    """More names than threads."""

    def setUp(self):
        """Two threads that do nothing until the test continues them; two names may wait."""
        self.threads: dict[str, Deferred[Any]] = {}
        self.begun: list[str] = []
        self.lookups = NameLookup(self.in_thread, clock=Clock(), threads=2, most_waiting=2)

    def in_thread(self, _lookup: Any, host: str) -> Deferred[Any]:
        """Begin a look-up."""
        self.begun.append(host)
        self.threads[host] = Deferred()
        return self.threads[host]

    def end(self, host: str) -> None:
        """Let a look-up end."""
        self.threads.pop(host).callback(ONE)

    def test_in_turn(self):
        """
        At most as many look-ups run as there are threads; the rest follow in order of arrival.
        """
        asked = [self.lookups.addresses(host) for host in "abcd"]
        self.assertEqual(self.begun, ["a", "b"])
        self.end("b")
        self.assertEqual(self.begun, ["a", "b", "c"])
        for host in "acd":
            self.end(host)
        self.assertEqual([self.successResultOf(answer) for answer in asked], [ONE] * 4)

    def test_left(self):
        """
        A name whose requests have all been cancelled takes no thread, and no place in the queue.
        """
        self.lookups.addresses("a")
        self.lookups.addresses("b")
        for _ in range(100):
            answers = [self.lookups.addresses(host) for host in ("gone", "gone", "left")]
            for answer in answers:
                answer.cancel()
                self.failureResultOf(answer, CancelledError)
        kept, left = self.lookups.addresses("kept"), self.lookups.addresses("kept")
        left.cancel()
        self.failureResultOf(left, CancelledError)
        self.end("a")
        self.assertEqual(self.begun, ["a", "b", "kept"])
        self.end("kept")
        self.assertEqual(self.successResultOf(kept), ONE)

    def test_owner(self):
        """
        The names of one owner take one thread, however many they are; names of other owners
        overtake them.
        """
        first, second = (self.lookups.addresses(host, "mine") for host in ("a", "b"))
        other = self.lookups.addresses("c", "theirs")
        self.assertEqual(self.begun, ["a", "c"])
        self.end("c")
        self.assertEqual(self.successResultOf(other), ONE)
        self.assertEqual(self.begun, ["a", "c"])
        self.lookups.addresses("d")  # without an owner
        self.assertEqual(self.begun, ["a", "c", "d"])
        self.end("a")
        self.assertEqual(self.begun, ["a", "c", "d", "b"])
        self.end("b")
        self.assertEqual(self.successResultOf(first), ONE)
        self.assertEqual(self.successResultOf(second), ONE)

    def test_name_of_two_owners(self):
        """A name that waits for its owner's turn begins when another owner requests it, too."""
        self.lookups.addresses("a", "mine")
        mine, theirs = (self.lookups.addresses("b", owner) for owner in ("mine", "theirs"))
        self.assertEqual(self.begun, ["a", "b"])
        self.end("b")
        self.assertEqual(self.successResultOf(mine), ONE)
        self.assertEqual(self.successResultOf(theirs), ONE)

    def test_bounded(self):
        """
        When too many names wait, another one is refused at once; requests for known names are not.
        """
        for host in "abcd":
            self.lookups.addresses(host)
        refused = self.failureResultOf(self.lookups.addresses("e"), Unavailable)
        self.assertIsNotNone(refused.value.retry_after)
        for host in "ad":
            self.assertNoResult(self.lookups.addresses(host))
        self.end("a")
        self.assertNoResult(self.lookups.addresses("e"))
