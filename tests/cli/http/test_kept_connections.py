"""
A client that uses a connection for several requests.
"""

from __future__ import annotations

import socket
import threading
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli.errors import CliError
from chatfiles.cli.http.client import Client
from chatfiles.client.core.steps import Request
from tests.support.patience import PATIENCE

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#: Instead of a response: the connection is closed when a request has come.
CLOSE = b""


class KeptTests(SynchronousTestCase):
    """What happens to the connections of `Client`."""

    def serve(self, *connections: list[bytes]) -> Client:
        """:return: a client of a server that sends these responses on each of its connections."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(PATIENCE)
        self.served: list[int] = []

        def run() -> None:
            with listener:
                for responses in connections:
                    sock, _ = listener.accept()
                    self.addCleanup(sock.close)
                    sock.settimeout(PATIENCE)
                    self.served.append(0)
                    self.respond(sock, responses)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.addCleanup(thread.join, PATIENCE)
        port = listener.getsockname()[1]
        client = Client(f"http://127.0.0.1:{port}", "token", timeout=PATIENCE)
        self.addCleanup(client.abort)
        return client

    def respond(self, sock: socket.socket, responses: list[bytes]) -> None:
        for response in responses:
            while b"\r\n\r\n" not in sock.recv(65536):
                pass
            self.served[-1] += 1
            if response == CLOSE:
                sock.close()
            else:
                sock.sendall(response)

    def test_kept(self) -> None:
        """A connection is used again when its response has been read to its end."""
        client = self.serve([RESPONSE] * 3)
        for _ in range(3):
            self.assertEqual(client.call("GET", "/"), {})
        self.assertEqual(self.served, [3])

    def test_closed_at_the_wrong_moment(self) -> None:
        """A request that meets a connection which is being closed is sent again on a new one."""
        client = self.serve([RESPONSE, CLOSE], [RESPONSE])
        self.assertEqual(client.call("GET", "/"), {})
        self.assertEqual(client.call("GET", "/"), {})
        self.assertEqual(self.served, [2, 1])

    def test_new_one_fails(self) -> None:
        """On a new connection it is sent once."""
        client = self.serve([CLOSE], [RESPONSE])
        error = self.assertRaises(CliError, client.call, "GET", "/")
        self.assertEqual((error.exit_code, self.served), (6, [1]))
        client.call("GET", "/")

    def test_not_read(self) -> None:
        """A connection whose response was not read to its end is closed."""
        client = self.serve([RESPONSE], [RESPONSE])
        with client.open(Request("GET", "/")):
            pass
        self.assertEqual(client.call("GET", "/"), {})
        self.assertEqual(self.served, [1, 1])

    def test_body(self) -> None:
        """A request with a body has a connection of its own, because it is never sent twice."""
        client = self.serve([RESPONSE], [RESPONSE])
        client.call("GET", "/")
        self.assertEqual(client.call("POST", "/", {}), {})
        self.assertEqual(self.served, [1, 1])

    def test_aborted(self) -> None:
        """After `abort`, a request fails at once."""
        client = self.serve([RESPONSE])
        client.call("GET", "/")
        client.abort()
        error = self.assertRaises(CliError, client.call, "GET", "/")
        self.assertEqual(error.exit_code, 6)

    def test_within(self) -> None:
        """A client that waits less long trusts the same authorities."""
        with mock.patch("chatfiles.cli.http.client.Driver") as driver:
            Client("http://h", "token", timeout=9, ca="authority.pem").within(5)
        made = [(each.kwargs["ca"], each.kwargs["idle_timeout"]) for each in driver.mock_calls]
        self.assertEqual(made, [("authority.pem", 9), ("authority.pem", 5)])
