"""
How a request passes its response to the connection.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from chatfiles.http.server.request import SENT_AT_ONCE, Request
from chatfiles.streams.transports import unsent_here
from tests.support.loopback import Loopback
from tests.support.resources import Endpoint


class _Parts(Endpoint):
    """Sends parts of a body, and notes whether each waits for the reactor."""

    isLeaf = True

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.sizes = sizes
        self.waits: list[bool] = []

    async def render_GET(self, request: Request) -> None:
        transport: Any = request.channel.transport
        for size in self.sizes:
            request.write(b"x" * size)
            self.waits.append(unsent_here(transport))
        request.finish()


class WriteTests(TestCase):
    """A large part is in the socket when ``write`` returns; small ones are sent together later."""

    async def test_parts(self) -> None:
        """All arrive in order, whatever their sizes are."""
        large, small = SENT_AT_ONCE, SENT_AT_ONCE - 1
        for sizes, waits in (
            ([large, large], [False, False]),  # the first one with the headers
            ([large, small, large], [False, True, True]),  # not before those that wait
            ([small], [True]),
        ):
            parts = _Parts(sizes)
            caller = Loopback(self, reactor, parts)
            await caller.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await caller.read_to_end()
            (answer,) = caller.answers()
            self.assertEqual((answer.status, len(answer.body)), (200, sum(sizes)))
            self.assertEqual(parts.waits, waits)
