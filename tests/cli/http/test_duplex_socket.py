"""
A socket that is listened to while something is sent on it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from functools import partial
from http.client import HTTPResponse

from chatfiles.cli.http.duplex_socket import Answered, DuplexSocket
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli.http import duplex_socket

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nLink: </y>\r\n\r\n"
ANSWER = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!"


def meanwhile(work: Callable[[], object]) -> threading.Thread:
    """:return: *work* at the other end, begun."""

    def run() -> None:
        with contextlib.suppress(ConnectionError):
            work()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


class LineTests(SynchronousTestCase):
    """`DuplexSocket`, between two ends of a socket pair."""

    def setUp(self) -> None:
        ours, self.theirs = socket.socketpair()
        ours.settimeout(20)
        self.addCleanup(self.theirs.close)
        self.line = DuplexSocket(ours)
        self.addCleanup(self.line.close)

    def answered(self, call: Callable[..., object], *arguments: object) -> HTTPResponse:
        """:return: what is read behind `Answered`."""
        self.assertRaises(Answered, call, *arguments)
        return self.response()

    def response(self) -> HTTPResponse:
        response = HTTPResponse(self.line, method="POST")  # type: ignore[arg-type]
        self.addCleanup(response.close)
        response.begin()
        return response

    def test_sends(self) -> None:
        """What is given is sent, all of it, while the other end is slow."""
        data = bytes(range(256)) * 8192
        received = bytearray()

        def take() -> None:
            while len(received) < len(data):
                received.extend(self.theirs.recv(9999))

        self.patch(duplex_socket, "BLOCK", 10_000)
        thread = meanwhile(take)
        self.line.sendall(data)
        thread.join()
        self.assertEqual(received, data)

    def test_invited(self) -> None:
        """An invitation ends the wait for it, however it comes; others do not."""
        for wire in (CONTINUE, HINTS + CONTINUE, CONTINUE.replace(b"\r\n", b"\n")):
            for cut in range(len(wire)):
                self.line._invited = False
                self.theirs.send(wire[:cut])
                if cut:
                    self.line._listen()
                self.theirs.send(wire[cut:])
                self.line.invitation(10**6)
                self.assertEqual(self.line._heard, b"")
        self.line.sendall(b"x")

    def test_not_invited(self) -> None:
        """Nobody waits for ever, nor for half of an invitation."""
        self.line.invitation(0.01)
        self.theirs.send(CONTINUE[:-1])
        self.line.invitation(0.01)
        self.line.sendall(b"x")

    def test_answer(self) -> None:
        """The first line of an answer is enough to stop; then it is read from its beginning."""
        for end in (len(ANSWER), ANSWER.index(b"\n") + 1):
            self.setUp()
            self.theirs.send(CONTINUE + HINTS + ANSWER[:end])
            thread = meanwhile(partial(self.theirs.send, ANSWER[end:]))
            response = self.answered(self.line.sendall, b"x" * 10_000_000)
            self.assertEqual((response.status, response.read()), (413, b"no!"))
            thread.join()

    def test_answer_in_pieces(self) -> None:
        """Half a first line decides nothing."""
        for byte in ANSWER[: ANSWER.index(b"\n")]:
            self.theirs.send(bytes([byte]))
            self.line._listen()
        self.theirs.send(ANSWER[ANSWER.index(b"\n") :])
        self.assertEqual(self.answered(self.line.invitation, 10**6).read(), b"no!")

    def test_closed(self) -> None:
        """An end is an answer too: there will be no other."""
        self.theirs.close()
        self.assertRaises(Answered, self.line.sendall, b"x")
        self.assertRaises(ConnectionError, self.response)

    def test_closed_behind_an_answer(self) -> None:
        """Also when it is only noticed while writing."""
        self.theirs.send(ANSWER)
        self.theirs.close()
        response = self.answered(self.line._send, memoryview(b"x"))
        self.assertEqual(response.read(), b"no!")

    def test_flood(self) -> None:
        """What comes without an end and without a line is not kept without an end."""
        thread = meanwhile(lambda: self.theirs.sendall(b"HTTP/1.1 100 " + b"x" * 200_000))
        while True:
            try:
                self.line._wait(1, 20)
                self.line._listen()
            except Answered:
                break
        self.assertLess(len(self.line._heard), 3 * duplex_socket.HEARD_LIMIT)
        self.line.close()
        thread.join()

    def test_nothing_taken(self) -> None:
        """The timeout is of progress."""
        self.line._timeout = 0.01
        self.assertRaises(TimeoutError, self.line.sendall, b"x" * 10_000_000)

    def test_timeout_of_the_answer(self) -> None:
        """Behind the body the socket waits again, as long as it was told to."""
        self.line._timeout = 0.01
        file = self.line.makefile("rb")
        self.addCleanup(file.close)
        self.assertRaises(TimeoutError, file.read, 1)
        self.assertRaises(ValueError, self.line.makefile, "wb")

    def test_close(self) -> None:
        """The socket is closed when both the line and its file are."""
        file = self.line.makefile("rb")
        self.line.close()
        self.theirs.send(b"more")
        self.assertEqual(file.read(4), b"more")
        file.close()
        self.assertEqual(self.theirs.recv(1), b"")
