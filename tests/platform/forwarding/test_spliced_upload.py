"""
Large uploads with ``splice``, over real sockets: every byte, with back-pressure and deadlines; what
is interrupted never looks complete; pipes are closed.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Protocol, ServerFactory

from chatfiles.streams.pipe import Pipes
from chatfiles.streams.splice import Splicer
from chatfiles.streams.transports import SMALL_READ
from tests.platform.forwarding.spliced_case import HOP, MIB, SIZE, SpliceCase
from tests.support.garbage import no_garbage
from tests.support.loopback import Loopback, reset_on_close, until
from tests.support.memory_client import CHUNKED, IDLE_TIMEOUT, chunked, get, parse
from tests.support.sent_file import content

STORED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
TOO_LARGE = b"HTTP/1.1 413 x\r\nContent-Length: 2\r\n\r\n{}"


class Storing(Protocol):
    """Reads when the test lets it, and responds to a whole body."""

    transport: Any
    factory: Any

    def connectionMade(self) -> None:
        self.factory.connections.append(self)
        self.closed, self.body = False, bytearray()
        self.headers = b""
        if self.factory.slow:
            self.transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        if not self.headers:
            self.headers, _, data = data.partition(b"\r\n\r\n")
        self.body += data
        last_chunk = b"chunked" in self.headers and self.body.endswith(b"0\r\n\r\n")
        if last_chunk or len(self.body) == self.factory.size:
            self.transport.write(STORED)

    def connectionLost(self, reason: object = None) -> None:
        self.closed = True


class Server(ServerFactory):
    """Makes workspaces that store."""

    protocol = Storing
    noisy = False

    def __init__(self, size: int, *, slow: bool) -> None:
        self.size, self.slow = size, slow
        self.connections: list[Storing] = []


def put(size: int) -> bytes:
    """:return: the headers of an upload."""
    return get(b"/p", b"Content-Length: %d" % size, method=b"PUT")


class SplicedUploadTests(SpliceCase):
    """To a workspace that follows the test."""

    async def begin(
        self,
        body: bytes,
        size: int = SIZE,
        *,
        slow: bool = False,
        splicer: Splicer | None = None,
    ) -> Loopback:
        """Send the headers of an upload of *size* bytes, and *body*, as far as it is taken."""
        self.server = Server(size, slow=slow)
        client = self.start(self.listen(self.server), splicer)
        await client.connected()
        await client.send(put(size))
        await until(reactor, lambda: self.server.connections)
        if slow:
            await client.flood(len(body), body)
            await until(reactor, lambda: self.splices)
            await self.settle()
        else:
            await client.send(body)
        return client

    @property
    def workspace(self) -> Storing:
        return self.server.connections[-1]

    @property
    def outcome(self) -> str:
        return self.root.requests[-1].transfer.outcome

    def stored(self) -> int:
        return len(self.workspace.body)

    async def assert_stored(self, client: Loopback, body: bytes, *, spliced: bool = True) -> None:
        await client.read(lambda got: [answer.status for answer in parse(got)] == [201])
        self.assertTrue(self.workspace.body == body)
        self.assertEqual(self.root.requests[-1].body.seen, len(body))
        self.assertEqual(self.open_pipes(), 0)
        self.assertEqual(sum(self.splices) > len(body), spliced)
        client.data = b""

    async def assert_lost(self, client: Loopback) -> None:
        await until(reactor, lambda: self.workspace.closed)
        self.assertLess(self.stored(), self.server.size)
        await until(reactor, lambda: not client.site.running)
        self.assertEqual(self.open_pipes(), 0)

    async def test_whole(self) -> None:
        """The kernel moves all but the ends of a body; the client's connection is used again."""
        body = content(SIZE)
        client = await self.begin(body)
        await self.assert_stored(client, body)
        self.assertGreater(sum(self.splices), 2 * (SIZE - MIB))
        self.assertEqual(len(client.site.channels), 1)
        for again in (content(5), content(3 * MIB)):
            self.splices.clear()
            self.server.size = len(again)
            with no_garbage(self):
                await client.send(put(len(again)) + again)
                await self.assert_stored(client, again, spliced=len(again) > MIB)
                await until(reactor, lambda: self.workspace.closed)

    async def test_not_worth_it(self) -> None:
        """Small bodies and chunked ones are relayed as before."""
        client = await self.begin(content(MIB), MIB)
        await self.assert_stored(client, content(MIB), spliced=False)
        await client.send(get(b"/p", CHUNKED, method=b"PUT") + chunked(content(SIZE)))
        await client.read(lambda got: b"201" in got)
        self.assertEqual(self.splices, [])

    async def test_slow_workspace(self) -> None:
        """A workspace that does not read pauses the client; later it receives every byte."""
        size = 32 * MIB
        body = content(size)
        client = await self.begin(b"", size)
        self.workspace.transport.pauseProducing()
        sent = 0
        while more := await client.flood(1, body[sent : sent + MIB]):
            sent += more
        self.assertLess(self.root.requests[0].body.seen, 16 * MIB)
        self.assertTrue(self.root.requests[0].body.paused)
        self.assertEqual(self.root.body.progress(), self.root.body.progress())
        self.workspace.transport.resumeProducing()
        await client.send(body[sent:])
        await self.assert_stored(client, body)

    async def test_slow_client(self) -> None:
        """Bytes that come one by one are moved one by one, and a slow client is not late."""
        size = 2 * MIB
        body = content(size)
        client = await self.begin(b"", size)
        at = 0
        for to in (1, 2, 1000, MIB, size - SMALL_READ, size - 1, size):
            client.clock.advance(IDLE_TIMEOUT * 0.9)
            await client.send(body[at:to])
            await until(reactor, lambda: self.stored() == to)  # noqa: B023
            at = to
        await self.assert_stored(client, body)

    async def test_urgent_data(self) -> None:
        """``splice`` stops at TCP urgent data for ever; the relay passes over it."""
        body, at = content(SIZE), 2 * MIB
        client = await self.begin(body[:at])
        await until(reactor, lambda: self.stored() == at)
        client.socket.send(b"!", socket.MSG_OOB)
        await client.send(body[at:])
        await self.assert_stored(client, body, spliced=False)

    async def test_silent_client(self) -> None:
        """A client that stops sending is refused after its timeout."""
        client = await self.begin(content(3 * MIB))
        await until(reactor, lambda: self.stored() == 3 * MIB)
        client.clock.advance(IDLE_TIMEOUT * 0.9)
        await self.settle()
        self.assertEqual(client.data, b"")
        client.clock.advance(IDLE_TIMEOUT * 0.2)
        client.clock.advance(0)
        await client.read(lambda got: b"408" in got)
        self.assertIn(b"request_timeout", client.data)
        await self.assert_lost(client)

    async def test_client_leaves(self) -> None:
        """A client that disconnects has stored nothing, whether the workspace reads or not."""
        for slow in (False, True):
            for reset in (False, True):
                client = await self.begin(content(6 * MIB), slow=slow)
                if not slow:
                    await until(reactor, lambda: self.stored() == 6 * MIB)
                if reset:
                    reset_on_close(client.socket)
                client.socket.close()
                while not self.outcome:
                    client.clock.advance(0.25)
                    await self.settle()
                self.assertEqual(self.outcome, "client_left")
                if slow:
                    self.workspace.transport.resumeProducing()
                await self.assert_lost(client)

    async def test_workspace_leaves(self) -> None:
        """The client is told that the workspace has failed."""
        for slow in (False, True):
            client = await self.begin(content(6 * MIB), slow=slow)
            self.workspace.transport.abortConnection()
            await client.read(lambda got: b"upstream" in got)
            self.assertEqual(parse(client.data)[0].status, 502)
            await self.assert_lost(client)

    async def test_early_response(self) -> None:
        """The client gets a response that the workspace sends before the body is complete."""
        for slow in (False, True):
            client = await self.begin(content(6 * MIB), slow=slow)
            self.workspace.transport.write(TOO_LARGE)
            await client.read(lambda got: b"{}" in got)
            self.assertEqual(parse(client.data)[0].status, 413)
            self.assertEqual(self.open_pipes(), 0)
            await until(reactor, lambda: not client.site.running)  # noqa: B023

    async def test_workspace_stalls(self) -> None:
        """A workspace that takes nothing is given up, and the client is told."""
        client = await self.begin(content(SIZE), slow=True)
        self.root.body.give_up()
        await client.read(lambda got: b"504" in got)
        self.workspace.transport.resumeProducing()
        await self.assert_lost(client)

    async def test_shutdown(self) -> None:
        """An upload that the server aborts ends at once."""
        client = await self.begin(content(SIZE), slow=True)
        self.root.requests[0].abort("shutdown")
        await client.read_to_end()
        self.assertEqual(self.outcome, "shutdown")
        self.workspace.transport.resumeProducing()
        await self.assert_lost(client)

    async def test_splice_fails(self) -> None:
        """If the kernel refuses, early or late, the rest is relayed as before: no byte is lost."""
        counted = os.splice
        for good in (0, 1, 2, 3, 8):
            self.splices.clear()

            def refuses(*arguments: Any, good: int = good, **more: Any) -> int:
                if len(self.splices) >= good:
                    raise OSError(errno.EINVAL, "not here")
                return counted(*arguments, **more)

            self.patch(os, "splice", refuses)
            client = await self.begin(content(SIZE))
            await self.assert_stored(client, content(SIZE), spliced=sum(self.splices) > SIZE)

    async def test_no_pipe(self) -> None:
        """Without a pipe, large bodies are relayed as before."""
        client = await self.begin(content(SIZE), splicer=Splicer(Pipes(0), HOP))
        await self.assert_stored(client, content(SIZE), spliced=False)
