"""
The scripted server: what it sends to a client, and what it records of the client's requests.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.testing import ScriptedServer, ServerConnection, respond
from chatfiles.testing.broken_upstreams import Then

REQUEST = (
    b"POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\nabc"
)


class ScriptedServerTests(SynchronousTestCase):
    """The scripted server, with a plain socket as its client."""

    def connect(self, server: ScriptedServer) -> socket.socket:
        parts = urlsplit(server.url)
        sock = socket.create_connection((parts.hostname or "", parts.port or 0), 20)
        self.addCleanup(sock.close)
        return sock

    def read(self, sock: socket.socket) -> bytes:
        data = b""
        while piece := sock.recv(65536):
            data += piece
        return data

    def test_request(self) -> None:
        """The script and the test see the request as it was sent."""
        bodies: list[bytes] = []

        def script(connection: ServerConnection) -> None:
            while request := connection.request():
                bodies.append(connection.body(request))
                connection.send(b"whatever")

        with ScriptedServer(script) as server:
            sock = self.connect(server)
            sock.sendall(REQUEST + REQUEST)
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(self.read(sock), b"whatever" * 2)
        self.assertEqual(bodies, [b"abc"] * 2)
        first = server.requests[0]
        self.assertEqual((first.method, first.target), ("POST", "/a?b"))
        self.assertEqual(first.header("HOST"), "h")
        self.assertIsNone(first.header("absent"))
        self.assertRaises(AssertionError, first.header, "x-twice")
        self.assertEqual((len(server.requests), server.connections), (2, 1))

    def test_respond(self) -> None:
        """Each ending looks to the client as its name says."""
        endings: list[Then] = ["close", "half"]
        for then in endings:
            with ScriptedServer(respond(b"cut", then)) as server:
                sock = self.connect(server)
                sock.sendall(REQUEST)
                self.assertEqual(self.read(sock), b"cut")
                sock.close()
        with ScriptedServer(respond(b"", "reset")) as server:
            sock = self.connect(server)
            sock.sendall(REQUEST)
            self.assertRaises(ConnectionResetError, sock.recv, 1)
        read: list[tuple[Then, bytes]] = [("hang", b"1"), ("keep", b"11")]
        for then, expected in read:
            with ScriptedServer(respond(b"1", then)) as server:
                sock = self.connect(server)
                without_body = REQUEST.replace(b"abc", b"").replace(b"h: 3", b"h: 0")
                sock.sendall(without_body * 2)
                sock.shutdown(socket.SHUT_WR)
                self.assertEqual(self.read(sock), expected)

    def test_failing_script(self) -> None:
        """An exception in a script fails the test when the server is closed."""

        def script(connection: ServerConnection) -> None:
            raise ZeroDivisionError

        server = ScriptedServer(script)
        self.assertEqual(self.read(self.connect(server)), b"")
        self.assertRaises(AssertionError, server.close)

    def test_client_that_leaves(self) -> None:
        """A client that disconnects early fails no test; closing the server ends what hangs."""

        def script(connection: ServerConnection) -> None:
            request = connection.request()
            assert request is not None
            connection.body(request)

        with ScriptedServer(script) as server:
            self.connect(server).sendall(REQUEST[:-1])
        self.assertEqual(server.errors, [])
