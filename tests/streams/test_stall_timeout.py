"""
Timeouts of transfers: any byte that the peer takes, however slowly, is progress.
"""

from __future__ import annotations

import socket
import struct
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
from tests.support.reading_clock import ReadingClock

TIMEOUT = 60.0


class PatienceTests(SynchronousTestCase):
    """How long a slow client may appear to take nothing."""

    def test_window(self) -> None:
        """
        The timeout grows with the TCP window, so that a client that reads 10 kB/s from a large
        buffer is not aborted.
        """
        windows = [(1000, 65_536), (1000, 32_000_000), (1000, 0)]
        self.patch(stall_timeout, "_tcp_window", lambda handle: windows.pop(0))
        with socket.socket() as handle:
            seconds = stall_timeout.stall_timeout_for(Bare(handle), 60)
            self.assertEqual(seconds(), 60)
            self.assertEqual([seconds(), seconds()], [240, 240])  # at most four times as long

    def test_segment(self) -> None:
        """
        The timeout allows for a whole segment, as less is never offered: on loopback 64 KiB, which
        take six seconds.
        """
        for segment, window, least in (
            (65_483, 1, 6.6),
            # Measured with a client that reads 10 kB/s; see `stall_timeout.stall_timeout_for`.
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
        """The sizes of segment and window are read from the kernel."""
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname()) as near,
            server.accept()[0],
        ):
            segment, window = stall_timeout._tcp_window(near)
        self.assertGreater(segment, 500)
        self.assertGreater(window, 1000)

    def test_watch(self) -> None:
        """A `StallTimeout` asks for the current timeout at each check."""
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
        """A transport without a socket has the given timeout."""
        self.assertEqual(stall_timeout.stall_timeout_for(object(), 7)(), 7)


class Bare:
    """A transport with nothing but a socket."""

    def __init__(self, handle: socket.socket) -> None:
        self.getHandle = lambda: handle


class WatchTests(SynchronousTestCase):
    """`StallTimeout`, with a clock."""

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
        """A transfer without progress is reported once, after the timeout."""
        self.watch()
        self.pass_time(TIMEOUT - 0.5)
        self.assertEqual(self.stalls, [])
        self.pass_time(10 * TIMEOUT)
        self.assertEqual(self.stalls, [TIMEOUT])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @given(st.lists(st.integers(1, int(TIMEOUT)), min_size=1, max_size=12))
    def test_slow_but_alive(self, gaps: list[int]) -> None:
        """A slow client that takes something within each timeout is not reported."""
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
        """Time during which the server itself pauses the transfer does not count."""
        self.watch()
        self.state = object
        self.pass_time(5 * TIMEOUT)
        self.state = "resumed"
        self.pass_time(TIMEOUT - 0.5)
        self.assertEqual(self.stalls, [])
        self.pass_time(TIMEOUT / CHECKS + 0.5)
        self.assertEqual(len(self.stalls), 1)

    def test_stopped(self) -> None:
        """After `stop` nothing is reported, as the connection may serve its next request."""
        watch = self.watch()
        self.pass_time(TIMEOUT / 2)
        watch.stop()
        watch.stop()
        self.pass_time(2 * TIMEOUT)
        self.assertEqual((self.stalls, self.clock.getDelayedCalls()), ([], []))

    def test_stopped_when_stalled(self) -> None:
        """`stop` may be called by *stalled*, as an aborted transfer does."""

        def stalled() -> None:
            watch.stop()
            self.stalls.append(self.clock.seconds())

        watch = StallTimeout(self.clock, TIMEOUT, lambda: 0, stalled)
        self.pass_time(2 * TIMEOUT)
        self.assertEqual(self.stalls, [TIMEOUT])


def in_flight(sender: socket.socket) -> int:
    """:return: the number of segments that the peer has not acknowledged (``tcpi_unacked``)."""
    if sender.family == socket.AF_UNIX:
        return 0
    info = sender.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    segments: int = struct.unpack_from("I", info, 24)[0]
    return segments


class SocketTests(TestCase):
    """Progress as the kernel reports it."""

    def pair(self, family: int) -> tuple[socket.socket, socket.socket]:
        """:return: a connection with small buffers: the sender and the reader."""
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
        """
        `acknowledged` changes only when the peer takes bytes; `unsent` is 0 when it has taken all.
        """
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
                await until(reactor, lambda: not in_flight(ours))  # noqa: B023
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
        """A closed connection has no progress and nothing unsent; no error is raised in a timer."""
        for family in (socket.AF_INET, socket.AF_UNIX):
            ours, _ = self.pair(family)
            transport = SimpleNamespace(getHandle=lambda ours=ours: ours)
            state = acknowledged(transport)
            ours.close()
            self.assertEqual((state(), state(), unsent(transport)), (0, 0, 0))

    def test_no_socket(self) -> None:
        """Without a socket, the state never changes and nothing is unsent."""
        for transport in (StringTransport(), SimpleNamespace(getHandle=lambda: 7)):
            state = acknowledged(transport)
            self.assertEqual((state(), unsent(transport)), (state(), 0))


class StoodStillTests(SynchronousTestCase):
    """A process that stood still for longer than the timeout."""

    def test_read_first(self) -> None:
        """What arrived in the meantime is read before it is decided, and counts as progress."""
        state, unread, stalls = [0], [1], list[float]()

        def read() -> None:
            state[0] += sum(unread)
            unread.clear()

        clock = ReadingClock(read)
        StallTimeout(clock, TIMEOUT, lambda: state[0], lambda: stalls.append(clock.seconds()))
        clock.stand_still(10 * TIMEOUT)
        self.assertEqual(stalls, [])
        clock.stand_still(10 * TIMEOUT)
        self.assertEqual(stalls, [20 * TIMEOUT])
