"""
reference/resolution, "Resolution table": uploads to workspaces that behave differently from ours.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from functools import partial

from chatfiles.testing.broken_upstreams import ScriptedServer, ServerConnection
from tests.live.processes import IMPATIENT, SLACK, LiveCase, Pair, until
from tests.live.rawhttp import Response, fetch
from tests.live.upload_client import (
    FORM,
    KIB,
    MIB,
    Way,
    at_once,
    connections,
    consumed,
    file,
    form,
    most_memory,
    pace,
    push,
    queued,
    report,
    take,
    ways,
)
from tests.support.patience import PATIENCE


def answer_bytes(status: int, body: bytes, more: str = "") -> bytes:
    """:return: a response as a workspace sends it."""
    return (
        f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{more}\r\n"
    ).encode() + body


#: The response of a workspace that has stored nothing.
STORED = b'{"files": []}'


class ScriptedCase(LiveCase):
    """A platform, and scripted workspaces."""

    def way(self, script: Callable[[ServerConnection], object]) -> Way:
        """:return: the way to a workspace that runs *script*."""
        scripted = ScriptedServer(script)
        self.addCleanup(scripted.close)
        workspace, token = self.pair.add(scripted.url)
        secret = {"id": workspace, "url": scripted.url}
        fields = {"Authorization": f"Bearer {token}"}
        registered = fetch(
            self.pair.platform.url,
            "/registry/register",
            fields,
            method="POST",
            body=json.dumps(secret).encode(),
        )
        self.pair.hide(registered.json["platform_inbound_secret"])
        self.scripted = scripted
        return ways(self.pair, workspace)[1]._replace(fields=fields)

    def assert_told(self, answer: Response, status: int, text: str) -> None:
        self.assertEqual((answer.status, answer.error), (status, text))
        self.assertEqual(answer.json["request_id"], answer["x-request-id"])


class UpstreamTests(ScriptedCase):
    """A platform with short timeouts, and scripted workspaces."""

    IDLE = IMPATIENT
    HEADER = 2 * IDLE

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(platform=[f"--idle-timeout={cls.IDLE}", f"--header-timeout={cls.HEADER}"])

    def test_what_it_is_sent(self) -> None:
        """
        A workspace receives the body and the headers that it needs, and not the client's
        credentials.
        """
        body = form(file(b"x" * 100_000))
        got: list[bytes] = []

        def script(peer: ServerConnection) -> None:
            asked = peer.request()
            assert asked is not None
            got.append(peer.body(asked))
            peer.send(answer_bytes(200, STORED))

        way = self.way(script)
        more = {
            "X-Request-Id": "r-1",
            "Cookie": "a=b",
            "X-Forwarded-For": "1.2.3.4",
            "Expect": "100-continue",
        }
        answer = way.send(body, more)
        self.assertEqual((answer.status, answer.body), (200, STORED))
        self.assertEqual(got, [body])
        (asked,) = self.scripted.requests
        self.assertEqual((asked.method, asked.target), ("POST", "/internal/chat/uploads/ingest"))
        fields = dict(asked.headers)
        fields.pop("via", None)  # RFC 9110, 7.6.3
        self.assertNotEqual(fields.pop("authorization"), way.fields["Authorization"])
        self.assertEqual(fields.pop("host"), self.scripted.url.removeprefix("http://"))
        self.assertEqual(
            fields,
            {
                "content-type": FORM["Content-Type"],
                "content-length": str(len(body)),
                "x-request-id": "r-1",
                "accept-encoding": "identity",
                "connection": "close",
            },
        )

    def test_as_it_arrives(self) -> None:
        """The workspace receives the first half before the client has sent the second."""
        body = form(file(b"x" * 500_000))
        first, seen = len(body) // 2, threading.Event()

        def script(peer: ServerConnection) -> None:
            peer.request()
            got = 0
            while got < len(body):
                count = take(peer, MIB)
                assert count
                got += count
                if got >= first:
                    seen.set()
            peer.send(answer_bytes(200, STORED))

        way = self.way(script)
        with way.connect() as connection:
            way.begin(connection, len(body))
            connection.send(body[:first])
            self.assertTrue(seen.wait(PATIENCE))
            connection.send(body[first:])
            self.assertEqual(connection.response("POST").status, 200)

    def test_early_answers(self) -> None:
        """A response that comes while the body is sent is relayed at once."""
        refused = "workspace refused the platform's credentials"
        for status, body, told in (
            (413, b'{"error": "too large"}', (413, "too large")),
            (500, b'{"error": "failed to write file"}', (500, "failed to write file")),
            (507, b'{"error": "no space left"}', (507, "no space left")),
            (400, b'{"error": "bad"}', (400, "bad")),
            (401, b'{"error": "unauthorized"}', (502, refused)),
            (302, b"", (502, "workspace answered badly")),
        ):
            for after in (0, 300_000):
                for reads_on in (True, False):
                    self.early(status, body, told, after, reads_on)

    def early(
        self, status: int, body: bytes, told: tuple[int, str], after: int, reads_on: bool
    ) -> None:
        def script(peer: ServerConnection) -> None:
            peer.request()
            take_all(peer, after)
            peer.send(answer_bytes(status, body, "Connection: close\r\n")[:60])
            time.sleep(0.02)  # in two segments
            peer.send(answer_bytes(status, body, "Connection: close\r\n")[60:])
            if reads_on:
                while take(peer, MIB):
                    pass
            else:  # a close with unread bytes would discard the response in the platform's kernel
                responded.wait(PATIENCE)

        responded = threading.Event()
        self.addCleanup(responded.set)
        way = self.way(script)
        began = time.monotonic()
        with way.connect() as connection:
            way.begin(connection, 50 * MIB)
            push(connection, [b"x" * MIB] * 50)
            answer = connection.response("POST")
            responded.set()
            self.assertEqual((answer.status, answer.error), told, (after, reads_on))
            self.assertEqual(answer["connection"], "close")
        self.assertLess(time.monotonic() - began, 2.5 + SLACK)

    def test_disappears(self) -> None:
        """
        A workspace that disconnects before the end of the body is 502, and the upload is not sent
        again.
        """
        for after in (0, 1, 300_000):
            for reset in (False, True):

                def script(peer: ServerConnection, after: int = after, reset: bool = reset) -> None:
                    peer.request()
                    take_all(peer, after)
                    if reset:
                        peer.reset()

                way = self.way(script)
                with way.connect() as connection:
                    way.begin(connection, 10 * MIB)
                    push(connection, [b"x" * MIB] * 10)
                    answer = connection.response("POST")
                self.assert_told(answer, 502, "workspace unreachable")
                self.assertEqual(self.scripted.connections, 1)

    def test_disappears_behind_the_last_byte(self) -> None:
        """An upload whose response gets lost is 502, and is not sent again."""
        body = form(file(b"x"))

        def script(peer: ServerConnection) -> None:
            asked = peer.request()
            assert asked is not None
            peer.body(asked)

        answer = self.way(script).send(body)
        self.assert_told(answer, 502, "workspace unreachable")
        self.assertEqual(self.scripted.connections, 1)

    def test_nobody_there(self) -> None:
        """If no workspace listens, the response is 502 at once, without a 100."""
        way = self.way(lambda peer: None)
        self.scripted.close()
        for more in ({}, {"Expect": "100-continue"}):
            with way.connect() as connection:
                way.begin(connection, 10 * MIB, more)
                first = connection.socket.recv(12)
                self.assertEqual(first, b"HTTP/1.1 502")

    def test_answers_badly(self) -> None:
        """A malformed response is not relayed: 502."""
        body = form(file(b"x"))
        for said in (
            b"garbage\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 303 See\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
        ):

            def script(peer: ServerConnection, said: bytes = said) -> None:
                asked = peer.request()
                assert asked is not None
                peer.body(asked)
                peer.send(said)

            self.assert_told(self.way(script).send(body), 502, "workspace answered badly")

    def test_times(self) -> None:
        """A workspace that is late is aborted after a timeout; one that is slow is not."""
        at_once([self.stalls, self.never_answers, self.takes_long_to_answer, self.slow])

    def stalls(self) -> None:
        """A workspace that stops reading is aborted after the idle timeout."""
        hung: list[float] = []
        responded = threading.Event()

        def script(peer: ServerConnection) -> None:
            peer.request()
            responded.wait(PATIENCE)
            began = time.monotonic()
            with contextlib.suppress(ConnectionError):
                while take(peer, MIB):
                    pass
            hung.append(time.monotonic() - began)

        way = self.way(script)
        began = time.monotonic()
        with way.connect() as connection:
            way.begin(connection, 50 * MIB)
            push(connection, [b"x" * MIB] * 50)
            answer = connection.response("POST")
        responded.set()
        self.assert_told(answer, 504, "workspace stopped taking the upload")
        self.assertTrue(self.IDLE * 0.9 < time.monotonic() - began < self.IDLE + SLACK)
        until(lambda: hung, "the workspace is left")
        self.assertLess(hung[0], 0.5 + SLACK)

    def never_answers(self) -> None:
        """
        A workspace that has the whole body and does not respond is aborted after the timeout for
        headers.
        """

        def script(peer: ServerConnection) -> None:
            asked = peer.request()
            assert asked is not None
            peer.body(asked)
            peer.hang()

        began = time.monotonic()
        self.assert_told(
            self.way(script).send(form(file(b"x" * 300_000))), 504, "workspace did not answer"
        )
        self.assertTrue(self.HEADER * 0.9 < time.monotonic() - began < self.HEADER + SLACK)

    def takes_long_to_answer(self) -> None:
        """A workspace that has the whole body, and whose disk is slow, has time to respond."""

        def script(peer: ServerConnection) -> None:
            asked = peer.request()
            assert asked is not None
            peer.body(asked)
            time.sleep(self.IDLE * 1.6)
            peer.send(answer_bytes(200, STORED))

        self.assertEqual(self.way(script).send(form(file(b"x" * 2_000_000))).status, 200)

    def slow(self) -> None:
        """A workspace that reads slowly, but steadily, is not aborted."""
        body = form(file(b"x" * 1_300_000))

        def script(peer: ServerConnection) -> None:
            asked = peer.request()
            assert asked is not None
            peer._socket.setsockopt(1, 8, 256 * KIB)
            for step in pace(len(body), int(400_000 / self.IDLE)):
                assert take_all(peer, step)
            peer.send(answer_bytes(200, STORED))

        way = self.way(script)
        with way.connect() as connection:
            way.begin(connection, len(body))
            push(connection, [body])
            answer = connection.response("POST")
            self.assertEqual(answer.status, 200, answer.body)

    def test_back_pressure(self) -> None:
        """The platform does not keep in memory what a slow workspace does not read."""
        passed = [0]
        over = threading.Event()

        def script(peer: ServerConnection) -> None:
            peer._socket.setsockopt(1, 8, 64 * KIB)
            peer.request()
            for step in pace(100 * MIB, MIB):
                passed[0] += take(peer, step)
                if over.is_set():
                    return

        way = self.way(script)
        before = most_memory(self.pair.platform)
        with way.connect() as connection:
            way.begin(connection, 100 * MIB)
            began, sent, held, measured = time.monotonic(), 0, 0, 0
            piece = b"x" * 64 * KIB
            sock = connection.socket
            sock.setblocking(False)
            while time.monotonic() - began < 1.5 or (
                not measured and time.monotonic() - began < PATIENCE
            ):
                with contextlib.suppress(BlockingIOError):
                    while sent < 50 * MIB:
                        sent += sock.send(piece)
                time.sleep(0.005)
                if time.monotonic() - began > 0.5:  # before that too much is in motion to measure
                    at, read, rows = time.monotonic(), passed[0], connections()
                    on_the_way = queued(int(self.scripted.url.rpartition(":")[2]), rows)
                    now_held = consumed(connection, sent, rows) - read - on_the_way
                    if time.monotonic() - at < 0.5:  # else the counts are not of one moment
                        held, measured = max(held, now_held), measured + 1
            grown = most_memory(self.pair.platform) - before
            over.set()
        report(f"1 MB/s: at most {held} octets in the platform, which grew by {grown}")
        self.assertLess(held, 2 * MIB)
        self.assertLess(grown, 2 * MIB)
        self.assertGreater(sent, 0)
        self.assertGreater(measured, 0)


class LeavingTests(ScriptedCase):
    """
    Clients that disconnect.  The timeouts are long, so that none of them closes a connection.
    """

    def test_leaves(self) -> None:
        """
        If the client disconnects, during the body or after it, the connection to the workspace is
        closed.
        """
        body = form(file(b"x" * 6_000_000))
        for sent in (0, 1, len(body) // 2, len(body)):
            hung: list[float] = []
            has_all = threading.Event()

            script = partial(self.hangs_after, sent, has_all, hung)

            way = self.way(script)
            with way.connect() as connection:
                way.begin(connection, len(body))
                push(connection, [body[:sent]])
                self.assertTrue(has_all.wait(PATIENCE))
            until(partial(bool, hung), "the workspace is left")
            self.assertLess(hung[0], 0.5 + SLACK)

    def hangs_after(
        self, octets: int, has_all: threading.Event, hung: list[float], peer: ServerConnection
    ) -> None:
        peer.request()
        take_all(peer, octets)
        has_all.set()
        hung.append(peer.hang())


def take_all(peer: ServerConnection, octets: int) -> bool:
    """:return: whether so many bytes arrived."""
    while octets:
        count = take(peer, octets)
        if not count:
            return False
        octets -= count
    return True
