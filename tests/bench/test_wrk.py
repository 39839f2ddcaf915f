"""
`bench.load` with wrk itself, whose script writes the report that `bench.load.parse` reads.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bench.load import run, wrk_problem
from bench.target import Failed, Target


class _Server(ThreadingHTTPServer):
    """
    Responds to every request, and notes the paths.

    :ivar status: of the responses.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.paths: list[str] = []
        self.status = 200

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: wrk leaves in the middle of a response."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class WrkTests(SynchronousTestCase):
    """One second of requests."""

    skip = wrk_problem()

    def setUp(self) -> None:
        self.server = _Server()
        self.addCleanup(self.server.server_close)
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.shutdown)

    def target(self, path: str) -> Target:
        """:return: a path of the server."""
        return Target(self.server.server_port, path)

    def test_one_file(self) -> None:
        """The report has requests and their latency."""
        found = run(self.target("/a?b=/c"), 2, 1)
        self.assertEqual(set(self.server.paths), {"/a?b=/c"})
        self.assertGreaterEqual(len(self.server.paths), found.requests)
        self.assertGreaterEqual(found.p99, found.p50)
        self.assertGreater(found.rate, 0)

    def test_many_files(self) -> None:
        """Different files are asked for in turn, each as often as the others."""
        run(self.target("/many/{}"), 1, 1, files=3)
        paths = self.server.paths
        self.assertEqual(set(paths[:3]), {"/many/0000", "/many/0001", "/many/0002"})
        self.assertEqual(paths[3:], paths[: len(paths) - 3])

    def test_refused(self) -> None:
        """Responses with an error are not taken for fast ones."""
        self.server.status = 503
        self.assertRaises(Failed, run, self.target("/"), 1, 1)
