"""
Clients that half-close the connection after their request: ``printf … | nc -N``.
"""

from __future__ import annotations

import socket

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from chatfiles.http.server.disconnect import CHECK_INTERVAL
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.streams.stall_timeout import unsent
from tests.support.loopback import Loopback, more_than, until
from tests.support.memory_client import Held, parse
from tests.support.resources import Branch, Endpoint


class Slow(Endpoint):
    """Responds when the test says so."""

    def __init__(self, ends_with_client: bool) -> None:
        super().__init__()
        self.ends_with_client = ends_with_client
        self.waiting: list[Deferred[None]] = []
        self.cancelled = 0

    async def render_GET(self, request: Request) -> JSONResponse:
        waiting: Deferred[None] = Deferred(self._cancel)
        self.waiting.append(waiting)
        await waiting
        return JSONResponse(200, {"slow": True})

    def _cancel(self, _: object) -> None:
        self.cancelled += 1


class Quick(Endpoint):
    """Responds at once."""

    async def render_GET(self, request: Request) -> JSONResponse:
        return JSONResponse(200, {"quick": True})


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


class HalfCloseTests(TestCase):
    """A FIN behind a complete request."""

    def start(self, *, ends_with_client: bool = False) -> tuple[Loopback, Slow]:
        root, slow = Branch(), Slow(ends_with_client)
        root.putChild(b"slow", slow)
        root.putChild(b"quick", Quick())
        return Loopback(self, reactor, root), slow

    async def everything(self, caller: Loopback) -> bytes:
        """:return: all bytes up to the server's own FIN."""
        data = b""

        def read() -> bool:
            nonlocal data
            try:
                piece = caller.socket.recv(65536)
            except BlockingIOError:
                return False
            data += piece
            return not piece

        await until(reactor, read)
        return data

    async def test_pipelined(self) -> None:
        """All requests before the FIN get their responses."""
        caller, _ = self.start()
        await caller.send(get("/quick") * 3)
        caller.socket.shutdown(socket.SHUT_WR)
        answers = parse(await self.everything(caller))
        self.assertEqual([answer.status for answer in answers], [200, 200, 200])
        await until(reactor, lambda: not caller.site.channels)

    async def test_later(self) -> None:
        """A response that takes a while is sent after the FIN."""
        caller, slow = self.start()
        await caller.send(get("/slow"))
        await until(reactor, lambda: slow.waiting)
        caller.socket.shutdown(socket.SHUT_WR)
        (channel,) = caller.site.channels
        await until(reactor, lambda: channel.peer_finished)
        slow.waiting[0].callback(None)
        (answer,) = parse(await self.everything(caller))
        self.assertEqual(answer.status, 200)
        await until(reactor, lambda: not caller.site.channels)

    async def test_pipelined_behind_a_slow_one(self) -> None:
        """Requests that wait for their turn are served after the first response."""
        caller, slow = self.start()
        await caller.send(get("/slow") + get("/quick") * 120 + b"GET /unfinished")
        await until(reactor, lambda: slow.waiting)
        caller.socket.shutdown(socket.SHUT_WR)
        (channel,) = caller.site.channels
        await until(reactor, lambda: channel.peer_finished)
        slow.waiting[0].callback(None)
        for _ in range(3):  # at most REQUESTS_PER_TURN are served at a time
            caller.clock.advance(0)
        answers = parse(await self.everything(caller))
        self.assertEqual([answer.status for answer in answers], [200] * 121)
        await until(reactor, lambda: not caller.site.channels)

    async def test_others_work_for_it(self) -> None:
        """
        A request that ends with its client is cancelled after a FIN, so that an upstream does not
        send in vain.
        """
        for more in (b"", get("/slow")):
            caller, slow = self.start(ends_with_client=True)
            await caller.send(get("/slow") + more)
            await until(reactor, lambda slow=slow: slow.waiting)  # type: ignore[misc]
            caller.socket.shutdown(socket.SHUT_WR)
            (channel,) = caller.site.channels
            await until(reactor, lambda channel=channel: channel.peer_finished)  # type: ignore[misc]
            if more:
                slow.waiting[0].callback(None)
            caller.clock.pump([CHECK_INTERVAL] * 2)
            await until(reactor, lambda caller=caller: not caller.site.channels)  # type: ignore[misc]
            self.assertEqual((slow.cancelled, len(slow.waiting)), (1, 2 if more else 1))
            self.assertEqual(caller.clock.getDelayedCalls(), [])

    async def test_others_work_for_it_but_not_for_long(self) -> None:
        """Such a request gets a response that is ready before the next check, as a refusal is."""
        caller, slow = self.start(ends_with_client=True)
        await caller.send(get("/slow") * 2)
        await until(reactor, lambda: slow.waiting)
        caller.socket.shutdown(socket.SHUT_WR)
        (channel,) = caller.site.channels
        await until(reactor, lambda: channel.peer_finished)
        for waiting in range(2):
            slow.waiting[waiting].callback(None)
        answers = parse(await self.everything(caller))
        self.assertEqual([answer.status for answer in answers], [200, 200])
        await until(reactor, lambda: not caller.site.channels)

    async def test_others_work_for_it_and_it_reads_on(self) -> None:
        """
        Such a request continues while the half-closed client reads steadily, as with a large file,
        and ends when it no longer reads.
        """
        held = Held()
        held.ends_with_client = True
        caller = Loopback(self, reactor, held)
        await caller.send(get("/"))
        await until(reactor, lambda: held.requests)
        caller.socket.shutdown(socket.SHUT_WR)
        (channel,) = caller.site.channels
        await until(reactor, lambda: channel.peer_finished)
        for _ in range(8):
            held.requests[0].write(bytes(1000))
            wanted = len(caller.data) + 1000
            await caller.read(more_than(wanted - 1))
            await until(reactor, lambda: not unsent(caller.transport))
            caller.clock.advance(CHECK_INTERVAL)
            self.assertEqual(len(caller.site.channels), 1)
        caller.clock.advance(CHECK_INTERVAL)
        await until(reactor, lambda: not caller.site.channels)
        self.assertEqual(held.requests[0].transfer.outcome, "client_left")

    async def test_refused(self) -> None:
        """A rejection is sent after a FIN, and the connection is closed without the linger time."""
        caller, _ = self.start()
        await caller.send(b"nonsense\r\n\r\n")
        caller.socket.shutdown(socket.SHUT_WR)
        (answer,) = parse(await self.everything(caller))
        self.assertEqual(answer.status, 400)
        await until(reactor, lambda: not caller.site.channels)

    async def test_half_a_body(self) -> None:
        """A FIN within a body closes the connection, as the body can never be complete."""
        caller, _ = self.start()
        await caller.send(b"POST /quick HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc")
        caller.socket.shutdown(socket.SHUT_WR)
        await until(reactor, lambda: not caller.site.channels)
