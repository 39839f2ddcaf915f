"""
A file behind a scripted server that breaks off, lies, or changes the file between requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chatfiles.testing import ReceivedRequest, ServerConnection

__all__ = ["Answer", "File", "chunked", "counted", "play", "raw", "refused", "said"]

#: One response to one request.
Answer = Callable[[ServerConnection, ReceivedRequest], object]


def head(status: str, *headers: str) -> bytes:
    """:return: the headers of a response."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1")


def counted(
    body: bytes, *headers: str, status: str = "200 OK", missing: int = 0, reset: bool = False
) -> Answer:
    """:return: a response with a length, of which the last *missing* bytes are not sent."""

    def answer(connection: ServerConnection, request: ReceivedRequest) -> None:
        connection.send(head(status, f"Content-Length: {len(body)}", *headers))
        connection.send(body[: len(body) - missing])
        if reset:
            connection.reset()

    return answer


def chunked(*pieces: bytes, headers: Sequence[str] = (), ends: bool = True) -> Answer:
    """:return: a response in chunks, perhaps without the last one."""

    def answer(connection: ServerConnection, request: ReceivedRequest) -> None:
        connection.send(head("200 OK", "Transfer-Encoding: chunked", *headers))
        for piece in pieces:
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        if ends:
            connection.send(b"0\r\n\r\n")

    return answer


def raw(data: bytes) -> Answer:
    """:return: exactly these bytes."""
    return lambda connection, _: connection.send(data)


def said(value: object, *headers: str, status: str = "200 OK") -> Answer:
    """:return: a response in JSON."""
    body = json.dumps(value).encode()
    return counted(body, "Content-Type: application/json", *headers, status=status)


def refused(status: str, code: str, *headers: str, **more: object) -> Answer:
    """:return: an error as a platform sends it."""
    error = {"error": code.replace("_", " "), "code": code, "request_id": "r-1", **more}
    return said(error, *headers, status=status)


def play(*answers: Answer) -> Callable[[ServerConnection], None]:
    """
    :return: a script that sends each of *answers* to one request, and then closes the connection;
        the last one is repeated.
    """
    left = list(answers)

    def script(connection: ServerConnection) -> None:
        request = connection.request()
        if request is not None:
            answer = left.pop(0) if len(left) > 1 else left[0]
            answer(connection, request)

    return script


@dataclass
class File:
    """
    A file that knows ranges and conditions, and whose next responses may be interrupted.

    :param content: its bytes.
    :param etag: its validator.
    :param cuts: after how many bytes the next responses end; the rest are complete.
    :param changes: the content and validator that it has after each interruption.
    :param lines: more headers of responses.
    """

    content: bytes
    etag: str = '"v1"'
    cuts: list[int] = field(default_factory=list)
    changes: list[tuple[bytes, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def __call__(self, connection: ServerConnection) -> None:
        """Serve one request."""
        request = connection.request()
        if request is None:
            return
        status, first, last = self.decide(request)
        total = len(self.content)
        lines = [*self.lines, *([f"ETag: {self.etag}"] if self.etag else [])]
        if status == 412:
            refused("412 Precondition Failed", "precondition_failed")(connection, request)
            return
        if status == 416:
            refused("416 Range", "range_not_satisfiable", f"Content-Range: bytes */{total}")(
                connection, request
            )
            return
        if status == 206:
            lines.append(f"Content-Range: bytes {first}-{last}/{total}")
        body = self.content[first : last + 1]
        cut = self.cuts.pop(0) if self.cuts else len(body)
        missing = max(0, len(body) - cut)
        phrase = "200 OK" if status == 200 else "206 Partial Content"
        counted(body, *lines, status=phrase, missing=missing)(connection, request)
        if missing and self.changes:
            self.content, self.etag = self.changes.pop(0)

    def decide(self, request: ReceivedRequest) -> tuple[int, int, int]:
        """:return: the status, and the first and last offset."""
        total = len(self.content)
        if_match = request.header("If-Match")
        if if_match not in (None, "*", self.etag) or (if_match and self.etag.startswith("W/")):
            return 412, 0, 0
        given = request.header("Range")
        if given is None or request.header("If-Range") not in (None, self.etag):
            return 200, 0, total - 1
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", given)
        assert found is not None, given
        if not found[1]:
            return 206, max(0, total - int(found[2])), total - 1
        if int(found[1]) >= total:
            return 416, 0, 0
        return 206, int(found[1]), min(total - 1, int(found[2] or total))
