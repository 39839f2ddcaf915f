"""
A file that is rewritten in place while the platform relays it with ``splice``.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock

from chatfiles.streams.file_source import FileSource
from chatfiles.streams.in_flight import relayed_tail
from tests.platform.forwarding.spliced_case import (
    HOP,
    MIB,
    RECEIVE,
    SpliceCase,
)
from tests.support.loopback import Loopback, more_than, until
from tests.support.memory_client import CountingSite, parse
from tests.support.sent_file import Opened, Sending


class RewrittenTests(SpliceCase):
    """
    reference/downloads, "One version": bytes in the pipe and in the sockets of both connections
    may be references to the page cache of the workspace's file.
    """

    async def begin(self, size: int, tail: int) -> tuple[Opened, Sending, Loopback]:
        opened = Opened(self, size)
        sending = Sending(FileSource(opened))
        sending.span, sending.tail = (0, size), tail
        site = CountingSite(sending, Clock(), header_timeout=60, idle_timeout=60)
        client = self.start(self.listen(site))
        self.addCleanup(self.close, site)
        await self.ask(client)
        await until(reactor, lambda: self.root.upstream)
        wire = self.root.upstream.transport.socket
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE)
        return opened, sending, client

    def close(self, site: CountingSite) -> None:
        for channel in site.channels:
            channel.abort()

    async def received(self, client: Loopback) -> Any:
        await client.read(lambda got: [a.complete for a in parse(got)] == [True])
        return parse(client.data)[0]

    async def test_after_the_last_check(self) -> None:
        """
        The workspace has checked and sent everything, and the client has not read yet: a rewrite
        changes no byte.
        """
        for size in (HOP + HOP // 4, HOP + HOP // 2):
            opened, sending, client = await self.begin(size, relayed_tail(HOP))
            await until(reactor, lambda: sending.done.called)  # noqa: B023
            await self.settle()
            opened.rewrite()
            answer = await self.received(client)
            self.assertTrue(self.splices)
            self.assertTrue(answer.complete and answer.body == opened.data, size)

    async def test_during_the_transfer(self) -> None:
        """A rewrite at any time gives the old content, or an incomplete body."""
        size = relayed_tail(HOP) + 6 * MIB
        for taken in (0, MIB, 5 * MIB, size - relayed_tail(HOP), size - HOP, size - MIB, size - 1):
            opened, _, client = await self.begin(size, relayed_tail(HOP))
            await client.read(more_than(taken))
            await self.settle()
            opened.rewrite()
            answer = await self.received(client)
            self.assertTrue(self.splices)
            self.assertTrue(not answer.complete or answer.body == opened.data, taken)
            self.splices.clear()
