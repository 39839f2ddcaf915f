"""
Tests for `chatfiles.http.server.upgrade`, and for connections that are given to another protocol.
"""

from __future__ import annotations

from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.http.server.request import Request
from chatfiles.http.server.upgrade import require_upgrade
from tests.support.memory_client import Caller, get, tree
from tests.support.resources import Endpoint

UPGRADE = (b"Connection: upgrade", b"Upgrade: ptth")


class Upgrading(Endpoint):
    """Gives the connection to another protocol."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.protocol = Protocol()
        self.request: Request | None = None

    async def render_GET(self, request: Request) -> None:
        self.request = request
        require_upgrade(request)
        request.switch_protocols([(b"Connection", b"upgrade"), (b"X", b"y")], self.protocol)


class UpgradeTests(SynchronousTestCase):
    """A request that ends with another protocol."""

    def setUp(self) -> None:
        self.upgrading = Upgrading()
        self.caller = Caller(tree(p=self.upgrading))

    def test_accepted(self) -> None:
        """After 101 the other protocol has the transport, and the site has no connection."""
        self.caller.send(get(b"/p", *UPGRADE))
        sent = self.caller.wire.value()
        self.assertTrue(sent.startswith(b"HTTP/1.1 101 Switching Protocols\r\n"), sent)
        self.assertTrue(sent.endswith(b"\r\n\r\n"))
        self.assertIn(b"\r\nConnection: upgrade\r\n", sent)
        self.assertIn(b"\r\nX: y\r\n", sent)
        self.assertNotIn(b"Transfer-Encoding", sent)
        self.assertIs(self.upgrading.protocol.transport, self.caller.wire)
        self.assertEqual(self.caller.site.channels, set())
        self.assertEqual(self.caller.site.running, 0)
        self.assertEqual(self.caller.clock.getDelayedCalls(), [])
        self.assertFalse(self.caller.wire.disconnecting)

    def test_one_end(self) -> None:
        """The request has ended; the end of the other protocol does not concern it."""
        self.caller.send(get(b"/p", *UPGRADE))
        assert self.upgrading.request is not None
        self.assertTrue(self.upgrading.request.has_ended)
        self.assertEqual(self.upgrading.request.transfer.outcome, "complete")

    def test_refused(self) -> None:
        """Other requests are refused, and the connection persists."""
        self.caller.send(get(b"/p"))
        answer = self.caller.answer()
        self.assertEqual((answer.status, answer.json["code"]), (426, "upgrade_required"))
        self.assertEqual(answer.fields["upgrade"], "ptth")
        self.assertEqual(answer.fields["connection"], "upgrade")
        self.assertIsNone(self.upgrading.protocol.transport)

    def test_head(self) -> None:
        """``HEAD`` is no way to upgrade."""
        self.caller.send(get(b"/p", *UPGRADE, method=b"HEAD"))
        self.assertEqual(self.caller.answer(head=True).status, 426)
        self.assertIsNone(self.upgrading.protocol.transport)

    def test_bytes_behind(self) -> None:
        """Bytes behind the request are refused."""
        self.caller.send(get(b"/p", *UPGRADE) + b"x")
        self.assertEqual(self.caller.answers()[0].status, 400)
        self.assertIsNone(self.upgrading.protocol.transport)

    def test_left(self) -> None:
        """Nothing is given to a protocol after the client has left."""

        class Late(Upgrading):
            async def render_GET(self, request: Request) -> None:
                request.channel.abort()
                request.transfer.abort("client_left")
                request.switch_protocols([], self.protocol)

        late = Late()
        caller = Caller(tree(p=late)).send(get(b"/p", *UPGRADE))
        self.assertEqual(caller.wire.value(), b"")
        self.assertIsNone(late.protocol.transport)

    def test_unread_bytes(self) -> None:
        """What was received and not read is given to the other protocol first."""
        channel = self.caller.channel
        channel.received = b"rest"
        protocol = _Recorder()
        channel.hand_over(protocol)
        self.assertEqual(protocol.seen, b"rest")
        self.assertEqual(channel.received, b"")


class _Recorder(Protocol):
    seen = b""

    def dataReceived(self, data: bytes) -> None:
        self.seen += data
