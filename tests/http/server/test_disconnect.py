"""
reference/limits-and-shutdown, "Disconnected clients": clients that disconnect while the server does
not read from them.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import reactor
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatfiles.http.server.connection import EAGER_BYTES
from chatfiles.http.server.disconnect import CHECK_INTERVAL
from chatfiles.http.server.responses import JSONResponse
from chatfiles.streams.outcome import ClientLeft
from chatfiles.streams.peer_state import PeerState, peer_state, unread
from tests.http.server.test_request_body import Receiver
from tests.platform.upstream.test_dialer import make_certificate
from tests.support.loopback import Loopback, reset_on_close, until
from tests.support.memory_client import CHUNKED, IDLE_TIMEOUT, Held, chunked, get

#: More than one read takes, and no more than the server's kernel holds in addition: bytes in the
#: client's kernel come before its FIN.
SIZE = 100_000
BODY = bytes(range(250)) * (SIZE // 250)


class HeldBack(TestCase):
    """A client whose body is not read, with a real socket and a clock."""

    def start(self, *lines: bytes, ends_with_client: bool = False, **more: Any) -> None:
        self.held = Held()
        self.held.ends_with_client = ends_with_client
        self.caller = Loopback(self, reactor, self.held, **more)
        self.head = get(b"/p", *lines, method=b"POST")

    async def send(self, data: bytes, *, receiver: bool = False) -> None:
        """Send the headers and *data*, of which one read is taken, with or without a receiver."""
        await self.caller.send(self.head + data)
        await until(reactor, lambda: self.held.requests and self.body.paused)
        self.receiver = Receiver(self.body, self.held.answers[0], eager=False)
        if receiver:
            self.body.deliver(self.receiver)
            if not self.body.complete:
                await until(reactor, lambda: self.body.paused)

    @property
    def body(self) -> Any:
        return self.held.requests[0].body

    def leave(self, how: str) -> None:
        """Disconnect the client."""
        if how == "RST":
            reset_on_close(self.caller.socket)
            self.caller.socket.close()
        elif how == "FIN":
            self.caller.socket.close()
        else:
            self.caller.socket.shutdown(socket.SHUT_WR)

    async def noticed(self, how: PeerState) -> None:
        """Wait until the kernel knows of it; the site has not checked by then."""
        transport = self.caller.transport
        await until(reactor, lambda: peer_state(transport) is how)
        self.assertEqual(len(self.caller.site.channels), 1)

    async def assert_given_up(self) -> None:
        """The next check ends the request."""
        self.caller.clock.advance(CHECK_INTERVAL)
        await until(reactor, lambda: not self.caller.site.channels)
        self.assertEqual(self.held.requests[0].transfer.outcome, "client_left")
        self.assertTrue(self.body.failed)
        self.assertEqual(self.caller.clock.getDelayedCalls(), [])

    async def assert_goes_on(self) -> None:
        """However often it is checked, the body can be read, and gets its response."""
        self.caller.clock.pump([CHECK_INTERVAL] * 40)
        self.assertEqual(len(self.caller.site.channels), 1)
        self.receiver.eager = True
        if self.body.claimed:
            self.body.resume()
        else:
            self.body.deliver(self.receiver)
        await until(reactor, lambda: self.receiver.end)
        self.assertEqual(self.receiver.end, ["finished"])
        self.held.answer(JSONResponse(200, {"size": len(self.receiver.data)}))
        await self.caller.read(lambda data: b"size" in data)
        (answer,) = self.caller.answers()
        self.assertEqual((answer.status, answer.json), (200, {"size": len(self.receiver.data)}))


class LeavingTests(HeldBack):
    """Requests end when their clients have disconnected."""

    async def test_eager(self) -> None:
        """
        A client that has pipelined too much is not read from; its disconnect is noticed
        nevertheless.
        """
        for how in (PeerState.RESET, PeerState.HALF_CLOSED):
            self.start(ends_with_client=True)
            await self.caller.send(get(b"/p") + get(b"/next") * (2 * EAGER_BYTES // 20))
            await until(reactor, lambda: self.held.requests)
            await until(reactor, lambda: self.caller.transport not in reactor.getReaders())
            self.leave("RST" if how is PeerState.RESET else "FIN")
            await self.noticed(how)
            self.caller.clock.advance(CHECK_INTERVAL)
            await until(reactor, lambda: not self.caller.site.channels)
            self.assertEqual(len(self.held.requests), 1)
            self.assertEqual(self.held.requests[0].transfer.outcome, "client_left")
            self.assertEqual(self.caller.clock.getDelayedCalls(), [])

    async def test_reset(self) -> None:
        """
        A reset ends the request, so that an upstream does not wait for the client until its own
        timeout.
        """
        for lines in ([b"Content-Length: %d" % SIZE], [CHUNKED]):
            for claimed in (False, True):
                self.start(*lines)
                await self.send(b"7fffffff\r\n" + BODY[:80_000], receiver=claimed)
                self.leave("RST")
                await self.noticed(PeerState.RESET)
                await self.assert_given_up()
                self.assertEqual(self.receiver.end, [ClientLeft] if claimed else [])

    async def test_half_a_body(self) -> None:
        """A FIN within the body ends the request, whether or not the client still reads."""
        for how in ("FIN", "shutdown"):
            for sent in (80_000, SIZE - 1):
                self.start(b"Content-Length: %d" % SIZE)
                await self.send(BODY[:sent], receiver=True)
                self.leave(how)
                await self.noticed(PeerState.HALF_CLOSED)
                await self.assert_given_up()

    async def test_others_work_for_it(self) -> None:
        """
        If the request ends with its client, a FIN ends it even if the whole body is in the kernel,
        so that no workspace receives it in vain.
        """
        self.start(b"Content-Length: %d" % SIZE, ends_with_client=True)
        await self.send(BODY)
        self.leave("FIN")
        await self.noticed(PeerState.HALF_CLOSED)
        await self.assert_given_up()

    async def test_when_held_back_later(self) -> None:
        """A disconnect is noticed even if the body is paused after the first check."""
        self.start(b"Content-Length: %d" % SIZE)
        await self.send(BODY[:70_000], receiver=True)
        self.receiver.eager = True
        self.body.resume()
        self.caller.clock.pump([CHECK_INTERVAL] * 3)  # the watch has found out
        self.receiver.eager = False
        await self.caller.send(BODY[70_000:90_000])
        await until(reactor, lambda: self.body.paused)
        self.leave("RST")
        await self.noticed(PeerState.RESET)
        await self.assert_given_up()


class StayingTests(HeldBack):
    """Clients that wait, or have half-closed after a whole body, are not disconnected."""

    async def test_waits(self) -> None:
        """A client that waits because the server does not read is not disconnected."""
        for lines, data in ([b"Content-Length: %d" % SIZE], BODY), ([CHUNKED], chunked(BODY)):
            self.start(*lines)
            await self.send(data[:80_000], receiver=True)
            self.caller.clock.advance(3 * IDLE_TIMEOUT)
            self.caller.clock.pump([CHECK_INTERVAL] * 40)
            self.receiver.eager = True
            await self.caller.send(data[80_000:])
            await self.assert_goes_on()

    async def test_has_sent_everything(self) -> None:
        """A body whose last bytes wait in the kernel when the FIN arrives is read completely."""
        bodies = [
            ([b"Content-Length: %d" % SIZE], BODY),
            ([CHUNKED], chunked(BODY)),
            ([CHUNKED], chunked(*[BODY[:1000]] * 90)),
            ([CHUNKED], chunked(BODY)[:-2] + b"Trailer: x\r\n" * 20 + b"\r\n"),
            ([CHUNKED], chunked(BODY)[:-5] + b"000;ext=1\r\n\r\n"),
            ([CHUNKED], chunked(BODY) + get(b"/next")),
        ]
        for lines, data in bodies:
            for claimed in (False, True):
                self.start(*lines)
                await self.send(data, receiver=claimed)
                self.leave("shutdown")
                await self.noticed(PeerState.HALF_CLOSED)
                await self.assert_goes_on()

    async def test_costs_nothing(self) -> None:
        """Pausing and resuming a body does not create a timer each time."""
        self.start(b"Content-Length: %d" % SIZE)
        await self.send(BODY[:70_000], receiver=True)
        for _ in range(100):
            self.body.resume()
            self.body.pause()
        self.assertEqual(len(self.caller.clock.getDelayedCalls()), 1)


class AwaitedTests(HeldBack):
    """Whether a response is still awaited, checked before it is sent."""

    async def complete(self, *, ends_with_client: bool = False) -> Any:
        """:return: a request that waits for its response."""
        self.start(b"Content-Length: 5", ends_with_client=ends_with_client)
        await self.caller.send(self.head + b"hello")
        await until(reactor, lambda: self.held.requests and self.body.complete)
        return self.held.requests[0]

    def notice(self, how: PeerState) -> None:
        """Wait until the kernel knows of it, without running the reactor."""
        transport = self.caller.transport
        while peer_state(transport) is not how:
            pass

    async def test_waits(self) -> None:
        """A client that waits, half-closed or not, receives its response."""
        request = await self.complete()
        self.assertTrue(request.is_awaited())
        self.caller.socket.shutdown(socket.SHUT_WR)
        self.notice(PeerState.HALF_CLOSED)
        self.assertTrue(request.is_awaited())
        self.held.answer()
        await self.caller.read_to_end()
        self.assertEqual(self.caller.answers()[0].status, 200)

    async def test_has_left(self) -> None:
        """
        The request of a disconnected client is not awaited, even before a check has noticed it.
        """
        for how, ends_with_client in (("RST", False), ("RST", True), ("FIN", True)):
            request = await self.complete(ends_with_client=ends_with_client)
            self.leave(how)
            self.notice(PeerState.RESET if how == "RST" else PeerState.HALF_CLOSED)
            self.assertFalse(request.is_awaited())
            self.assertFalse(request.is_awaited())
            self.assertEqual(request.transfer.outcome, "client_left")
            request.finish()
            await until(reactor, lambda: not self.caller.site.channels)

    async def test_was_cut(self) -> None:
        """A request that the server has just aborted is not awaited."""
        request = await self.complete()
        request.abort("shutdown")
        self.assertFalse(request.is_awaited())
        self.assertEqual((request.transfer.outcome, request.disconnected), ("shutdown", True))
        self.held.answer()  # is not written, and does no harm
        await self.caller.read_to_end()
        self.assertEqual(self.caller.data, b"")


class TLSTests(HeldBack):
    """With TLS, unread bytes cannot be counted, and one direction cannot be closed alone."""

    async def secure(self) -> None:
        certificate, key = make_certificate(None, None)
        pem = certificate.public_bytes(Encoding.PEM)
        pem += key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.start(b"Content-Length: %d" % SIZE, tls=PrivateCertificate.loadPEM(pem).options())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = self.caller.socket
        secured = context.wrap_socket(plain, do_handshake_on_connect=False)
        secured.setblocking(False)
        self.caller.socket = secured

        def shake() -> bool:
            try:
                secured.do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            return True

        await until(reactor, shake)

    async def test_leaves(self) -> None:
        """A disconnect is noticed with TLS too."""
        for how in ("RST", "FIN"):
            await self.secure()
            await self.send(BODY[:80_000], receiver=True)
            self.leave(how)
            await self.noticed(PeerState.RESET if how == "RST" else PeerState.HALF_CLOSED)
            await self.assert_given_up()

    async def test_waits(self) -> None:
        """A client that waits is not disconnected."""
        await self.secure()
        await self.send(BODY[:80_000], receiver=True)
        self.caller.clock.pump([CHECK_INTERVAL] * 40)
        self.receiver.eager = True
        self.body.resume()
        await self.caller.send(BODY[80_000:])
        await until(reactor, lambda: self.receiver.end)
        self.assertEqual(self.receiver.data, BODY)


class KernelTests(SynchronousTestCase):
    """What the kernel reports of the peer."""

    def pair(self, family: str) -> tuple[Any, socket.socket]:
        """:return: a transport, as far as it is used here, and its peer."""
        if family == "unix":
            ours, theirs = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as server:
                theirs = socket.create_connection(server.getsockname())
                ours = server.accept()[0]
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)

        class Transport:
            def getHandle(self) -> socket.socket:
                return ours

        return Transport(), theirs

    def wait(self, transport: Any, octets: int) -> None:
        while unread(transport) < octets:
            pass

    def test_peer_state(self) -> None:
        """A half-close and a reset are distinguished, with and without unread bytes."""
        for family in ("unix", "tcp"):
            for unread_too in (False, True):
                transport, other = self.pair(family)
                self.assertIs(peer_state(transport), PeerState.CONNECTED)
                if unread_too:
                    other.sendall(b"x" * 1000)
                    self.wait(transport, 1000)
                    self.assertIs(peer_state(transport), PeerState.CONNECTED)
                other.shutdown(socket.SHUT_WR)
                while peer_state(transport) is PeerState.CONNECTED:
                    pass
                self.assertIs(peer_state(transport), PeerState.HALF_CLOSED)
                self.assertEqual(unread(transport), 1000 * unread_too)
        transport, other = self.pair("tcp")
        reset_on_close(other)
        other.close()
        while peer_state(transport) is PeerState.CONNECTED:
            pass
        self.assertIs(peer_state(transport), PeerState.RESET)

    def test_no_socket(self) -> None:
        """A transport that is in memory or closed counts as connected, without an error."""
        self.assertIs(peer_state(StringTransport()), PeerState.CONNECTED)
        self.assertEqual(unread(StringTransport()), 0)
        transport, _ = self.pair("tcp")
        transport.getHandle().close()
        self.assertIs(peer_state(transport), PeerState.CONNECTED)
