"""
`bench.clients`, `bench.target` and the uploads of `bench.systems`.
"""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from bench.clients import at_once, read_headers
from bench.sender import Upload
from bench.systems import chatfiles
from bench.target import Failed, Target


class HeaderTests(SynchronousTestCase):
    """The headers of a response."""

    def read(self, data: bytes) -> tuple[int, bytes]:
        """:return: what is read from a connection that ends after *data*."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                theirs.sendall(data)
            return read_headers(ours)

    def test_response(self) -> None:
        """The length and the beginning of the body; the case of names does not matter."""
        found = self.read(b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-LENGTH: 12\r\n\r\nbegin")
        self.assertEqual(found, (12, b"begin"))

    def test_stored(self) -> None:
        """A stored file may have a response without a body."""
        self.assertEqual(self.read(b"HTTP/1.1 201 Created\r\n\r\n"), (0, b""))

    def test_failures(self) -> None:
        """Another status, or an interrupted response, is no measurement."""
        for data in (b"HTTP/1.1 503 Full\r\n\r\n", b"HTTP/1.1 204 None\r\n\r\n", b"HTTP/1.1 200"):
            self.assertRaises(Failed, self.read, data)


class RequestTests(SynchronousTestCase):
    """What clients send."""

    def test_download(self) -> None:
        """A request has the headers of the target."""
        target = Target(80, "/a?b=c", (("Accept", "x"),)).having(("Connection", "close"))
        expected = (
            b"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: x\r\nConnection: close\r\n\r\n"
        )
        self.assertEqual(target.request, expected)

    def test_form(self) -> None:
        """The announced length is that of the whole body."""
        upload: Upload = chatfiles.form("id", "token", 1000)
        length = len(upload.begin) + 1000 + len(upload.end)
        self.assertIn(b"\r\nContent-Length: %d\r\n" % length, upload.headers)
        self.assertTrue(upload.headers.endswith(b"\r\n\r\n"))


class AtOnceTests(SynchronousTestCase):
    """Several clients."""

    def test_results(self) -> None:
        """Each client has one result."""
        self.assertEqual(at_once(3, lambda: 7)[0], [7, 7, 7])

    def test_failure(self) -> None:
        """If one fails, the reason is that of the client."""
        outcomes = iter([True, False])

        def work() -> None:
            if not next(outcomes):
                raise Failed("closed early")

        error = self.assertRaises(Failed, at_once, 2, work)
        self.assertEqual(str(error), "closed early")
