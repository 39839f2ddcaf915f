"""
reference/uploads, "All or nothing": clients, and processes, that disconnect or end while an upload
is under back-pressure or being published.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.testing.broken_upstreams import ScriptedServer, ServerConnection
from tests.live.pair import VIA
from tests.live.processes import SLACK, SOAK, Pair, Role, until
from tests.live.rawhttp import Connection, Incomplete, fetch
from tests.live.upload_client import (
    KIB,
    MIB,
    Way,
    consumed,
    directory_of,
    file,
    form,
    in_chunks,
    in_the_making,
    push,
    report,
    ways,
)

#: Makes a role wait at a closed gate: before it writes to a file, and after it has flushed the
#: directory with new names to the disk.
_GATED = """
import os, stat, time

gates, real_write, real_fsync = os.environ["GATES"], os.write, os.fsync

def wait(gate):
    path = os.path.join(gates, gate)
    if os.path.exists(path):
        os.close(os.open(path + ".reached", os.O_CREAT))
        while os.path.exists(path):
            time.sleep(0.002)

def write(fd, data):
    if stat.S_ISREG(os.fstat(fd).st_mode):
        wait("write")
    return real_write(fd, data)

def fsync(fd):
    real_fsync(fd)
    if stat.S_ISDIR(os.fstat(fd).st_mode) and any(n[32:33] == "-" for n in os.listdir(fd)):
        wait("published")

os.write, os.fsync = write, fsync
"""


class GatedCase(SynchronousTestCase):
    """A pair of roles that wait at gates."""

    def make_pair(self, *options: str) -> Pair:
        self.gates = os.path.realpath(self.mktemp())
        os.makedirs(self.gates)
        with mock.patch.dict(os.environ, {"GATES": self.gates}):
            pair = Pair(both=options, first=_GATED)
        self.addCleanup(pair.discard)
        return pair

    def gate(self, name: str) -> str:
        return os.path.join(self.gates, name)

    def close_gate(self, name: str) -> None:
        """Let a role that reaches this gate wait."""
        with open(self.gate(name), "w"):
            pass

    def reached(self, name: str) -> None:
        """Wait until a role waits at this gate."""
        until(partial(os.path.exists, self.gate(name) + ".reached"), f"{name} is reached")

    def open_gate(self, name: str) -> None:
        """Let them continue."""
        os.unlink(self.gate(name) + ".reached")
        os.unlink(self.gate(name))


class PublishingTests(GatedCase):
    """What happens between the moment when files become visible and the response."""

    BODY = form(file(b"x" * 1000), file(b"y" * 1000))

    def publish(self, pair: Pair, way: Way) -> Connection:
        """:return: the connection of an upload whose files have just become visible."""
        self.close_gate("published")
        connection = way.connect()
        self.addCleanup(connection.close)
        way.begin(connection, len(self.BODY))
        connection.send(self.BODY)
        self.reached("published")
        self.assertEqual(len([n for n in self.names(pair) if n[0] != "."]), 2)
        return connection

    def names(self, pair: Pair) -> list[str]:
        return os.listdir(directory_of(pair))

    def test_stopped(self) -> None:
        """A role that is stopped removes the files whose client did not receive a response."""
        for n in (0, 1) if VIA != "nat" else (1,):
            pair = self.make_pair("--drain-timeout=0.3")
            connection = self.publish(pair, ways(pair)[n])
            for role in pair.roles[1 - n :]:
                role.signal(signal.SIGTERM)
            with contextlib.suppress(Incomplete):
                # The workspace may be the first of the two to close the connection.
                self.assertEqual(connection.response("POST").status, 502)
            time.sleep(0.5)  # until this request is all that it waits for
            self.open_gate("published")
            for role in pair.roles[1 - n :]:
                role.ended_well()
            self.assertEqual(self.names(pair), [])

    def test_stopped_in_time(self) -> None:
        """A role that is stopped keeps the files if it can still respond to the client."""
        pair = self.make_pair()
        connection = self.publish(pair, ways(pair)[1])
        for role in pair.roles:
            role.signal(signal.SIGTERM)
        self.open_gate("published")
        self.assertEqual(connection.response("POST").status, 200)
        for role in pair.roles:
            role.ended_well()
        self.assertEqual(len(self.names(pair)), 2)

    def test_left(self) -> None:
        """If the client disconnects before it receives the response, the files are removed."""
        pair = self.make_pair()
        for n, reset in ((0, True), (1, True), (1, False)):
            mark = pair.workspace.mark()
            connection = self.publish(pair, ways(pair)[n])
            if reset:
                reset_at_close(connection)
            connection.close()
            pair.workspace.logged(r"ingest 0 \d+ bytes \S+ s client_left", since=mark)
            self.open_gate("published")
            until(lambda: not self.names(pair), "they are taken back")
        pair.check_logs()

    def test_closed_its_side(self) -> None:
        """A client of the workspace that has only closed its sending side receives a response."""
        pair = self.make_pair()
        connection = self.publish(pair, ways(pair)[0])
        connection.socket.shutdown(socket.SHUT_WR)
        self.open_gate("published")
        self.assertEqual(connection.response("POST").status, 200)
        self.assertEqual(len(self.names(pair)), 2)

    def test_platform_is_killed(self) -> None:
        """If the platform is killed before it receives the response, the files are removed."""
        pair = self.make_pair()
        self.publish(pair, ways(pair)[1])
        pair.platform.kill()
        pair.workspace.logged(r"ingest 0 \d+ bytes \S+ s client_left")
        self.open_gate("published")
        until(lambda: not self.names(pair), "they are taken back")

    def test_killed(self) -> None:
        """
        If the workspace is killed before it responds, the files are removed at its next start.
        """
        pair = self.make_pair()
        connection = self.publish(pair, ways(pair)[1])
        pair.workspace.kill()
        self.assertEqual(connection.response("POST").status, 502)
        self.open_gate("published")
        roots = [f"--root=/{r}={pair.at(r)}" for r in ("workspace", "configs")]
        again = Role("workspace", *roots)
        assert again.url
        again.stop()
        self.assertEqual(self.names(pair), [])


def window(connection: Connection) -> int:
    """:return: bytes that the peer's kernel is ready to receive (``tcpi_snd_wnd``)."""
    info = connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int(struct.unpack_from("=I", info, 228)[0])


