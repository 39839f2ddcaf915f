"""
The platform's operations in front of workspaces that are scripts: of a third party, broken, slow or
malicious (reference/operations).
"""

from __future__ import annotations

import json
import threading
import time

from chatfiles.testing.broken_upstreams import Script, ScriptedServer, ServerConnection, respond
from tests.live.processes import SLACK, until
from tests.live.rawhttp import Connection, Incomplete, Response, fetch
from tests.live.upstream_case import UpstreamCase
from tests.support.patience import PATIENCE

NDJSON = {"Accept": "application/x-ndjson"}
TYPES = {
    "roots": "application/json",
    "entries?path=/workspace": "application/json",
    "entries?path=/workspace&depth=infinity": "application/x-ndjson",
    "archive?path=/workspace&format=tar": "application/x-tar",
    "digest?path=/workspace/a": "application/json",
}
STREAMS = ("entries?path=/workspace&depth=infinity", "archive?path=/workspace&format=tar")
BODY = b'{"paths":[{"path":"/workspace/a"},{"ref":"/workspace/%FF"}],"format":"tar"}'


def third_party(connection: ServerConnection) -> None:
    """A workspace with the one route that all have, and a framework's errors for all others."""
    while (request := connection.request()) is not None:
        connection.body(request)
        if request.target.startswith("/internal/file/read"):
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
            continue
        status = b"404 Not Found" if request.method != "POST" else b"405 Method Not Allowed"
        body = json.dumps({"detail": status[4:].decode()}).encode()
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n" % status
        head += b"Content-Length: %d\r\n\r\n" % len(body)
        connection.send(head if request.method == "HEAD" else head + body)


class OperationCase(UpstreamCase):
    """Requests of operations."""

    def workspace(self, script: Script) -> tuple[ScriptedServer, str]:
        """:return: a workspace, and what its operations' targets begin with."""
        server, target = self.scripted(script)
        base = target.replace("chat/download?path=/workspace/x.bin", "fs/")
        self.assertNotEqual(base, target)
        self.credentials[base] = self.credentials[target]
        return server, base

    def fields(self, base: str, operation: str) -> dict[str, str]:
        """:return: the headers of a request of *operation*."""
        return {**self.credentials[base], **(NDJSON if "depth" in operation else {})}

    def operate(
        self, base: str, operation: str, method: str = "GET", body: bytes = b""
    ) -> Response:
        """:return: the platform's response."""
        fields = self.fields(base, operation)
        url = self.pair.platform.url
        return fetch(url, base + operation, fields, method=method, body=body)


class ThirdPartyTests(OperationCase):
    """A workspace that has no operation."""

    def test_unsupported(self) -> None:
        """Each operation is 501; a response to ``HEAD`` has nothing to tell by."""
        _, base = self.workspace(third_party)
        text = "workspace does not support this operation"
        for operation in (*TYPES, "file?path=/workspace/a"):
            answer = self.operate(base, operation)
            self.assert_error(answer, 501, text, operation, code="operation_unsupported")
            answer = self.operate(base, operation, "HEAD")
            self.assertEqual((answer.status, answer.body), (404, b""), operation)
        answer = self.operate(base, "archive", "POST", BODY)
        self.assert_error(answer, 501, text, code="operation_unsupported")

    def download(self, base: str) -> Response:
        """:return: the response to a download."""
        target = base.replace("/fs/", "/chat/") + "download?path=/workspace/a"
        return fetch(self.pair.platform.url, target, self.credentials[base])

    def test_download(self) -> None:
        """What the workspace has still works, also after what it lacks, on the same connection."""
        server, base = self.workspace(third_party)
        for _ in range(3):
            self.assertEqual(self.operate(base, "roots").status, 501)
            self.assertEqual(self.download(base).body, b"abc")
        self.assertEqual(server.connections, 1)

    def test_body(self) -> None:
        """The workspace receives the whole body, with its length."""
        bodies = []

        def script(connection: ServerConnection) -> None:
            request = connection.request()
            assert request is not None
            bodies.append(connection.body(request))
            connection.send(b"HTTP/1.1 503 X\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n")

        _, base = self.workspace(script)
        answer = self.operate(base, "archive", "POST", BODY)
        self.assertEqual((answer.status, answer["retry-after"]), (503, "5"))
        self.assertEqual([json.loads(body) for body in bodies], [json.loads(BODY)])


