"""
The cases of uploads: forms, paths, several requests; each byte once, and compared.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from chatfiles.client import (
    BadAnswer,
    DigestMismatch,
    NotFound,
    PreconditionFailed,
    TooLarge,
    Unavailable,
    Unreachable,
)
from chatfiles.testing import ReceivedRequest, ServerConnection
from tests.contract.client_case import TOKEN, WORKSPACE, ClientCase
from tests.support.scripted_file import Answer, counted, play, refused, said

DATA = bytes(range(256)) * 1000
HEX = "0123456789abcdef" * 2
URI = "workspace:/workspace/.molecule/chat-uploads/" + HEX + "-"
LIMITS = {"per_file_bytes": 10**6, "per_request_bytes": 10**6}


class Stop(Exception):
    """Raised by a caller's function."""


def sha256(data: bytes) -> str:
    """:return: the digest in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Platform:
    """
    A platform that stores files in memory.

    :param limits: its response to ``/uploads/limits``; ``None`` for 404.
    :param cuts: after how many bytes the bodies of the next ``PATCH`` are interrupted.
    :param flips: whether it stores other bytes.
    :ivar stored: the bodies that it has received: of forms the file's content.
    :ivar names: of the files in forms.
    """

    limits: Any = field(default_factory=lambda: dict(LIMITS))
    cuts: list[int] = field(default_factory=list)
    flips: bool = False
    stored: list[bytes] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    partial: bytearray = field(default_factory=bytearray)
    length: int | None = None

    def __call__(self, connection: ServerConnection) -> None:
        """Serve one request."""
        request = connection.request()
        if request is None:
            return
        if request.target == "/uploads/limits":
            no_route = refused("404 No", "no_route")
            (no_route if self.limits is None else said(self.limits))(connection, request)
        elif "/uploads" in request.target and "chat" not in request.target:
            self.resumable(connection, request)
        else:
            body = self.body(connection, request)
            if (request.header("content-type") or "").startswith("multipart"):
                self.form(connection, request, body)
            else:
                self.stored.append(body)
                said(
                    {"ref": "/x", "size": len(body), "sha256": self.digest(body), "etag": '"n"'},
                    status="201 Created",
                )(connection, request)

    def body(self, connection: ServerConnection, request: ReceivedRequest) -> bytes:
        """:return: the body of a request."""
        if request.header("Expect"):
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.header("Transfer-Encoding") is None:
            return connection.body(request)
        body = b""
        while True:
            size = int(connection.line(), 16)
            piece = connection.exactly(size)
            connection.exactly(2)
            if not size:
                return body
            body += piece

    def form(self, connection: ServerConnection, request: ReceivedRequest, body: bytes) -> None:
        """Store the only file of a form."""
        boundary = (request.header("content-type") or "").partition("boundary=")[2].encode()
        start, _, rest = body.partition(b"\r\n\r\n")
        content, delimiter, end = rest.rpartition(b"\r\n--" + boundary + b"--")
        assert start.startswith(b"--" + boundary + b"\r\n")
        assert (bool(delimiter), end) == (True, b"\r\n")
        found = re.search(rb'name="files"; filename="([^"]*)"', start)
        assert found is not None
        self.stored.append(content)
        self.names.append(found[1])
        row = {"uri": URI + "n", "name": "n", "size": len(content), "sha256": self.digest(content)}
        said({"files": [row]})(connection, request)

    def digest(self, body: bytes | bytearray) -> str:
        """:return: the digest that the platform claims."""
        return sha256(bytes(body) + b"!" * self.flips)

    def resumable(self, connection: ServerConnection, request: ReceivedRequest) -> None:
        """Serve a request of tus."""
        if request.method == "POST":
            length = request.header("Upload-Length")
            self.length = None if length is None else int(length)
            more = self.finished() if self.length == 0 else ()
            counted(
                b"", f"Location: /workspaces/{WORKSPACE}/uploads/{HEX}", *more, status="201 Created"
            )(connection, request)
            return
        if request.method == "PATCH":
            assert int(request.header("Upload-Offset") or "") == len(self.partial)
            if (length := request.header("Upload-Length")) is not None:
                self.length = int(length)
            body = self.body(connection, request)
            if self.cuts:
                self.partial += body[: self.cuts.pop(0)]
                return
            self.partial += body
        lines = [f"Upload-Offset: {len(self.partial)}"]
        if self.length is not None:
            lines.append(f"Upload-Length: {self.length}")
        if len(self.partial) == self.length:
            lines += self.finished()
        status = "204 No Content" if request.method == "PATCH" else "200 OK"
        lines = lines if request.method == "PATCH" else [*lines, "Content-Length: 0"]
        connection.send("\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode())

    def finished(self) -> list[str]:
        """:return: the headers of a finished upload."""
        self.stored.append(bytes(self.partial))
        digest = bytes.fromhex(self.digest(self.partial))
        return [
            f"Chatfiles-Uri: {URI}n%20m",
            f"Repr-Digest: sha-256=:{base64.b64encode(digest).decode()}:",
        ]


class UploadCases(ClientCase):
    """``upload``."""

    async def test_form(self) -> None:
        """A file of the chat is sent as a form with its own name."""
        platform = Platform()
        client = self.client(platform)
        stored = await client.upload(self.write('a "ü"\n.bin', DATA))
        self.assertEqual(platform.stored, [DATA])
        self.assertEqual(platform.names, ["a %22ü%22%0A.bin".encode()])
        self.assertEqual((stored.uri, stored.name, stored.size), (URI + "n", "n", len(DATA)))
        self.assertEqual(stored.path, (URI + "n").removeprefix("workspace:"))
        self.assertEqual((stored.sha256, stored.etag), (sha256(DATA), None))
        self.assertEqual(self.sent("Authorization"), [f"Bearer {TOKEN}"] * 2)

    async def test_sources(self) -> None:
        """A source is a path, an open file from where it stands, or pieces."""

        async def later() -> AsyncIterator[bytes]:
            yield b"a"
            yield b""
            yield b"b"

        platform = Platform()
        client = self.client(platform)
        file = io.BytesIO(b"skipped" + DATA)
        file.seek(7)
        sources: list[Any] = [file, [b"a", b"", b"b"], iter([b"ab"]), io.BytesIO()]
        if self.is_asynchronous:
            sources.append(later())
        for source in sources:
            await client.upload(source)
        self.assertEqual(platform.stored, [DATA, b"ab", b"ab", b"", b"ab"][: len(sources)])
        self.assertEqual(set(platform.names), {b"file"})
        await client.upload([b"x"], name="n.txt")
        await client.upload([b"x"], name=b"\xff")
        self.assertEqual(platform.names[-2:], [b"n.txt", b"\xff"])
        await self.fails(TypeError, client.upload(b"content"))
        await self.fails(FileNotFoundError, client.upload(self.path("no")))

    async def test_to(self) -> None:
        """With a path, the body is the file; conditions are sent."""
        platform = Platform()
        client = self.client(platform)
        stored = await client.upload(io.BytesIO(DATA), to="/workspace/ä", if_absent=True)
        await client.upload([DATA], to=b"/workspace/\xff", if_match='"v"')
        self.assertEqual(platform.stored, [DATA, DATA])
        self.assertEqual((stored.path, stored.uri, stored.name), ("/workspace/ä", None, "ä"))
        self.assertEqual((stored.etag, stored.size), ('"n"', len(DATA)))
        _, first, second = self.server.requests
        self.assertEqual(first.method, "PUT")
        self.assertEqual(first.target, f"/workspaces/{WORKSPACE}/fs/file?path=/workspace/%C3%A4")
        self.assertEqual((first.header("If-None-Match"), second.header("If-Match")), ("*", '"v"'))
        self.assertEqual(second.header("Transfer-Encoding"), "chunked")

    async def test_not_sent(self) -> None:
        """Contradictions are errors before a request is sent."""
        client = self.client(Platform())
        for options in (
            {"if_match": '"v"'},
            {"if_absent": True},
            {"to": "/workspace/x", "if_match": '"v"', "if_absent": True},
            {"to": "x"},
            {"to": "/workspace/"},
            {"to": "/workspace/x", "name": "y"},
        ):
            await self.fails(ValueError, client.upload(io.BytesIO(), **options))
        self.assertEqual(self.server.connections, 0)

    async def test_other_bytes(self) -> None:
        """If other bytes were stored, that is an error, unless the caller does not want to know."""
        for options in ({}, {"to": "/workspace/x"}, {"resumable": True}):
            client = self.client(Platform(flips=True))
            error = await self.fails(DigestMismatch, client.upload(io.BytesIO(DATA), **options))
            self.assertEqual((error.expected, error.actual), (sha256(DATA), sha256(DATA + b"!")))
            client = self.client(Platform(flips=True))
            stored = await client.upload(io.BytesIO(DATA), verify=False, **options)
            self.assertEqual(stored.sha256, sha256(DATA + b"!"))

    async def test_once(self) -> None:
        """An upload is never sent twice."""
        for answer, kind in (
            (unread(refused("503 No", "no", "Retry-After: 1")), Unavailable),
            (lambda connection, _: connection.reset(), Unreachable),
        ):
            client = self.client(play(answer))
            await self.fails(kind, client.upload([DATA]))
            await self.fails(kind, client.upload([DATA], to="/workspace/x"))
            self.assertEqual(self.server.connections, 2)
        self.assertEqual(self.pauses, [])

    async def test_early(self) -> None:
        """A refusal that comes while a large body is sent is read."""
        for split in (False, True):
            client = self.client(early(split=split))
            taken: list[int] = []
            error = await self.fails(TooLarge, client.upload(pieces(400, taken), resumable=False))
            self.assertEqual(error.code, "too_large")
            self.assertLess(len(taken), 100)
        client = self.client(early(status="200 OK"))
        await self.fails(BadAnswer, client.upload(pieces(400)))

    async def test_source_fails(self) -> None:
        """What the source or the caller's function raises comes out; the body is not complete."""

        def failing() -> Iterator[bytes]:
            yield DATA
            raise Stop

        def stop(done: int, total: int | None) -> None:
            raise Stop

        platform = Platform()
        client = self.client(platform)
        await self.fails(Stop, client.upload(failing()))
        await self.fails(Stop, client.upload(pieces(10), progress=stop))
        await self.fails(OSError, client.upload(Shrinking(DATA)))
        self.assertEqual(platform.stored, [])

    async def test_progress(self) -> None:
        """Progress ends at the size."""
        for options in ({}, {"to": "/workspace/x"}, {"resumable": True}):
            calls = Calls()
            await self.client(Platform()).upload(io.BytesIO(DATA), progress=calls, **options)
            self.assertEqual(calls[-1], (len(DATA), len(DATA)))
            self.assertEqual(sorted(calls), calls)

    async def test_limits(self) -> None:
        """A file that is too large for one request is sent in several."""
        for limits, is_resumable in (
            (LIMITS, False),
            ({**LIMITS, "per_file_bytes": len(DATA) - 1}, True),
            ({**LIMITS, "per_request_bytes": len(DATA) + 10}, True),
            (None, False),
            ([], False),
        ):
            client = self.client(Platform(limits=limits))
            await client.upload(io.BytesIO(DATA))
            methods = [request.method for request in self.server.requests]
            expected = ["GET", "POST", "PATCH"] if is_resumable else ["GET", "POST"]
            self.assertEqual(methods, expected, limits)
        client = self.client(Platform())
        for _ in range(2):
            await client.upload(io.BytesIO(DATA))
        await client.upload(io.BytesIO(DATA), resumable=False)
        await client.upload([DATA])
        self.assertEqual(
            [request.method for request in self.server.requests], ["GET", *["POST"] * 4]
        )

    async def test_resumable(self) -> None:
        """A file in several requests continues where it was interrupted."""
        platform = Platform(cuts=[1000, 0, 5000])
        stored = await self.client(platform).upload(self.write("f", DATA), resumable=True)
        self.assertEqual(platform.stored[-1], DATA)
        self.assertEqual((stored.uri, stored.path), (URI + "n m", stored.uri.partition(":")[2]))
        self.assertEqual(
            (stored.name, stored.size, stored.sha256), ("n m", len(DATA), sha256(DATA))
        )
        offsets = [each for each in self.sent("Upload-Offset") if each is not None]
        self.assertEqual(offsets, ["0", "1000", "1000", "6000"])
        self.assertEqual(self.sent("Upload-Metadata")[0], "filename Zg==")
        self.assertEqual(self.pauses, [0.25, 0.25, 0.5])

    async def test_resumable_pieces(self) -> None:
        """Pieces that cannot be read again continue too, from memory."""
        platform = Platform(cuts=[1000, 5000])
        stored = await self.client(platform).upload(
            iter([DATA] * 30), resumable=True, to="/workspace/x", if_absent=True
        )
        self.assertEqual(platform.stored[-1], DATA * 30)
        self.assertEqual(
            (stored.path, stored.uri), ("/workspace/.molecule/chat-uploads/" + HEX + "-n m", None)
        )
        creation = self.server.requests[0]
        self.assertEqual(creation.header("Upload-Defer-Length"), "1")
        self.assertEqual(creation.header("If-None-Match"), "*")
        self.assertTrue(creation.target.endswith("/uploads?path=/workspace/x"))
        self.assertEqual(max(int(each or 0) for each in self.sent("Content-Length")), 4 * 2**20)

    async def test_resumable_empty(self) -> None:
        """An empty file is finished at once."""
        sources: list[Any] = [io.BytesIO(), []]
        for source in sources:
            platform = Platform()
            stored = await self.client(platform).upload(source, resumable=True)
            self.assertEqual((platform.stored[-1], stored.size), (b"", 0))

    async def test_resumable_gives_up(self) -> None:
        """Without progress, an upload ends after the retries; a creation is sent once."""
        client = self.client(Platform(cuts=[0] * 9), retries=2)
        await self.fails(Unreachable, client.upload(io.BytesIO(DATA), resumable=True))
        self.assertEqual(self.pauses, [0.25, 0.5])
        client = self.client(play(unread(refused("503 No", "no"))))
        await self.fails(Unavailable, client.upload(io.BytesIO(DATA), resumable=True))
        self.assertEqual(self.server.connections, 1)
        client = self.client(play(unread(refused("412 No", "precondition_failed"))))
        await self.fails(PreconditionFailed, client.upload([DATA], resumable=True))
        client = self.client(play(unread(refused("404 No", "no_route"))))
        await self.fails(NotFound, client.upload([DATA], resumable=True))


