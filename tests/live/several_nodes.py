"""
Cases for two platforms on one PostgreSQL behind a balancer: changes at one node, a node that stops,
and the client's address.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

from chatfiles.testing.broken_upstreams import ScriptedServer, ServerConnection
from tests.live.balancer import Balancer
from tests.live.cluster import Cluster
from tests.live.links import make_link, status_of
from tests.live.processes import LONG_AGO, SLACK, SOAK, LiveCase, Pair, until
from tests.live.rawhttp import Answer, Connection, Incomplete, Malformed, Response, fetch
from tests.live.upload_client import Way, file, form, in_chunks, in_the_making, report
from tests.support.patience import PATIENCE

__all__ = ["ENOUGH", "Cases", "Hammer"]

MIB = 1 << 20
#: Larger than what is in flight at once: sockets may hold some 40 MiB, a balancer some more.
LARGE = 48 * MIB
#: A local address that is not the balancer's.
CLIENT = "127.0.0.9"
#: How many requests have to succeed before, during and after an event.
ENOUGH = 25
#: Seconds that a client waits between two requests, so that it does not keep a processor busy.
PACE = 0.0 if SOAK else 0.01


class Hammer:
    """
    Sends requests repeatedly, until the context is left.

    :param ask: sends one; raises, or returns an error, if there is any.
    :ivar wrong: the errors.
    :ivar done: the number of requests.
    """

    def __init__(self, ask: Callable[[], str | None]) -> None:
        self.wrong: list[str] = []
        self.done = 0
        self._ask = ask
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Hammer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def go_on(self, times: int = ENOUGH) -> None:
        """Wait for so many more requests."""
        goal = self.done + times
        until(lambda: self.done >= goal or self.wrong, "it asks on")

    def _run(self) -> None:
        while not self._left.wait(PACE):
            try:
                wrong = self._ask()
            except (OSError, Incomplete, Malformed) as error:
                wrong = repr(error)
            if wrong is not None:
                self.wrong.append(f"{self.done}: {wrong}")
            self.done += 1


class Cases(LiveCase):
    """
    The cases for each kind of balancer.

    :cvar kind: ``nginx`` or ``haproxy``.
    :cvar changes: to the example.
    """

    kind = ""
    changes: ClassVar[dict[str, str]] = {}

    @classmethod
    def make_pair(cls) -> Pair:
        return Cluster()

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.write("workspace/small.bin", b"small")
        path = pair.at("workspace", "large.bin")
        with open(path, "wb") as large:
            large.truncate(LARGE)
        os.utime(path, (LONG_AGO, LONG_AGO))

    def setUp(self) -> None:
        super().setUp()
        assert isinstance(self.pair, Cluster)
        self.cluster = self.pair
        self.balancer = Balancer(self.kind, self.cluster.addresses(), self.changes)
        self.addCleanup(self.balancer.stop)

    # -- requests

    def target(self, name: str = "small.bin") -> bytes:
        """:return: the download of a file."""
        return self.pair.download_target(b"path=/workspace/" + name.encode())

    def ask(self, target: str | bytes, **more: Any) -> Response:
        """:return: the balancer's response to a client of the workspace."""
        return fetch(self.balancer.url, target, self.pair.bearer, **more)

    def as_admin(self, number: int, method: str, target: str, body: object = None) -> Response:
        """:return: the response of a node."""
        admin = {"Authorization": f"Bearer {self.pair.admin}"}
        url = self.cluster.nodes[number].url
        raw = None if body is None else json.dumps(body).encode()
        return fetch(url, target, admin, method=method, body=raw)

    def way(self) -> Way:
        """:return: the way for uploads through the balancer."""
        target = f"/workspaces/{self.pair.id}/chat/uploads"
        return Way("balanced", self.balancer.url, target, self.pair.bearer)

    def download_small(self) -> str | None:
        """:return: an error, unless the small file is served."""
        answer = self.ask(self.target())
        told = (answer.status, answer.body)
        return None if told == (200, b"small") else str(told)

    def upload_small(self) -> str | None:
        """:return: an error, unless an upload succeeds."""
        answer = self.way().send(form(file(b"up", "up.bin")))
        good = answer.status == 200 and answer.json["files"][0]["size"] == 2
        return None if good else f"{answer.status}: {answer.body!r}"

    def begin(self) -> Answer:
        """:return: a transfer of the large file that is far from its end."""
        connection = Connection(self.balancer.url, receive_buffer=65536)
        self.addCleanup(connection.close)
        connection.ask("GET", self.target("large.bin"), self.pair.bearer)
        answer = connection.answer()
        answer.exactly(100_000)
        return answer

    def begin_upload(self, content: bytes) -> Callable[[], Response]:
        """:return: a function that sends the second half of an upload that has begun."""
        way, body = self.way(), form(file(content))
        connection = way.connect()
        self.addCleanup(connection.close)
        before = in_the_making(self.pair)
        way.begin(connection, len(body))
        connection.send(body[: len(body) // 2])
        until(lambda: begun(before, in_the_making(self.pair)), "what is sent arrives")

        def finish() -> Response:
            connection.send(body[len(body) // 2 :])
            return connection.response("POST")

        return finish

    def scripted(
        self, script: Callable[[ServerConnection], object]
    ) -> tuple[ScriptedServer, str, dict[str, str]]:
        """:return: another workspace, a target that downloads from it, and the credential."""
        server = ScriptedServer(script)
        self.addCleanup(server.close)
        workspace_id, token = self.pair.add(server.url)
        target = f"/workspaces/{workspace_id}/chat/download?path=/workspace/x"
        return server, target, {"Authorization": f"Bearer {token}"}

    # -- the tests

    def test_both_serve(self) -> None:
        """Both nodes are used; the balancer keeps request ids and errors, and logs no path."""
        served: set[int] = set()

        def both_served() -> bool:
            request_id = f"{self.kind}-{time.monotonic_ns()}"
            fields = {**self.pair.bearer, "X-Request-Id": request_id}
            answer = fetch(self.balancer.url, self.target(), fields)
            self.assertEqual((answer.status, answer.body), (200, b"small"))
            self.assertEqual(answer["x-request-id"], request_id)
            self.pair.workspace.logged(f"{request_id} .* read 200 5 bytes")
            until(lambda: any(request_id in node.log for node in self.cluster.nodes), "it is told")
            served.update(n for n, node in enumerate(self.cluster.nodes) if request_id in node.log)
            return len(served) == 2

        until(both_served, "both nodes are asked")
        self.assert_error(self.ask(self.target("missing")), 404, "file not found")
        nobody = fetch(self.balancer.url, self.target())
        self.assert_error(nobody, 401, "missing workspace auth token")
        self.balancer.logged(r"\b404\b")
        self.assertNotIn("path=", self.balancer.log)
        self.assertNotIn("small.bin", self.balancer.log)

    def test_streams(self) -> None:
        """The balancer streams both directions, and an interrupted response is detectable."""
        arrived, length = threading.Event(), 2000

        def script(peer: ServerConnection) -> None:
            asked = peer.request()
            if asked is None:
                return
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * 1000)
            arrived.wait(PATIENCE)
            if asked.header("range") is None:
                peer.send(b"x" * 1000)

        for fields in ({}, {"Range": "bytes=0-"}):
            arrived.clear()
            _, target, credential = self.scripted(script)
            with Connection(self.balancer.url) as connection:
                connection.ask("GET", target, {**credential, **fields})
                answer = connection.answer()
                answer.exactly(1000)
                arrived.set()
                if fields:
                    self.assertRaises(Incomplete, answer.rest)
                else:
                    self.assertEqual(answer.rest(), b"x" * 1000)
        content = random.Random(5).randbytes(MIB)
        answer_to = self.begin_upload(content)()
        self.assertEqual(answer_to.json["files"][0]["size"], MIB)

    def test_chunked_cut(self) -> None:
        """An interrupted response in the chunked coding is detectable."""
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n"

        def script(peer: ServerConnection) -> None:
            if peer.request():
                peer.send(chunked + b"x" * 1000 + b"\r\n")

        _, target, credential = self.scripted(script)
        with Connection(self.balancer.url) as connection:
            connection.ask("GET", target, credential)
            self.assertRaises(Incomplete, connection.response)

    def test_uploads(self) -> None:
        """Files of all sizes are stored; a client that is still sending receives a refusal."""
        way, chance = self.way(), random.Random(6)
        for size in (0, 1, 65536, 5 * MIB):
            content = chance.randbytes(size)
            body = form(file(content), file(b"b", "b.txt"))
            for length, sent in ((-1, body), (None, in_chunks(body, 70_000))):
                answer = way.send(sent, length=length)
                self.assertEqual(answer.status, 200, answer.body)
                name = answer.json["files"][0]["uri"].removeprefix("workspace:/workspace/")
                with open(self.pair.at("workspace", name), "rb") as stored:
                    self.assertTrue(stored.read() == content, size)
        large = form(file(bytes(21 * MIB)))
        for length, sent in ((-1, large), (None, in_chunks(large, 1 * MIB))):
            self.assert_error(
                way.send(sent, length=length), 413, "request body exceeds total limit (20 MB)"
            )
        nobody = way._replace(fields={})
        self.assert_error(nobody.send(large), 401, "missing workspace auth token")

    def test_client_address(self) -> None:
        """
        The node that trusts the balancer logs the client's address, whatever the client's headers
        say; the other node logs its peer's.  A workspace receives no forwarding header.
        """

        def script(peer: ServerConnection) -> None:
            while peer.request():
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")

        server, target, credential = self.scripted(script)
        lines = [
            *credential.items(),
            ("X-Forwarded-For", "192.0.2.66"),
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-Proto", "https"),
            ("Forwarded", "for=192.0.2.67"),
            ("X-Real-IP", "192.0.2.68"),
        ]
        marks = [node.mark() for node in self.cluster.nodes]

        def both_told() -> bool:
            answer = fetch(self.balancer.url, target, lines, source=CLIENT)
            self.assertEqual(answer.status, 200)
            return all(
                " download 200 1 bytes " in "".join(node.log.splitlines(True)[mark:])
                for node, mark in zip(self.cluster.nodes, marks, strict=True)
            )

        until(both_told, "both nodes are asked")
        for node, mark, address in zip(
            self.cluster.nodes, marks, (CLIENT, "127.0.0.1"), strict=True
        ):
            told = node.logged(r" download 200 1 bytes \S+ s complete from (\S+)$", since=mark)[1]
            self.assertEqual(told, address)
        for asked in server.requests:
            names = {name for name, _ in asked.headers}
            self.assertFalse([n for n in names if n.startswith("x-forwarded")], names)
            self.assertFalse(names & {"forwarded", "x-real-ip"}, names)

    def test_revoked(self) -> None:
        """A token that is revoked at one node is refused by the other within a second."""
        tokens = f"/workspaces/{self.pair.id}/tokens"
        made = self.as_admin(0, "POST", tokens, {"scopes": ["read"]}).json
        self.pair.hide(made["token"])
        bearer = {"Authorization": f"Bearer {made['token']}"}

        def status(number: int) -> int:
            return fetch(self.cluster.nodes[number].url, self.target(), bearer).status

        for _ in range(2):  # the second time from the cache
            self.assertEqual([status(0), status(1)], [200, 200])
        self.assertEqual(self.as_admin(0, "DELETE", f"{tokens}/{made['id']}").status, 204)
        began = time.monotonic()
        self.assertEqual(status(0), 401)
        until(lambda: status(1) == 401, "revoked there, too", seconds=0.5 + SLACK)
        report(f"revoked at the other node after {time.monotonic() - began:.3f} s")
        for _ in range(4):
            self.assertEqual(fetch(self.balancer.url, self.target(), bearer).status, 401)

    def test_links(self) -> None:
        """
        A link that is made at one node opens at the other, at once; if it is revoked at one node,
        the other refuses it within a second.
        """
        for made_at in (0, 1):
            self.make_and_revoke(made_at)

    def make_and_revoke(self, number: int) -> None:
        """Make a link at a node and revoke it there, and open it at both."""
        here, there = (self.cluster.nodes[n].url for n in (number, 1 - number))
        link, gone = make_link(self.pair, here), (403, "link_revoked")
        for url in (there, here, self.balancer.url):
            self.assertEqual(status_of(url, link), (200, ""))
        self.assertEqual(fetch(self.balancer.url, link).body, b"small")
        revoked = self.as_admin(number, "DELETE", f"/workspaces/{self.pair.id}/links")
        self.assertEqual(revoked.status, 204)
        began = time.monotonic()
        self.assertEqual(status_of(here, link), gone)
        until(lambda: status_of(there, link) == gone, "revoked there, too", seconds=0.5 + SLACK)
        report(f"links revoked at the other node after {time.monotonic() - began:.3f} s")
        self.assertEqual(status_of(self.balancer.url, link), gone)
        new = make_link(self.pair, there)  # its time is that of the database, not of a cache
        self.assertEqual([status_of(url, new)[0] for url in (here, there)], [200, 200])

    def test_links_are_not_logged(self) -> None:
        """
        The log of the balancer has no query of a link and no token, also if a transfer fails.  The
        logs of the roles are searched when they end.
        """

        def script(peer: ServerConnection) -> None:
            if peer.request():
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 1000)

        server = ScriptedServer(script)
        self.addCleanup(server.close)
        workspace_id, token = self.pair.add(server.url)
        bearer = {"Authorization": f"Bearer {token}"}
        links = [
            make_link(self.pair, self.balancer.url),
            make_link(self.pair, self.balancer.url, operation="upload"),
            make_link(self.pair, self.balancer.url, bearer, workspace_id=workspace_id),
        ]
        self.assertEqual(status_of(self.balancer.url, links[0]), (200, ""))
        way = self.way()._replace(target=links[1], fields={})
        self.assertEqual(way.send(form(file(b"up"))).status, 200)
        with Connection(self.balancer.url) as connection:
            connection.ask("GET", links[2])
            self.assertRaises(Incomplete, connection.response)
        for operation in ("file", "upload"):
            self.balancer.logged(rf"/links/{operation}\b")
        log = self.balancer.log
        secrets = [link.rpartition("s=")[2] for link in links]
        for secret in (*secrets, token, self.pair.token, self.pair.admin):
            self.assertNotIn(secret, log)
        self.assertNotIn("?w=", log)

    def test_drained(self) -> None:
        """
        A node that drains completes its requests, the balancer sends it no new ones, and no client
        sees an error; after a restart, it is used again.
        """
        number = 0 if self.pair.via == "url" else 1  # the other one has the channel
        node = self.cluster.nodes[number]
        mark = node.mark()
        downloads = [self.begin() for _ in range(4)]
        content = random.Random(7).randbytes(MIB)
        uploads = [self.begin_upload(content) for _ in range(2)]
        with Hammer(self.download_small) as getting, Hammer(self.steady_upload) as putting:
            getting.go_on()
            node.signal(signal.SIGTERM)
            getting.go_on()
            self.notices(number + 1, "DOWN")
            putting.go_on()
            for download in downloads:
                self.assertEqual(100_000 + len(download.rest()), LARGE)
            for finish in uploads:
                self.assertEqual(finish().status, 200)
            node.ended_well()
            getting.go_on()
            putting.go_on()
            self.cluster.restart(number)
            self.notices(number + 1, "UP")
            getting.go_on()
        self.assertEqual((getting.wrong, putting.wrong), ([], []))
        for what in (f"download 200 {LARGE} bytes", r"upload 200 \d+ bytes"):
            node.logged(rf" {what} \S+ s complete ", since=mark)
        outcomes = re.findall(r" s (\w+) from ", "".join(node.log.splitlines(True)[mark:]))
        self.assertEqual(set(outcomes), {"complete"})
        self.used_again(number)

    def test_killed(self) -> None:
        """A killed node's transfers are detectably incomplete; the other node serves the rest."""
        downloads = [self.begin() for _ in range(4)]
        with Hammer(self.download_small) as getting:
            getting.go_on()
            self.cluster.nodes[1].kill()
            getting.go_on()
            whole = 0
            for download in downloads:
                try:
                    whole += 100_000 + len(download.rest()) == LARGE
                except Incomplete:
                    self.assertFalse(download.complete)
            self.assertIn(whole, (1, 2, 3))
            getting.go_on()
            self.cluster.restart(1)
            self.notices(2, "UP")
            getting.go_on()
        self.assertEqual(getting.wrong, [])
        self.used_again(1)

    # -- differences between the balancers

    def steady_upload(self) -> str | None:
        """:return: an error, unless an upload succeeds while a node stops."""
        return self.upload_small()

    def notices(self, number: int, state: str) -> None:
        """Wait until the balancer knows the state of a node, if it checks its nodes."""

    def used_again(self, number: int) -> None:
        """Wait until a node is used again."""
        mark = self.cluster.nodes[number].mark()

        def asked() -> bool:
            self.assertIsNone(self.download_small())
            log = self.cluster.nodes[number].log.splitlines()[mark:]
            return any(" download 200 5 bytes " in line for line in log)

        until(asked, "it is asked again")


def begun(before: dict[str, int], now: dict[str, int]) -> bool:
    """:return: whether a new file is being written, and is not empty."""
    return any(size and name not in before for name, size in now.items())