class MaliciousTests(OperationCase):
    """A workspace that wants to reach the client's browser."""

    def test_headers(self) -> None:
        """Its headers are not relayed, and its pages are not shown."""
        evil = (
            b"Set-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\nRefresh: 0; url=/x\r\n"
            b"Content-Security-Policy: script-src *\r\nCache-Control: public\r\n"
            b"Content-Disposition: inline\r\nContent-Length: 8\r\n\r\n<script>"
        )
        for operation, media_type in TYPES.items():
            for told, status in ((media_type, 200), ("text/html", 502)):
                head = f"HTTP/1.1 200 OK\r\nContent-Type: {told}\r\n".encode()
                _, base = self.workspace(respond(head + evil))
                answer = self.operate(base, operation)
                self.assertEqual(answer.status, status, operation)
                names = {name for name, _ in answer.fields}
                bad = {"set-cookie", "access-control-allow-origin", "refresh"}
                self.assertEqual(names & bad, set())
                self.assertEqual(answer["cache-control"], "no-store")
                self.assertEqual(answer["x-content-type-options"], "nosniff")
                self.assertNotIn("inline", answer.get("content-disposition") or "")


class StreamTests(OperationCase):
    """Streams that are interrupted, or that are not read."""

    def head(self, operation: str) -> bytes:
        """:return: the headers of a workspace's stream."""
        return (
            f"HTTP/1.1 200 OK\r\nContent-Type: {TYPES[operation]}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        ).encode()

    def open(self, base: str, operation: str) -> Connection:
        """:return: a connection that has sent a request."""
        connection = self.connect(self.pair.platform)
        connection.ask("GET", base + operation, self.fields(base, operation))
        return connection

    def test_interrupted(self) -> None:
        """Wherever a stream ends without its last chunk, the client sees an incomplete body."""
        whole = b"3\r\nabc\r\n" * 3 + b"0\r\n\r\n"
        for operation in STREAMS:
            for length in range(0, len(whole), 3):
                _, base = self.workspace(respond(self.head(operation) + whole[:length]))
                answer = self.open(base, operation).answer()
                self.assertEqual(answer.head.status, 200)
                self.assertRaises(Incomplete, answer.rest)
            _, base = self.workspace(respond(self.head(operation) + whole))
            self.assertEqual(self.operate(base, operation).body, b"abc" * 3)

    def test_slow_reader(self) -> None:
        """A client that does not read lets the workspace wait; when it leaves, the work ends."""
        for operation in STREAMS:
            sent: list[int] = []
            gone = threading.Event()
            head = self.head(operation)

            def script(
                peer: ServerConnection,
                head: bytes = head,
                sent: list[int] = sent,
                gone: threading.Event = gone,
            ) -> None:
                peer.request()
                peer.send(head)
                try:
                    while len(sent) < 1 << 14:
                        peer.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                        sent.append(1)
                except ConnectionError:
                    gone.set()

            _, base = self.workspace(script)
            before = self.pair.platform.forget_peak()
            connection = self.open(base, operation)
            connection.answer().exactly(1000)
            until(lambda sent=sent: len(sent) > 1, "it begins")  # type: ignore[misc]

            def pauses(sent: list[int] = sent) -> bool:
                count = len(sent)
                time.sleep(0.3)
                return len(sent) == count

            until(pauses, "it is made to wait")
            self.assertLess(len(sent) * 65536, 128 << 20)
            self.assertLess(self.pair.platform.memory() - before, 32 << 20)
            connection.close()
            self.assertTrue(gone.wait(PATIENCE), "the work ends")

    def test_client_leaves(self) -> None:
        """While the workspace counts, the request ends with its client."""
        for operation in TYPES:
            asked, gone = threading.Event(), threading.Event()

            def script(
                peer: ServerConnection,
                asked: threading.Event = asked,
                gone: threading.Event = gone,
            ) -> None:
                peer.request()
                asked.set()
                peer.hang()
                gone.set()

            _, base = self.workspace(script)
            connection = self.open(base, operation)
            self.assertTrue(asked.wait(PATIENCE))
            began = time.monotonic()
            connection.close()
            self.assertTrue(gone.wait(PATIENCE), operation)
            self.assertLess(time.monotonic() - began, 0.5 + SLACK)

    def test_old_clients(self) -> None:
        """HTTP/1.0 has no chunks: 505, and the workspace is not asked."""
        server, base = self.workspace(third_party)
        for operation in STREAMS:
            lines = [f"{name}: {value}" for name, value in self.fields(base, operation).items()]
            with Connection(self.pair.platform.url) as connection:
                head = "\r\n".join([f"GET {base}{operation} HTTP/1.0", *lines, "", ""])
                connection.send(head.encode())
                answer = connection.response("GET")
                self.assertEqual(answer.status, 505, operation)
        self.assertEqual(server.connections, 0)