def unsent(connection: Connection) -> int:
    """:return: bytes that the peer has not acknowledged."""
    pending = fcntl.ioctl(connection.socket, termios.TIOCOUTQ, b"\0" * 4)
    return int.from_bytes(pending, sys.byteorder)


def reset_at_close(connection: Connection) -> None:
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


class HeldBackTests(GatedCase):
    """Clients that disconnect while the role does not read what they send."""

    SIZE = 100 * MIB

    def until_held_back(self, way: Way, connection: Connection, length: int | None) -> None:
        """
        Send until the role reads no more though some bytes are waiting for it, and until its kernel
        has received all that was sent: what is still in our own kernel arrives before our end of
        the connection.
        """
        way.begin(connection, length)
        head, piece = file(b""), b"x" * (16 * KIB)
        if length is None:
            head, piece = (in_chunks(data, last=False) for data in (head, piece))
        sent = push(connection, [head])
        while True:
            widest = window(connection)
            while window(connection) > widest - 2 * len(piece):
                sent += push(connection, [piece])
                until(lambda: not unsent(connection), "it is there")
                widest = max(widest, window(connection))
            taken = consumed(connection, sent)
            time.sleep(0.2)
            if taken == consumed(connection, sent) < sent:
                return
            sent += push(connection, [piece])

    def departures(self, way: Way) -> Iterator[tuple[str, Callable[[], None]]]:
        """
        :return: clients under back-pressure: how they will disconnect, and a function that does so.
        """
        all_of_them = list(product((self.SIZE, None), ("FIN", "RST")))
        for length, how in all_of_them if SOAK else all_of_them[::3]:
            connection = way.connect()
            self.addCleanup(connection.close)
            self.until_held_back(way, connection, length)
            if how == "RST":
                reset_at_close(connection)
            yield f"{way.name}, {how}, {length}", connection.close

    def test_platform(self) -> None:
        """
        The platform ends the request to the workspace when the client of an upload disconnects
        (reference/limits-and-shutdown, "Disconnected clients").
        """
        pair, ended = Pair(), list[float]()
        self.addCleanup(pair.discard)

        def script(peer: ServerConnection) -> None:
            peer.request()
            until(lambda: go, "the caller has left")
            with contextlib.suppress(ConnectionError):
                while peer._socket.recv(MIB):
                    pass
            ended.append(time.monotonic())

        go: list[bool] = []
        scripted = ScriptedServer(script)
        self.addCleanup(scripted.close)
        workspace, token = pair.add(scripted.url)
        bearer = {"Authorization": f"Bearer {token}"}
        body = b'{"id": "%s", "url": "%s"}' % (workspace.encode(), scripted.url.encode())
        fetch(pair.platform.url, "/registry/register", bearer, method="POST", body=body)
        way = ways(pair, workspace)[1]._replace(fields=bearer)
        for what, leave in self.departures(way):
            mark = pair.platform.mark()
            began = time.monotonic()
            leave()
            pair.platform.logged(r"upload 0 \d+ bytes \S+ s client_left", since=mark)
            self.assertLess(time.monotonic() - began, 0.5 + SLACK, what)
            go.append(True)  # its kernel's buffer may hold what was sent before
            until(lambda: ended, "the workspace is left")
            report(f"held back, {what}: noticed after {ended[0] - began:.2f} s")
            self.assertLess(ended[0] - began, 0.5 + SLACK, what)
            go.clear()
            ended.clear()
        pair.check_logs()

    def test_workspace(self) -> None:
        """A workspace notices that its client has disconnected though its disk is slow."""
        pair = self.make_pair()
        for way in ways(pair):
            self.close_gate("write")
            for what, leave in self.departures(way):
                mark = pair.workspace.mark()
                began = time.monotonic()
                leave()
                pair.workspace.logged(r"ingest 0 \d+ bytes \S+ s client_left", since=mark)
                took = time.monotonic() - began
                report(f"held back, {what}: noticed after {took:.2f} s")
                self.assertLess(took, 0.5 + SLACK, what)
            self.open_gate("write")
            until(lambda: not in_the_making(pair), "the parts are gone")
        self.assertEqual(os.listdir(directory_of(pair)), [])
        shutil.rmtree(directory_of(pair))
        pair.check_logs()

    def test_has_sent_everything(self) -> None:
        """
        A client that has closed its sending side after a whole body receives its response, even if
        the workspace was slow to read.
        """
        pair = self.make_pair()
        way = ways(pair)[0]
        content = b"x" * (700 * KIB)
        body = form(file(content))
        for wire, length in ((body, len(body)), (in_chunks(body, 10_000), None)):
            self.close_gate("write")
            with way.connect() as connection:
                way.begin(connection, length)
                connection.send(wire)
                connection.socket.shutdown(socket.SHUT_WR)
                self.reached("write")
                time.sleep(1.0)  # several checks by the workspace
                self.open_gate("write")
                answer = connection.response("POST")
                self.assertEqual(answer.status, 200, answer.body)
                self.assertEqual(answer.json["files"][0]["size"], len(content))
        pair.check_logs()
