"""
Deadlines of progress: a byte that the other end took, however slowly, is progress.
"""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from chatfiles.streams import stall_timeout
from chatfiles.streams.stall_timeout import CHECKS, StallTimeout, acknowledged, unsent
from tests.support.loopback import until

TIMEOUT = 60.0


class PatienceTests(SynchronousTestCase):
    """How long a living caller may seem to take nothing."""

    def test_window(self) -> None:
        """One that reads 10 kB/s from a large buffer would be cut as if it had stalled."""
        windows = [(1000, 65_536), (1000, 32_000_000), (1000, 0)]
        self.patch(stall_timeout, "_tcp_window", lambda handle: windows.pop(0))
        with socket.socket() as handle:
            seconds = stall_timeout.stall_timeout_for(Bare(handle), 60)
            self.assertEqual(seconds(), 60)
            self.assertEqual([seconds(), seconds()], [240, 240])  # at most four times as long

    def test_segment(self) -> None:
        """Less than a segment is never offered: on loopback 64 KiB, which take six seconds."""
        for segment, window, least in (
            (65_483, 1, 6.6),
            # What was seen of a caller that takes 10 kB/s; see `stall_timeout.stall_timeout_for`.
            (8_192, 16_384, 2.5),
            (16_384, 32_768, 5.0),
            (47_616, 95_232, 13.1),
            (65_483, 368_960, 13.1),
            (65_483, 2_668_544, 20.0),
        ):
            self.patch(stall_timeout, "_tcp_window", lambda handle, of=(segment, window): of)
            with socket.socket() as handle:
                for timeout in (1, 5, 60):
                    seconds = stall_timeout.stall_timeout_for(Bare(handle), timeout)()
                    self.assertGreaterEqual(seconds, min(4 * timeout, least))
                    self.assertLessEqual(seconds, max(timeout, min(4 * timeout, 2 * least)))

    def test_real(self) -> None:
        """What the kernel says is read wrongly."""
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname()) as near,
            server.accept()[0],
        ):
            segment, window = stall_timeout._tcp_window(near)
        self.assertGreater(segment, 500)
        self.assertGreater(window, 1000)

    def test_watch(self) -> None:
        """A watch would not ask how long it may wait now."""
        clock, allowed, stalled = Clock(), [30.0], []
        watch = StallTimeout(
            clock, 10, lambda: 0, lambda: stalled.append(clock.seconds()), lambda: allowed[0]
        )
        self.addCleanup(watch.stop)
        clock.pump([1.25] * 20)
        self.assertEqual(stalled, [])
        allowed[0] = 26
        clock.pump([1.25] * 4)
        self.assertEqual(stalled, [26.25])

    def test_no_socket(self) -> None:
        """Another transport would have no deadline."""
        self.assertEqual(stall_timeout.stall_timeout_for(object(), 7)(), 7)


class Bare:
    """A transport of nothing but a socket."""

    def __init__(self, handle: socket.socket) -> None:
        self.getHandle = lambda: handle


