"""
The platform in front of a workspace that is broken, slow, gone or malicious (reference/resolution,
"Accepted responses", 6.3 and 9): no response looks better to the client than it is.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from chatfiles.testing.broken_upstreams import Script, ServerConnection, respond
from tests.live.broken_answers import (
    BADLY,
    CASES,
    CHUNKED,
    LATE,
    OK,
    TYPE,
    UNREACHABLE,
    Case,
    head_with,
    ok,
)
from tests.live.processes import IMPATIENT, SLACK, ImpatientCase, Pair, until
from tests.live.rawhttp import Incomplete
from tests.live.upstream_case import UpstreamCase
from tests.support.patience import PATIENCE


class BrokenTests(UpstreamCase):
    """Broken responses of a workspace, and what the client receives."""

    @classmethod
    def make_pair(cls) -> Pair:
        # Hundreds of workspaces run in this process, which must not seem late because of that.
        times = ("header", 3 * IMPATIENT), ("idle", 3 * IMPATIENT), ("connect", PATIENCE)
        return Pair(platform=[f"--{name}-timeout={seconds}" for name, seconds in times])

    def serve(self, given: Case) -> Script:
        """:return: a script that does as *given* says."""

        if given.then != "keep":
            return respond(given.raw, given.then)

        def script(peer: ServerConnection) -> None:
            if peer.request() is not None:
                peer.send(given.raw)
            if peer.request() is not None:
                peer.send(ok(5, b"again"))

        return script

    def seen(self, target: str) -> int | str:
        """:return: what the client sees, in the words of a `Case`."""
        try:
            answer = self.ask(target)
        except Incomplete:
            return "cut"
        if answer.status in (200, 204):
            self.assertNotIn("set-cookie", dict(answer.fields))
            return len(answer.body)
        if answer.status == 404:
            return 404
        self.assertIn(answer.status, (502, 504))
        text = answer.error
        self.assert_error(answer, 504 if text == LATE else 502, text)
        return text

    def test_all(self) -> None:
        """
        Every kind of broken response is refused, or visibly incomplete; the whole ones arrive.
        """
        made = [(given, *self.scripted(self.serve(given))) for given in CASES]
        with ThreadPoolExecutor(8) as threads:
            seen = list(threads.map(lambda each: self.seen(each[2]), made))
        wrong = [
            f"{given.about}: {what!r}, not {given.expect}"
            for (given, _, _), what in zip(made, seen, strict=True)
            if what not in given.expect
        ]
        self.assertEqual(wrong, [])

    def test_nothing_is_left(self) -> None:
        """A connection whose state is not certain is never used again."""
        for given in CASES:
            if given.then == "keep" and given.expect != (BADLY,):
                _, target = self.scripted(self.serve(given))
                first = self.seen(target)
                self.assertIn(first, given.expect, given.about)
                second = self.ask(target)
                self.assertIn(second.body, (b"again", b"x" * 1000, b"abc", b""), given.about)
                self.assertNotIn(b"EVIL", second.body)

    def test_smuggled_answer(self) -> None:
        """Bytes after a response are not the response to the next request."""
        evil = ok(1000) + ok(4, b"EVIL")

        def script(peer: ServerConnection) -> None:
            while peer.request():
                peer.send(evil)

        server, target = self.scripted(script)
        for _ in range(5):
            self.assertEqual(self.ask(target).body, b"x" * 1000)
        self.assertEqual(server.connections, 5)

    def test_unsolicited(self) -> None:
        """Bytes that a workspace sends before a request are no response to it."""
        arrived, closed = threading.Event(), threading.Event()

        def script(peer: ServerConnection) -> None:
            try:
                while peer.request():
                    peer.send(ok(3, b"abc"))
                    arrived.wait(PATIENCE)
                    peer.send(ok(4, b"EVIL"))
            finally:
                closed.set()

        server, target = self.scripted(script)
        self.assertEqual(self.ask(target).body, b"abc")
        arrived.set()
        self.assertTrue(closed.wait(PATIENCE), "the platform closes the connection")
        self.assertEqual(self.ask(target).body, b"abc")
        self.assertEqual(server.connections, 2)

    def test_statuses(self) -> None:
        """Any other status is relayed with its body, and without headers that a browser acts on."""
        for status, reason in (
            (400, "Bad Request"),
            (403, "Forbidden"),
            (404, "Not Found"),
            (410, "Gone"),
            (418, "I'm a teapot"),
            (429, "Too Many Requests"),
            (500, "Internal Server Error"),
            (503, "Service Unavailable"),
            (507, "Insufficient Storage"),
        ):
            raw = (
                b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nSet-Cookie: a=b\r\n"
                b"WWW-Authenticate: Basic\r\nLocation: http://evil.test/\r\nRefresh: 0\r\n"
                b'Content-Length: 14\r\n\r\n{"error": "e"}' % (status, reason.encode())
            )
            _, target = self.scripted(respond(raw))
            answer = self.ask(target)
            self.assertEqual((answer.status, answer.json), (status, {"error": "e"}))
            for name in ("set-cookie", "www-authenticate", "location", "refresh"):
                self.assertIsNone(answer.get(name), (status, name))

    def test_fields(self) -> None:
        """
        Of a workspace's headers only those of reference/downloads, "Headers" are relayed, and none
        that is dangerous.
        """
        raw = head_with(
            b"Set-Cookie: a=b",
            b"Server: evil",
            b"X-Request-Id: evil",
            b"Access-Control-Allow-Origin: *",
            b"Strict-Transport-Security: max-age=1",
            b"Clear-Site-Data: *",
            b"Alt-Svc: h2=evil.test:443",
            b"Link: <http://evil.test/>; rel=preload",
            b"Refresh: 0; url=http://evil.test/",
            b"Keep-Alive: timeout=1",
            b"Trailer: X",
            b"Vary: *",
            b"Age: 5",
            b"X-Frame-Options: ALLOWALL",
            b'ETag: "tag"',
            b"Last-Modified: Sun, 13 Sep 2020 12:26:40 GMT",
            b"Accept-Ranges: bytes",
            b"Cache-Control: public, max-age=31536000",
            b"Content-Security-Policy: default-src *",
            b"X-Content-Type-Options: sniff",
            b"Content-Disposition: inline",
        ).replace(TYPE, b"Content-Type: text/html\r\n")
        _, target = self.scripted(respond(raw))
        for more in ("", "&disposition=inline"):
            answer = self.ask(target + more, {"X-Request-Id": "mine"})
            told = {k: v for k, v in answer.fields if k not in ("date", "server", "connection")}
            self.assertEqual(
                told,
                {
                    "x-request-id": "mine",
                    "content-type": "text/html",
                    "content-length": "3",
                    "content-disposition": "attachment; filename=\"x.bin\"; filename*=UTF-8''x.bin",
                    "etag": '"tag"',
                    "last-modified": "Sun, 13 Sep 2020 12:26:40 GMT",
                    "accept-ranges": "bytes",
                    "cache-control": "private, no-cache",
                    "x-content-type-options": "nosniff",
                    "content-security-policy": "default-src 'none'; sandbox",
                },
            )
            self.assertNotEqual(answer.get("server"), "evil")

    def test_request_fields(self) -> None:
        """
        Of a client's headers only those of reference/downloads, "Forwarded headers" reach the
        workspace.
        """
        server, target = self.scripted(respond(ok(3)))
        self.ask(
            target + "&x=1&path2=y",
            {
                "X-Request-Id": "mine",
                "Range": "bytes=0-",
                "If-Match": '"a"',
                "If-None-Match": '"b"',
                "If-Modified-Since": "Sun, 13 Sep 2020 12:26:40 GMT",
                "If-Unmodified-Since": "Sun, 13 Sep 2020 12:26:40 GMT",
                "If-Range": '"c"',
                "Cookie": "session=1",
                "Referer": "http://x/",
                "Origin": "http://x",
                "User-Agent": "test",
                "Accept": "*/*",
                "Accept-Encoding": "gzip, br",
                "Accept-Language": "de",
                "X-Forwarded-For": "1.2.3.4",
                "X-Forwarded-Host": "evil.test",
                "Forwarded": "for=1.2.3.4",
                "Proxy-Authorization": "Basic x",
                "TE": "trailers",
                "Upgrade": "h2c",
                "HTTP2-Settings": "AAMAAABk",
                "X-Workspace-Id": "x",
            },
        )
        [asked] = server.requests
        row = dict(self.rows("select id, platform_inbound_secret from workspaces"))
        secret = row[target.split("/")[2]]
        given = dict(asked.headers)
        self.assertEqual(given.pop("host"), server.url.removeprefix("http://"))
        self.assertNotEqual(given.pop("connection", "keep-alive").lower(), "close")
        given.pop("user-agent", None)
        self.assertEqual(
            given,
            {
                "authorization": f"Bearer {secret}",
                "via": "1.1 chatfiles",
                "accept-encoding": "identity",
                "x-request-id": "mine",
                "range": "bytes=0-",
                "if-match": '"a"',
                "if-none-match": '"b"',
                "if-modified-since": "Sun, 13 Sep 2020 12:26:40 GMT",
                "if-unmodified-since": "Sun, 13 Sep 2020 12:26:40 GMT",
                "if-range": '"c"',
            },
        )
        self.assertEqual(
            (asked.method, asked.target), ("GET", "/internal/file/read?path=/workspace/x.bin")
        )

    def test_new_request_id(self) -> None:
        """An invalid request id is replaced, and the new one is sent to the workspace."""
        server, target = self.scripted(respond(ok(3)))
        answer = self.ask(target, {"X-Request-Id": "not good"})
        self.assertEqual(server.requests[0].header("x-request-id"), answer["x-request-id"])
        self.pair.platform.logged(rf"{answer['x-request-id']} .* download 200 3 bytes .* complete")

    def rows(self, statement: str) -> list[tuple[str, str]]:
        """:return: rows of the registry, with ids in their usual form."""
        with contextlib.closing(sqlite3.connect(self.pair.database)) as database:
            return [(str(UUID(str(key))), str(value)) for key, value in database.execute(statement)]

    def test_parts(self) -> None:
        """A part is relayed if its headers are valid and consistent."""
        for fields, expect in (
            (b"Content-Range: bytes 0-2/9\r\nContent-Length: 3\r\n", 206),
            (b"Content-Range: bytes 0-2/*\r\nContent-Length: 3\r\n", 206),
            (b"Transfer-Encoding: chunked\r\n", 502),
            (b"Content-Range: bytes 2-0/9\r\nTransfer-Encoding: chunked\r\n", 502),
            (b"Content-Range: bytes 0-2/2\r\nTransfer-Encoding: chunked\r\n", 502),
            (b"Content-Length: 3\r\n", 502),
            (b"Content-Range: bytes 0-3/9\r\nContent-Length: 3\r\n", 502),
            (b"Content-Range: bytes 2-0/9\r\nContent-Length: 3\r\n", 502),
            (b"Content-Range: bytes 0-2/2\r\nContent-Length: 3\r\n", 502),
            (b"Content-Range: bytes */9\r\nContent-Length: 3\r\n", 502),
            (b"Content-Range: items 0-2/9\r\nContent-Length: 3\r\n", 502),
            (b"Content-Range: nonsense\r\nContent-Length: 3\r\n", 502),
            (
                b"Content-Range: bytes 0-2/9\r\nContent-Range: bytes 3-5/9\r\n"
                b"Content-Length: 3\r\n",
                502,
            ),
        ):
            raw = b"HTTP/1.1 206 Partial Content\r\n" + fields + b"\r\nabc"
            _, target = self.scripted(respond(raw))
            answer = self.ask(target, {"Range": "bytes=0-2"})
            self.assertEqual(answer.status, expect, fields)

    def test_head(self) -> None:
        """``HEAD`` is forwarded as ``HEAD``; if a body comes nevertheless, it is not relayed."""
        for body in (b"", b"x" * 1000):
            raw = OK + b"Content-Length: 1000\r\n\r\n" + body
            server, target = self.scripted(respond(raw))
            answer = self.ask(target, method="HEAD")
            self.assertEqual((answer.status, answer["content-length"]), (200, "1000"))
            self.assertEqual(server.requests[0].method, "HEAD")


class LeavingTests(UpstreamCase):
    """
    Clients that disconnect.  The timeouts are long, so that none of them closes a connection.
    """

    def test_caller_leaves(self) -> None:
        """
        If the client disconnects, the request to the workspace ends within a second, whether the
        workspace has not responded yet, is sending, or is silent.
        """
        for said in (b"", OK, ok(1000, b""), ok(1000, b"x" * 100), CHUNKED + b"3\r\nabc\r\n"):
            self.assertLess(self.seconds_to_leave(said), 0.5 + SLACK, said)

    def seconds_to_leave(self, said: bytes) -> float:
        """
        :return: after how long a workspace that has sent *said* sees that the client has left.
        """
        asked, gone = threading.Event(), threading.Event()

        def script(peer: ServerConnection) -> None:
            peer.request()
            peer.send(said)
            asked.set()
            peer.hang()
            gone.set()

        _, target = self.scripted(script)
        connection = self.connect(self.pair.platform)
        connection.ask("GET", target, self.credential(target))
        self.assertTrue(asked.wait(PATIENCE), "the workspace is asked")
        if b"\r\n\r\n" in said:
            connection.answer()
        began = time.monotonic()
        connection.close()
        self.assertTrue(gone.wait(PATIENCE), "the workspace is left alone")
        return time.monotonic() - began


class ConnectionTests(ImpatientCase, UpstreamCase):
    """Connections to workspaces: made, kept alive, lost, and closed."""

    def test_refused(self) -> None:
        """If no server listens, the response is 502, at once."""
        server, target = self.scripted(lambda peer: None)
        server.close()
        began = time.monotonic()
        self.assert_error(self.ask(target), 502, UNREACHABLE)
        self.assertLess(time.monotonic() - began, 2.5 + SLACK)

    def test_no_such_name(self) -> None:
        """
        A workspace whose host name does not exist is unreachable: 502, not an error of the client.
        """
        workspace_id, _ = self.pair.add("http://127.0.0.1:9")
        with contextlib.closing(sqlite3.connect(self.pair.database)) as database, database:
            database.execute(
                "update workspaces set url = 'http://nowhere.invalid:8000' where id = ?",
                (workspace_id,),
            )
        self.assert_error(self.ask(self.target(workspace_id)), 502, UNREACHABLE)

    def test_kept(self) -> None:
        """A connection serves one request after another."""

        def script(peer: ServerConnection) -> None:
            while peer.request():
                peer.send(ok(3, b"abc"))

        server, target = self.scripted(script)
        for _ in range(10):
            self.assertEqual(self.ask(target).body, b"abc")
        self.assertEqual(server.connections, 1)

    def test_stale(self) -> None:
        """
        A download on a kept connection that turns out to be closed is retried once; the client does
        not notice.
        """
        for leave in (lambda peer: None, ServerConnection.reset):

            def script(
                peer: ServerConnection, leave: Callable[[ServerConnection], object] = leave
            ) -> None:
                peer.request()
                peer.send(ok(3, b"%03d" % peer.number))
                if peer.request():
                    leave(peer)

            server, target = self.scripted(script)
            self.assertEqual(self.ask(target).body, b"000")
            self.assertEqual(self.ask(target).body, b"001")
            self.assertEqual((server.connections, len(server.requests)), (2, 3))

    def test_stale_again(self) -> None:
        """It is retried once only."""

        def script(peer: ServerConnection) -> None:
            peer.request()
            if peer.number == 0:
                peer.send(ok(3))
                peer.request()

        server, target = self.scripted(script)
        self.assertEqual(self.ask(target).status, 200)
        self.assert_error(self.ask(target), 502, UNREACHABLE)
        self.assertEqual((server.connections, len(server.requests)), (2, 3))

    def test_new_connection_is_not_retried(self) -> None:
        """
        A request that fails on a new connection is not retried: the workspace may already work on
        it.
        """
        server, target = self.scripted(lambda peer: peer.request())
        self.assert_error(self.ask(target), 502, UNREACHABLE)
        self.assertEqual(len(server.requests), 1)

    def test_half_an_answer_is_not_retried(self) -> None:
        """A request is not retried once a part of its response has arrived."""

        def script(peer: ServerConnection) -> None:
            peer.request()
            peer.send(ok(3))
            peer.request()
            peer.send(ok(1000, b"x" * 10))

        server, target = self.scripted(script)
        self.assertEqual(self.ask(target).status, 200)
        _, answer = self.begin(target)
        self.assertRaises(Incomplete, answer.rest)
        self.assertEqual(len(server.requests), 2)

    def test_head_in_drops(self) -> None:
        """The timeout for headers is a total: single bytes now and then do not prolong it."""

        def script(peer: ServerConnection) -> None:
            peer.request()
            for octet in ok(3):
                peer.send(bytes([octet]))
                time.sleep(IMPATIENT / 20)

        _, target = self.scripted(script)
        began = time.monotonic()
        self.assert_error(self.ask(target), 504, LATE)
        self.assertLess(time.monotonic() - began, PATIENCE)

    def test_body_in_drops(self) -> None:
        """The timeout for a body is one without progress: there is no limit on the whole."""

        def script(peer: ServerConnection) -> None:
            peer.request()
            peer.send(ok(5, b""))
            for _ in range(5):
                time.sleep(0.3 * IMPATIENT)
                peer.send(b"x")

        _, target = self.scripted(script)
        self.assertEqual(self.ask(target).body, b"x" * 5)

    def test_back_pressure(self) -> None:
        """
        A workspace that sends faster than the client reads receives back-pressure; nothing is
        stored.
        """
        said: list[int] = []

        def script(peer: ServerConnection) -> None:
            peer.request()
            peer.send(ok(1 << 30, b""))
            block = b"x" * 65536
            for n in range(1 << 14):
                peer.send(block)
                said.append(n)

        _, target = self.scripted(script)
        before = self.pair.platform.forget_peak()
        connection, answer = self.begin(target)
        answer.exactly(1000)
        until(lambda: len(said) > 1, "it begins")

        def pauses() -> bool:
            count = len(said)
            time.sleep(0.3)
            return len(said) == count

        until(pauses, "it is made to wait")
        self.assertLess(len(said) * 65536, 128 << 20)
        connection.close()
        self.assertLess(self.pair.platform.memory() - before, 32 << 20)

    def test_nothing_leaks(self) -> None:
        """After clients that disconnected and workspaces that broke, no descriptor is left open."""

        def script(peer: ServerConnection) -> None:
            if peer.request():
                peer.send((ok(1000, b"x" * 10), CHUNKED, b"", b"nonsense", ok(3))[peer.number % 5])
                if peer.number % 2:
                    peer.hang()

        def sockets() -> int:
            return sum(name.startswith("socket:") for name in self.pair.platform.descriptors())

        self.ask("/health")
        before = sockets()
        server, target = self.scripted(script)
        chance = random.Random(4)
        for _ in range(40):
            connection = self.connect(self.pair.platform)
            connection.ask("GET", target, self.credential(target))
            time.sleep(chance.random() * 0.02)
            connection.close()
        server.close()
        until(lambda: sockets() <= before, "all connections are closed", 0.5 + SLACK)

    def test_secret_changed(self) -> None:
        """
        After a 401 the platform reads the secret again; if there is a new one, it retries once.
        """
        workspace_id = ""

        def script(peer: ServerConnection) -> None:
            while asked := peer.request():
                if asked.header("authorization") == "Bearer the-new-secret":
                    peer.send(ok(3, b"new"))
                    continue
                with contextlib.closing(sqlite3.connect(self.pair.database)) as rows, rows:
                    rows.execute(
                        "update workspaces set platform_inbound_secret = ? where id = ?",
                        ("the-new-secret", workspace_id),
                    )
                peer.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nnope!")

        self.pair.hide("the-new-secret")
        server, target = self.scripted(script)
        workspace_id = target.split("/")[2]
        self.assertEqual(self.ask(target).body, b"new")
        self.assertEqual(len(server.requests), 2)
        self.assertEqual(self.ask(target).body, b"new")
        self.assertEqual(len(server.requests), 3)

    def test_secret_refused(self) -> None:
        """
        Without a new secret, or if that is refused too, the response is 502, not 401, which is for
        the client's own token.
        """
        refused = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nnope!"
        text = "workspace refused the platform's credentials"

        def script(peer: ServerConnection) -> None:
            while peer.request():
                peer.send(refused)

        server, target = self.scripted(script)
        self.assert_error(self.ask(target), 502, text)
        self.assertEqual(len(server.requests), 1)
        workspace_id = target.split("/")[2]

        def changing(peer: ServerConnection) -> None:
            while peer.request():
                with contextlib.closing(sqlite3.connect(self.pair.database)) as rows, rows:
                    rows.execute(
                        "update workspaces set platform_inbound_secret = ? where id = ?",
                        (f"secret-{time.monotonic_ns()}", workspace_id),
                    )
                peer.send(refused)

        server, target = self.scripted(changing)
        workspace_id = target.split("/")[2]
        self.assert_error(self.ask(target), 502, text)
        self.assertEqual(len(server.requests), 2)