class Calls(list[tuple[int, int | None]]):
    """The calls of a function for progress."""

    def __call__(self, done: int, total: int | None) -> None:
        """Note a call."""
        self.append((done, total))


class Shrinking(io.BytesIO):
    """A file that is empty when it is read."""

    def read(self, size: int | None = -1) -> bytes:
        """See `io.BytesIO`."""
        return b""


def pieces(count: int, taken: list[int] | None = None) -> Iterator[bytes]:
    """:return: *count* MiB; what is taken is noted in *taken*."""
    for number in range(count):
        if taken is not None:
            taken.append(number)
        yield bytes(1 << 20)


def unread(answer: Answer) -> Answer:
    """:return: as *answer*; the body of the request is discarded, so that nothing is reset."""

    def hang(connection: ServerConnection, request: ReceivedRequest) -> None:
        answer(connection, request)
        connection.hang()

    return hang


def early(
    *, split: bool = False, status: str = "413 Too Large"
) -> Callable[[ServerConnection], None]:
    """:return: a script that responds before it reads the body."""
    body = json.dumps({"error": "too large", "code": "too_large", "files": []}).encode()

    def script(connection: ServerConnection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status.encode(), len(body)))
        if split:
            time.sleep(0.05)  # the body comes in a segment of its own
        connection.send(body)
        connection.hang()

    return script
