"""
The limit on wrong credentials, with look-ups that the test answers.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import RegistryUnavailable, TooManyRequests
from chatfiles.platform import refused_credentials
from chatfiles.platform.refused_credentials import RefusedCredentials

MOST = 3


class RefusedCredentialsTests(SynchronousTestCase):
    """
    `RefusedCredentials`.

    :ivar asked: the look-ups that were begun and have no result.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.limit = RefusedCredentials(MOST, self.clock.seconds)
        self.asked: list[Deferred[Any]] = []

    def look_up(self, address: str = "192.0.2.1", key: bytes | None = None) -> Deferred[Any]:
        def find() -> Deferred[Any]:
            self.asked.append(Deferred())
            return self.asked[-1]

        return Deferred.fromCoroutine(self.limit.look_up(address, find, key))

    def respond(self, result: object) -> None:
        self.asked.pop(0).callback(result)

    def refuse(self, count: int, address: str = "192.0.2.1") -> None:
        for _ in range(count):
            looked = self.look_up(address)
            self.respond(None)
            self.assertIsNone(self.successResultOf(looked))

    def assert_limited(self, looked: Deferred[Any]) -> None:
        error = self.failureResultOf(looked, TooManyRequests).value
        self.assertEqual((error.status, error.code), (429, "too_many_refusals"))
        self.assertEqual((error.text, error.retry_after), ("too many refused credentials", 1))
        self.assertEqual(self.asked, [])

    def test_valid_before(self) -> None:
        """What was valid before is looked up all the same; after it has been refused, no more."""
        looked = self.look_up(key=b"known")
        self.respond("token")
        self.assertEqual(self.successResultOf(looked), "token")
        self.refuse(MOST)
        looked = self.look_up(key=b"known")
        self.respond("token")
        self.assertEqual(self.successResultOf(looked), "token")
        self.assert_limited(self.look_up(key=b"other"))
        self.clock.advance(refused_credentials.WINDOW)
        for _ in range(MOST):
            looked = self.look_up(key=b"known")
            self.respond(None)
            self.assertIsNone(self.successResultOf(looked))
        self.assert_limited(self.look_up(key=b"known"))

    def test_few_are_remembered(self) -> None:
        """Of many valid credentials, the one that was not used for longest is forgotten."""
        self.patch(refused_credentials, "MOST_VALID", 2)
        for key in (b"1", b"2", b"1", b"3"):
            looked = self.look_up(key=key)
            self.respond("token")
            self.successResultOf(looked)
        self.refuse(MOST)
        self.assert_limited(self.look_up(key=b"2"))
        for key in (b"1", b"3"):
            looked = self.look_up(key=key)
            self.respond("token")
            self.successResultOf(looked)

    def test_limit(self) -> None:
        """After as many wrong credentials as are allowed, nothing is looked up for a second."""
        self.refuse(MOST)
        self.assert_limited(self.look_up())
        self.clock.advance(refused_credentials.WINDOW - 0.01)
        self.assert_limited(self.look_up())
        self.clock.advance(0.01)
        self.refuse(MOST)
        self.assert_limited(self.look_up())

    def test_valid_ones_do_not_count(self) -> None:
        """A credential that was found leaves the others their place."""
        for _ in range(2 * MOST):
            looked = self.look_up()
            self.respond("token")
            self.assertEqual(self.successResultOf(looked), "token")
        self.refuse(MOST)
        self.assert_limited(self.look_up())

    def test_clients(self) -> None:
        """Each client has a limit of its own; an IPv6 client is a network."""
        self.refuse(MOST)
        self.refuse(MOST, "192.0.2.2")
        self.refuse(1, "2001:db8::1")
        self.refuse(MOST - 1, "2001:db8::2")
        self.assert_limited(self.look_up("2001:db8::3"))
        self.refuse(1, "2001:db8:0:1::1")

    def test_no_limit(self) -> None:
        """0 is no limit."""
        self.limit = RefusedCredentials(0, self.clock.seconds)
        self.refuse(100)

    def test_at_once(self) -> None:
        """Of credentials that arrive at once, no more are looked up than may be wrong."""
        looked = [self.look_up() for _ in range(10)]
        self.assertEqual(len(self.asked), MOST)
        for _ in range(MOST):
            self.respond(None)
        for each in looked[:MOST]:
            self.assertIsNone(self.successResultOf(each))
        for each in looked[MOST:]:
            self.assert_limited(each)

    def test_valid_ones_at_once(self) -> None:
        """Valid credentials that arrive at once are all found, one after the other."""
        looked = [self.look_up() for _ in range(10)]
        while self.asked:
            self.assertLessEqual(len(self.asked), MOST)
            self.respond("token")
        self.assertEqual([self.successResultOf(each) for each in looked], ["token"] * 10)

    def test_found_at_once(self) -> None:
        """Many that wait, and whose look-up then ends at once, do not exhaust the stack."""
        looked = [self.look_up() for _ in range(MOST)]

        def find() -> Deferred[Any]:
            return succeed("token")

        looked += [
            Deferred.fromCoroutine(self.limit.look_up("192.0.2.1", find)) for _ in range(5000)
        ]
        self.respond("token")
        for each in looked[MOST:]:
            self.assertEqual(self.successResultOf(each), "token")

    def test_failures(self) -> None:
        """A look-up that fails was not refused; one that waits takes its place."""
        looked = [self.look_up() for _ in range(MOST + 1)]
        self.asked.pop(0).errback(ZeroDivisionError())
        self.failureResultOf(looked[0], ZeroDivisionError)
        self.assertEqual(len(self.asked), MOST)
        for _ in range(MOST):
            self.respond("token")
        self.assertEqual([self.successResultOf(each) for each in looked[1:]], ["token"] * MOST)

    def test_outage(self) -> None:
        """While the registry is unavailable, those that wait hear of it with the first."""
        looked = [self.look_up() for _ in range(10)]
        looked[MOST].cancel()
        self.failureResultOf(looked.pop(MOST), CancelledError)
        self.asked.pop(0).errback(RegistryUnavailable())
        for each in (looked[0], *looked[MOST:]):
            self.failureResultOf(each, RegistryUnavailable)
        self.assertEqual(len(self.asked), MOST - 1)
        self.look_up()
        self.assertEqual(len(self.asked), MOST)

    def test_client_leaves(self) -> None:
        """A client that leaves while it waits takes no place."""
        looked = [self.look_up() for _ in range(MOST + 2)]
        looked[MOST].cancel()
        self.failureResultOf(looked[MOST], CancelledError)
        self.respond("token")
        self.assertEqual(len(self.asked), MOST)

    def test_memory(self) -> None:
        """Clients are forgotten after their second, and before that if there are too many."""
        self.patch(refused_credentials, "MOST_CLIENTS", 3)
        for number in range(5):
            self.refuse(MOST, f"192.0.2.{number}")
        self.assertEqual(list(self.limit._clients), ["192.0.2.2", "192.0.2.3", "192.0.2.4"])
        self.assert_limited(self.look_up("192.0.2.2"))
        self.clock.advance(0.5)
        self.refuse(1, "192.0.2.9")
        self.clock.advance(0.5)
        self.refuse(1, "192.0.2.10")
        self.assertEqual(list(self.limit._clients), ["192.0.2.9", "192.0.2.10"])

    def test_youngest(self) -> None:
        """A client whose second begins again is not the next one to be forgotten."""
        self.patch(refused_credentials, "MOST_CLIENTS", 2)
        self.refuse(1)
        self.refuse(1, "192.0.2.2")
        self.clock.advance(refused_credentials.WINDOW)
        self.refuse(MOST)
        self.refuse(1, "192.0.2.3")
        self.assert_limited(self.look_up())
