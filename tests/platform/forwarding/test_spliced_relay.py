"""
Relaying large bodies with ``splice``, over real sockets: every byte, with back-pressure; what is
interrupted never looks complete; pipes are closed.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Any

from twisted.internet import reactor

from chatfiles.streams.in_flight import unspliced_rest
from chatfiles.streams.pipe import Pipes
from chatfiles.streams.splice import Splicer
from chatfiles.streams.transports import SMALL_READ
from tests.platform.forwarding.spliced_case import (
    HOP,
    MIB,
    SIZE,
    Server,
    SpliceCase,
    body_of,
    head,
)
from tests.support.garbage import no_garbage
from tests.support.loopback import Loopback, more_than, reset_on_close, until
from tests.support.memory_client import IDLE_TIMEOUT, get, parse
from tests.support.sent_file import content


class SplicedRelayTests(SpliceCase):
    """Through a workspace that follows the test."""

    server: Server
    taken = 0

    async def begin(
        self, answer: bytes, splicer: Splicer | None = None, *, to_proxy: bool = False
    ) -> Loopback:
        """Ask for *answer*."""
        self.server = server = Server()
        server.connections, server.answer = [], answer
        client = self.start(self.listen(self.server), splicer)
        self.root.via_proxy = to_proxy
        await self.ask(client)
        return client

    async def begin_slowly(self, answer: bytes) -> Loopback:
        """As `begin`, until the client's buffers and the pipe are full."""
        client = await self.begin(answer)
        await until(reactor, lambda: self.splices)
        await self.settle()
        self.assertGreater(self.open_pipes(), 0)
        return client

    @property
    def workspace(self) -> Any:
        return self.server.connections[-1]

    @property
    def outcome(self) -> str:
        return self.root.requests[-1].transfer.outcome

    async def assert_whole(self, client: Loopback, body: bytes) -> None:
        await client.read(
            lambda got: len(got) > len(body) and [a.complete for a in parse(got)] == [True]
        )
        (answer,) = parse(client.data)
        self.assertTrue(answer.complete and answer.body == body)
        await until(reactor, lambda: self.outcome)
        self.assertEqual(
            (self.outcome, self.root.requests[-1].transfer.sent), ("complete", len(body))
        )
        self.assertEqual(self.open_pipes(), 0)
        self.taken += len(client.data)
        client.data = b""

    async def assert_cut(self, client: Loopback, outcome: str) -> None:
        await client.read_to_end()
        self.assertFalse([answer for answer in parse(client.data) if answer.complete])
        await until(reactor, lambda: self.outcome)
        self.assertEqual(self.outcome, outcome)
        self.assertEqual(client.site.running, 0)
        self.assertEqual(self.open_pipes(), 0)

    async def test_whole(self) -> None:
        """The kernel relays all but the ends of a body, and both connections are used again."""
        body = content(SIZE)
        client = await self.begin(head(SIZE) + body)
        await self.assert_whole(client, body)
        self.assertGreater(sum(self.splices), 2 * (SIZE - 2 * MIB))
        for again in (content(5), content(2 * MIB), b""):
            self.server.answer = head(len(again)) + again
            with no_garbage(self):
                await client.send(get())
                await self.assert_whole(client, again)
        self.assertEqual(len(self.server.connections), 1)
        (channel,) = client.site.channels
        self.assertIs(client.transport.producer, channel)
        self.assertEqual(channel.delivery.written, self.taken)  # the audit log trusts it

    async def test_behind_a_full_buffer(self) -> None:
        """A connection that was paused before the body serves the next request after it."""
        self.server = server = Server()
        server.connections, server.answer = [], head(SIZE) + content(SIZE)
        client = self.start(self.listen(server))
        await client.connected()
        (channel,) = client.site.channels
        client.transport.producerPaused = True
        channel.pauseProducing()
        client.transport.resumeProducing()
        for _ in range(2):
            await client.send(get())
            await self.assert_whole(client, content(SIZE))

    async def test_connection_is_closed(self) -> None:
        """If the platform itself closes the workspace's connection, the transfer ends."""
        client = await self.begin_slowly(head(32 * MIB) + content(32 * MIB))
        self.root.upstream.stopProducing()
        await self.assert_cut(client, "upstream_cut")
        client = await self.begin(head(SIZE) + content(3 * MIB))
        await client.read(lambda got: len(body_of(got)) == 3 * MIB)
        self.root.upstream.stopProducing()
        await self.assert_cut(client, "upstream_cut")

    async def test_not_worth_it(self) -> None:
        """Small bodies and chunked ones are relayed as before."""
        body = content(MIB)
        client = await self.begin(head(MIB) + body)
        await self.assert_whole(client, body)
        chunk = b"%x\r\n%b\r\n" % (SIZE, content(SIZE))
        self.server.answer = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"
        )
        await client.send(get())
        await self.assert_whole(client, content(SIZE))
        self.assertEqual(self.splices, [])

    async def test_to_a_proxy(self) -> None:
        """A proxy may use ``splice`` itself, so more bytes at the end are copied."""
        size = unspliced_rest(HOP) + 3 * MIB
        body = content(size)
        client = await self.begin(head(size) + body, to_proxy=True)
        await self.assert_whole(client, body)
        self.assertGreater(sum(self.splices), 4 * MIB)
        self.assertLess(sum(self.splices), 6 * MIB + SMALL_READ)

    async def test_slow_client(self) -> None:
        """A client that does not read pauses the workspace; later it receives every byte."""
        size = 32 * MIB
        body = content(size)
        client = await self.begin_slowly(head(size) + body)
        relay = self.root.requests[0].transfer._sender
        assert relay is not None
        seen = -1
        while seen != (seen := relay.sent):
            await self.settle()
        self.assertLess(seen, 2 * HOP)
        await self.assert_whole(client, body)

    async def test_slow_workspace(self) -> None:
        """Bytes that come one by one are relayed one by one."""
        body = content(2 * MIB)
        client = await self.begin(head(2 * MIB))
        await until(reactor, lambda: self.root.upstream)
        for at in (*range(3), 1000, 500_000, MIB, 2 * MIB - SMALL_READ, 2 * MIB - 1, 2 * MIB):
            done = len(body_of(client.data))
            self.workspace.transport.write(body[done:at])
            await client.read(lambda got: len(body_of(got)) >= at)  # noqa: B023
        await self.assert_whole(client, body)
        self.assertGreater(sum(self.splices), 2 * (MIB - SMALL_READ))

    async def test_workspace_ends(self) -> None:
        """
        If the workspace closes or resets its connection too early, the client receives what came
        before a close, and an incomplete body.
        """
        for slowly in (False, True):
            for reset in (False, True):
                part = content(SIZE)[: 6 * MIB]
                client = await (self.begin_slowly if slowly else self.begin)(head(SIZE) + part)
                if not slowly:
                    await client.read(lambda got: len(body_of(got)) == 6 * MIB)
                transport = self.workspace.transport
                transport.abortConnection() if reset else transport.loseConnection()
                await self.assert_cut(client, "upstream_cut")
                self.assertTrue(part.startswith(body_of(client.data)))

    async def test_bytes_after_the_body(self) -> None:
        """They do not reach the client, and the workspace's connection is not used again."""
        body = content(SIZE)
        client = await self.begin(head(SIZE) + body + b"HTTP/1.1 200 OK\r\n\r\n")
        await self.assert_whole(client, body)
        await until(reactor, lambda: self.workspace.closed)
        self.server.answer = head(5) + content(5)
        await client.send(get())
        await self.assert_whole(client, content(5))
        self.assertEqual(len(self.server.connections), 2)

    async def test_client_leaves(self) -> None:
        """If the client disconnects, the workspace's connection is closed."""
        for reset in (False, True):
            client = await self.begin_slowly(head(32 * MIB) + content(32 * MIB))
            if reset:
                reset_on_close(client.socket)
            client.socket.close()
            await until(reactor, lambda: self.outcome)
            self.assertEqual(self.outcome, "client_left")
            await until(reactor, lambda: self.workspace.closed)
            self.assertEqual(self.open_pipes(), 0)

    async def test_client_stalls(self) -> None:
        """A client that takes nothing is disconnected, not before its timeout."""
        client = await self.begin_slowly(head(32 * MIB) + content(32 * MIB))
        for _ in range(5 * 8):
            client.clock.advance(IDLE_TIMEOUT / 8)
        await until(reactor, lambda: self.outcome)
        await self.assert_cut(client, "client_stalled")
        await until(reactor, lambda: self.workspace.closed)

    async def test_workspace_stalls(self) -> None:
        """A workspace that sends nothing times out, unless the relay waits for the client."""
        client = await self.begin(head(SIZE) + content(3 * MIB))
        await client.read(lambda got: len(body_of(got)) == 3 * MIB)
        for _ in range(7):
            client.clock.advance(IDLE_TIMEOUT / 8)
        self.assertEqual(self.outcome, "")
        self.workspace.transport.write(b"x")
        await client.read(more_than(len(client.data)))
        for _ in range(7):
            client.clock.advance(IDLE_TIMEOUT / 8)
        self.assertEqual(self.outcome, "")
        for _ in range(3):
            client.clock.advance(IDLE_TIMEOUT / 8)
        await self.assert_cut(client, "upstream_stalled")

    async def test_shutdown(self) -> None:
        """A transfer that the server aborts ends at once."""
        client = await self.begin_slowly(head(32 * MIB) + content(32 * MIB))
        self.root.requests[0].abort("shutdown")
        await self.assert_cut(client, "shutdown")
        await until(reactor, lambda: self.workspace.closed)

    async def test_no_pipe(self) -> None:
        """Without a pipe, large bodies are relayed as before."""

        def fails(*_: Any) -> Any:
            raise OSError(errno.EMFILE, "no descriptors")

        def small(fd: int, command: int, *more: Any) -> int:
            return 4096 if command == fcntl.F_GETPIPE_SZ else fcntl_(fd, command, *more)

        fcntl_ = fcntl.fcntl
        for module, name, fake in ((os, "pipe2", fails), (fcntl, "fcntl", small)):
            patch = self.patch(module, name, fake)
            client = await self.begin(head(SIZE) + content(SIZE))
            await self.assert_whole(client, content(SIZE))
            patch.restore()
        client = await self.begin(head(SIZE) + content(SIZE), Splicer(Pipes(0), HOP))
        await self.assert_whole(client, content(SIZE))
        self.assertEqual(self.splices, [])

    async def test_no_splice(self) -> None:
        """Where there is no ``splice``, as in Python on macOS, none is needed."""
        self.patch(os, "splice", None)
        del os.splice
        self.assertIsNone(Pipes().open())

    async def test_initial_size(self) -> None:
        """A pipe that cannot be enlarged is used as it is."""

        def refuses(fd: int, command: int, *more: Any) -> int:
            if command == fcntl.F_SETPIPE_SZ:
                raise PermissionError
            return int(fcntl_(fd, command, *more))

        fcntl_ = fcntl.fcntl
        self.patch(fcntl, "fcntl", refuses)
        client = await self.begin(head(SIZE) + content(SIZE))
        await self.assert_whole(client, content(SIZE))
        self.assertGreater(sum(self.splices), SIZE)

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
            client = await self.begin(head(SIZE) + content(SIZE))
            await self.assert_whole(client, content(SIZE))

    async def test_limit(self) -> None:
        """Beyond the limit of pipes, bodies are relayed as before; a closed pipe makes room."""
        splicer = Splicer(Pipes(1), HOP)
        first = await self.begin(head(SIZE) + content(SIZE), splicer)
        await until(reactor, lambda: self.splices)
        self.assertEqual(self.open_pipes(), 2)
        root = self.root
        second = await self.begin(head(SIZE) + content(SIZE), splicer)
        await second.read(lambda got: len(got) >= SIZE and parse(got)[0].complete)
        self.assertEqual(self.open_pipes(), 2)
        self.root = root
        await self.assert_whole(first, content(SIZE))
        self.splices.clear()
        third = await self.begin(head(SIZE) + content(SIZE), splicer)
        await self.assert_whole(third, content(SIZE))
        self.assertTrue(self.splices)
