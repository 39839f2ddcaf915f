"""
The request for an upgrade, and its responses.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.http.message_head.response import BadResponse
from chatfiles.workspace.channel.upgrade import MAX_BODY, Refused, Upgrade
from tests.workspace.channel.channel_case import UPGRADED, PlatformWire

BODY = b'{"error":"why","code":"c"}'


class Next(Protocol):
    """Collects what it receives."""

    received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class UpgradeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.wire = PlatformWire()
        self.upgrade = Upgrade(b"request")
        self.wire.protocol = self.upgrade
        self.upgrade.makeConnection(self.wire)

    async def handed_over(self, following: Protocol) -> None:
        await self.upgrade.accepted
        self.upgrade.hand_over(following)

    def refused(self, *pieces: bytes, lost: bool = False) -> Any:
        """:return: the status, and the JSON object of the body."""
        self.begin()
        for piece in pieces:
            self.upgrade.dataReceived(piece)
        if lost:
            self.upgrade.connectionLost(Failure(ConnectionLost()))
        error = self.failureResultOf(self.upgrade.accepted, Refused).value
        self.assertTrue(lost or self.wire.aborted)
        return error.response.status, error.response.fields

    def test_accepted(self) -> None:
        """What follows the response belongs to the next protocol, however the bytes arrive."""
        for size in (1, 7, 10_000):
            with self.subTest(size=size):
                self.begin()
                self.assertEqual(self.wire.value(), b"request")
                data, following = UPGRADED + b"GET / ", Next()
                accepted = Deferred.fromCoroutine(self.handed_over(following))
                for at in range(0, len(data), size):
                    self.wire.protocol.dataReceived(data[at : at + size])
                self.assertEqual((following.received, self.upgrade.node), (b"GET / ", "node-1"))
                self.assertIs(following.transport, self.wire)
                self.assertFalse(self.wire.disconnecting)
                self.successResultOf(accepted)

    def test_refused(self) -> None:
        """A refusal is read with its body, whose end is declared or follows from the close."""
        head = b"HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        expected = (409, {"error": "why", "code": "c"})
        self.assertEqual(self.refused(head + BODY), expected)
        self.assertEqual(self.refused(head, BODY[:5], BODY[5:]), expected)
        chunked = b"HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
        self.assertEqual(self.refused(chunked + chunks[:9], chunks[9:]), expected)
        self.assertEqual(self.refused(head + BODY[:5], lost=True), (409, None))
        empty = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
        self.assertEqual(self.refused(empty), (503, None))

    def test_large_refusal(self) -> None:
        """A refusal that is too large is not read to its end."""
        head = b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000000000\r\n\r\n"
        self.assertEqual(self.refused(head, b"x" * MAX_BODY, b"x"), (404, None))

    def test_garbage(self) -> None:
        """What is no response, or a wrong upgrade, is refused, and the connection closed."""
        for data in (
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/1.1 302 Found\r\nLocation: https://e/\r\nContent-Length: 0\r\n\r\n",
            UPGRADED.replace(b"ptth", b"websocket"),
            UPGRADED.replace(b"http%2F1.1", b"h2"),
            UPGRADED.replace(b"Connection: upgrade", b"Connection: close"),
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ):
            with self.subTest(data=data):
                self.begin()
                self.upgrade.dataReceived(data)
                self.failureResultOf(self.upgrade.accepted)
                self.assertTrue(self.wire.aborted)

    def test_wrong_upgrade(self) -> None:
        """The error says what the response lacks."""
        self.upgrade.dataReceived(UPGRADED.replace(b"ptth", b"websocket"))
        error = self.failureResultOf(self.upgrade.accepted, BadResponse)
        self.assertEqual(str(error.value), "101 that does not upgrade to ptth")

    def test_lost(self) -> None:
        """A connection that is lost before the response fails with the reason."""
        self.upgrade.dataReceived(b"HTTP/1.1 10")
        self.upgrade.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(self.upgrade.accepted, ConnectionLost)

    def test_cancelled(self) -> None:
        """Cancelling closes the connection; what still arrives is ignored."""
        self.upgrade.accepted.cancel()
        self.failureResultOf(self.upgrade.accepted)
        self.assertTrue(self.wire.aborted)
        self.upgrade.dataReceived(UPGRADED)
        self.upgrade.connectionLost(Failure(ConnectionLost()))