class WatchTests(SynchronousTestCase):
    """With a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.state: Any = 0
        self.stalls: list[float] = []

    def watch(self) -> StallTimeout:
        return StallTimeout(
            self.clock,
            TIMEOUT,
            lambda: self.state() if callable(self.state) else self.state,
            lambda: self.stalls.append(self.clock.seconds()),
        )

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.5] * round(seconds / 0.5))

    def test_stalled(self) -> None:
        """Who takes nothing would hold a transfer for ever; or be told so again and again."""
        self.watch()
        self.pass_time(TIMEOUT - 0.5)
        self.assertEqual(self.stalls, [])
        self.pass_time(10 * TIMEOUT)
        self.assertEqual(self.stalls, [TIMEOUT])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @given(st.lists(st.integers(1, int(TIMEOUT)), min_size=1, max_size=12))
    def test_slow_but_alive(self, gaps: list[int]) -> None:
        """A slow caller would be cut although it takes something in time, each time."""
        self.setUp()
        self.watch()
        for gap in gaps:
            self.clock.pump([0.5] * (2 * gap - 1))
            self.state += 1
            self.clock.advance(0.5)
        self.assertEqual(self.stalls, [])
        self.pass_time(TIMEOUT * (1 + 2 / CHECKS))
        self.assertEqual(len(self.stalls), 1)

    def test_own_pauses(self) -> None:
        """Waiting that we cause ourselves would count against the other end."""
        self.watch()
        self.state = object
        self.pass_time(5 * TIMEOUT)
        self.state = "resumed"
        self.pass_time(TIMEOUT - 0.5)
        self.assertEqual(self.stalls, [])
        self.pass_time(TIMEOUT / CHECKS + 0.5)
        self.assertEqual(len(self.stalls), 1)

    def test_stopped(self) -> None:
        """A transfer that has ended would be cut, with what follows on its connection."""
        watch = self.watch()
        self.pass_time(TIMEOUT / 2)
        watch.stop()
        watch.stop()
        self.pass_time(2 * TIMEOUT)
        self.assertEqual((self.stalls, self.clock.getDelayedCalls()), ([], []))

    def test_stopped_when_stalled(self) -> None:
        """What is cut stops its watch, which would fail."""

        def stalled() -> None:
            watch.stop()
            self.stalls.append(self.clock.seconds())

        watch = StallTimeout(self.clock, TIMEOUT, lambda: 0, stalled)
        self.pass_time(2 * TIMEOUT)
        self.assertEqual(self.stalls, [TIMEOUT])


class SocketTests(TestCase):
    """With what the kernel says."""

    def pair(self, family: int) -> tuple[socket.socket, socket.socket]:
        """:return: a connection with small buffers: who sends, who reads."""
        if family == socket.AF_UNIX:
            ours, theirs = socket.socketpair()
        else:
            listening = socket.create_server(
                ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family
            )
            theirs = socket.socket(family)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            theirs.connect(listening.getsockname())
            ours, _ = listening.accept()
            listening.close()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        for end in (ours, theirs):
            end.setblocking(False)
            self.addCleanup(end.close)
        return ours, theirs

    def fill(self, ours: socket.socket) -> int:
        """:return: how many bytes were sent before no more could be."""
        count = 0
        try:
            while True:
                count += ours.send(bytes(4096))
        except BlockingIOError:
            return count

    async def test_taken(self) -> None:
        """Progress that is made would not be seen, or seen where there is none."""
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            try:
                ours, theirs = self.pair(family)
            except OSError:
                if family != socket.AF_INET6:
                    raise
                continue  # no IPv6 here
            tcp = SimpleNamespace(getHandle=lambda ours=ours: ours)
            tls = SimpleNamespace(transport=tcp, getHandle=None)
            for transport in (tcp, tls):
                state = acknowledged(transport)
                self.assertEqual(unsent(transport), 0)
                sent = self.fill(ours)
                self.assertGreater(unsent(transport), 0)
                stuck = state()
                self.assertEqual({state() for _ in range(100)}, {stuck})
                taken = len(theirs.recv(sent))
                await until(reactor, lambda: state() != stuck)  # noqa: B023
                while taken < sent:
                    try:
                        taken += len(theirs.recv(sent))
                    except BlockingIOError:
                        await until(reactor, lambda: True)
                await until(reactor, lambda: not unsent(transport))  # noqa: B023

    async def test_closed(self) -> None:
        """A look at a connection that is gone would raise in a timer."""
        for family in (socket.AF_INET, socket.AF_UNIX):
            ours, _ = self.pair(family)
            transport = SimpleNamespace(getHandle=lambda ours=ours: ours)
            state = acknowledged(transport)
            ours.close()
            self.assertEqual((state(), state(), unsent(transport)), (0, 0, 0))

    def test_no_socket(self) -> None:
        """A transport without a socket would fail, or always look alive."""
        for transport in (StringTransport(), SimpleNamespace(getHandle=lambda: 7)):
            state = acknowledged(transport)
            self.assertEqual((state(), unsent(transport)), (state(), 0))
