"""
Connections to a platform: direct, or through a proxy of the environment.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli.errors import CliError
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.client import Client
from chatfiles.client.blocking.endpoint import Endpoint
from chatfiles.testing import ScriptedServer, ServerConnection, respond
from tests.cli.cli_stub import TOKEN
from tests.support.patience import PATIENCE

PLATFORM = "files.example.org"  # never resolved: only a proxy resolves it


class ProxyTests(SynchronousTestCase):
    """``http_proxy``, ``https_proxy`` and ``no_proxy``."""

    def proxy(self, raw: bytes, **variables: str) -> ScriptedServer:
        """
        :return: a proxy that responds with *raw*; ``{}`` in *variables* stands for its address.
        """
        server = ScriptedServer(respond(raw))
        self.addCleanup(server.close)
        address = server.url.removeprefix("http://")
        self.patch(os, "environ", {k: v.format(address) for k, v in variables.items()})
        return server

    def client(self, url: str) -> Client:
        return Client(url, TOKEN, timeout=PATIENCE)

    def test_which(self) -> None:
        """
        A proxy is used for other machines only: the proxy's loopback addresses are not this
        machine's.
        """
        self.patch(os, "environ", {"http_proxy": "http://p:1", "https_proxy": "http://p:1"})
        for url, proxied in (
            ("http://127.0.0.1:1", False),
            ("http://[::1]:1", False),
            ("http://localhost", False),
            ("https://x.localhost", False),
            ("http://10.0.0.1", True),
            ("https://files.example.org", True),
        ):
            self.assertEqual(Endpoint(url, 1)._proxy is not None, proxied, url)
        self.patch(os, "environ", {"http_proxy": "http://p:1", "no_proxy": "example.org,10.0.0.1"})
        for url in ("http://10.0.0.1", "http://files.example.org:81", "https://other.example.com"):
            self.assertIsNone(Endpoint(url, 1)._proxy, url)

    def test_http(self) -> None:
        """A proxy for http receives the complete URL, and its own credentials if it has some."""
        ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        server = self.proxy(ok, http_proxy="http://user:p%40ss@{}")
        self.assertEqual(self.client(f"http://{PLATFORM}:81/base").call("GET", "/x?y=1"), {})
        [request] = server.requests
        self.assertEqual(request.target, f"http://{PLATFORM}:81/base/x?y=1")
        self.assertEqual(request.header("host"), f"{PLATFORM}:81")
        self.assertEqual(request.header("authorization"), f"Bearer {TOKEN}")
        self.assertEqual(request.header("proxy-authorization"), "Basic dXNlcjpwQHNz")

    def test_without_a_scheme(self) -> None:
        """``host:port`` is accepted as the address of a proxy that is reached without TLS."""
        ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        server = self.proxy(ok, HTTP_PROXY="{}", http_proxy="{}")
        self.assertEqual(self.client(f"http://{PLATFORM}").call("GET", "/"), {})
        self.assertIsNone(server.requests[0].header("proxy-authorization"))
        no = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
        server = self.proxy(no, HTTPS_PROXY="{}", https_proxy="{}")
        self.assertRaises(CliError, self.client(f"https://{PLATFORM}").call, "GET", "/")
        self.assertEqual(server.requests[0].method, "CONNECT")

    def test_https(self) -> None:
        """A proxy for https is asked for a tunnel; it does not receive the platform's token."""
        server = self.proxy(
            b"HTTP/1.1 407 Log In\r\nContent-Length: 0\r\n\r\n", https_proxy="http://u:p@{}"
        )
        error = self.assertRaises(
            CliError, self.client(f"https://{PLATFORM}/base").call, "GET", "/"
        )
        self.assertEqual(error.exit_code, Exit.UNAVAILABLE)
        self.assertIn("the proxy responded 407 Log In", error.message)
        [request] = server.requests
        self.assertEqual((request.method, request.target), ("CONNECT", f"{PLATFORM}:443"))
        self.assertEqual(request.header("host"), f"{PLATFORM}:443")
        self.assertEqual(request.header("proxy-authorization"), "Basic dTpw")
        self.assertIsNone(request.header("authorization"))

    def test_tunnel(self) -> None:
        """TLS begins inside the tunnel, with the platform's name."""
        seen: list[bytes] = []

        def script(connection: ServerConnection) -> None:
            connection.request()
            connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
            seen.append(connection._socket.recv(65536))

        server = ScriptedServer(script)
        self.addCleanup(server.close)
        self.patch(os, "environ", {"https_proxy": server.url})
        error = self.assertRaises(CliError, self.client(f"https://{PLATFORM}").call, "GET", "/")
        self.assertEqual(error.exit_code, Exit.UNAVAILABLE)
        self.assertEqual(seen[0][:1], b"\x16")
        self.assertIn(PLATFORM.encode(), seen[0])

    def test_proxy_with_tls(self) -> None:
        """A proxy whose own URL is ``https`` receives its credentials and the token over TLS."""
        received: list[bytes] = []
        server = ScriptedServer(lambda peer: received.append(peer._socket.recv(65536)))
        self.addCleanup(server.close)
        self.patch(os, "environ", {"http_proxy": server.url.replace("http://", "https://u:p@")})
        error = self.assertRaises(CliError, self.client(f"http://{PLATFORM}").call, "GET", "/")
        self.assertEqual(error.exit_code, Exit.UNAVAILABLE)
        self.assertEqual(received[0][:1], b"\x16")

    def test_tunnel_through_tls(self) -> None:
        """
        TLS inside TLS is not supported.  A proxy that needs it receives nothing: not even a
        ``CONNECT``, which holds its credentials, without TLS.
        """
        server = self.proxy(b"HTTP/1.1 200 OK\r\n\r\n", https_proxy="https://user:password@{}")
        error = self.assertRaises(CliError, self.client(f"https://{PLATFORM}").call, "GET", "/")
        self.assertEqual(server.requests, [])
        self.assertEqual(error.exit_code, Exit.UNAVAILABLE)
        self.assertIn("a proxy with https:// in its own address", error.message)
        self.assertNotIn("password", f"{error.message} {error.hint}")
        self.assertIn("http://", str(error.hint))

    def test_other_kinds(self) -> None:
        """A proxy of another protocol is an error, with a hint how to connect without it."""
        for variable in ("http_proxy", "https_proxy"):
            self.patch(os, "environ", {variable: "socks5://127.0.0.1:1"})
            url = variable.replace("_proxy", f"://{PLATFORM}")
            error = self.assertRaises(CliError, self.client(url).call, "GET", "/")
            self.assertIn("a proxy that is neither http nor https", error.message)
            self.assertIn("NO_PROXY", str(error.hint))
