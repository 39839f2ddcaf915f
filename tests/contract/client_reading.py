"""
The cases of reading: slices, one version, retries, errors.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import product

from chatfiles.client import (
    BadAnswer,
    Busy,
    Changed,
    ClientError,
    Conflict,
    Forbidden,
    Incomplete,
    NotFound,
    PreconditionFailed,
    Refused,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unreachable,
    Unsupported,
)
from chatfiles.testing import ServerConnection
from tests.contract.client_case import TOKEN, WORKSPACE, ClientCase, gather
from tests.support.scripted_file import File, chunked, counted, play, raw, refused

F = "/workspace/f"
DATA = bytes(range(256)) * 40
LIMIT = 64 * 1024 * 1024
CLASSES = {
    400: Refused,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    413: TooLarge,
    422: Refused,
    429: Busy,
    500: Refused,
    501: Unsupported,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
    507: Refused,
}


class ReadingCases(ClientCase):
    """``read``."""

    async def test_slices(self) -> None:
        """A part is what Python's slice would be."""
        content = bytes(range(20))
        client = self.client(File(content))
        for start, stop in product((None, 0, 1, 19, 20, 25), (None, 0, 1, 19, 20, 21, 40)):
            got = await client.read(F, start, stop)
            self.assertEqual(got, content[start:stop], (start, stop))
        for start in (-1, -20, -30):
            self.assertEqual(await client.read(F, start), content[start:], start)
        self.assertEqual(await client.read(F, 10, 5), b"")

    async def test_requests(self) -> None:
        """A part is asked for with ``Range``; the credential is sent."""
        client = self.client(File(DATA), prefix="/base")
        await client.read("/workspace/ä b?#%+&.txt")
        await client.read(b"/workspace/\xff", 10, 20)
        await client.read(F, -100)
        self.assertEqual(self.sent("Range"), [None, "bytes=10-19", "bytes=-100"])
        self.assertEqual(self.sent("Authorization"), [f"Bearer {TOKEN}"] * 3)
        targets = [request.target for request in self.server.requests]
        route = f"/base/workspaces/{WORKSPACE}/fs/file?path="
        self.assertEqual(targets[0], route + "/workspace/%C3%A4%20b%3F%23%25%2B%26.txt")
        self.assertEqual(targets[1], route + "/workspace/%FF")
        self.assertEqual(self.sent("Accept-Encoding"), ["identity"] * 3)

    async def test_not_asked(self) -> None:
        """What cannot be is an error before a request is sent."""
        client = self.client(File(DATA))
        for start, stop in ((0, -1), (None, -5), (-5, 3), (0, LIMIT + 1), (-LIMIT - 1, None)):
            await self.fails(ValueError, client.read(F, start, stop))
        for path in ("workspace/f", "", "/workspace/\0", b"x"):
            await self.fails(ValueError, client.read(path))
        await self.fails(ValueError, client.read(F, if_match="x\r\ny"))
        self.assertEqual(self.server.connections, 0)

    async def test_too_large(self) -> None:
        """More than 64 MiB are not read, also if they are not announced."""
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (LIMIT + 1)
        await self.fails(ValueError, self.client(play(raw(head))).read(F))
        pieces = [bytes(1 << 20)] * 65
        await self.fails(ValueError, self.client(play(chunked(*pieces))).read(F))

    async def test_without_ranges(self) -> None:
        """A server that does not know ranges sends the whole file, of which the part is taken."""
        client = self.client(play(counted(DATA)))
        self.assertEqual(await client.read(F, 10, 20), DATA[10:20])
        self.assertEqual(await client.read(F, -7), DATA[-7:])

    async def test_continues(self) -> None:
        """After an interruption the rest is asked for, of the same version."""
        client = self.client(File(DATA, cuts=[1000, 5000]))
        self.assertEqual(await client.read(F), DATA)
        self.assertEqual(self.sent("Range"), [None, "bytes=1000-", "bytes=6000-"])
        self.assertEqual(self.sent("If-Range"), [None, '"v1"', '"v1"'])
        self.assertEqual(self.pauses, [0.25, 0.5])

    async def test_part_continues(self) -> None:
        """The rest of a part is asked for, also of one that was counted from the end."""
        client = self.client(File(DATA, cuts=[100]))
        self.assertEqual(await client.read(F, 1000, 2000), DATA[1000:2000])
        self.assertEqual(self.sent("Range"), ["bytes=1000-1999", "bytes=1100-1999"])
        client = self.client(File(DATA, cuts=[100]))
        self.assertEqual(await client.read(F, -1000), DATA[-1000:])
        first = len(DATA) - 900
        self.assertEqual(self.sent("Range"), ["bytes=-1000", f"bytes={first}-"])

    async def test_changed(self) -> None:
        """If the file has changed meanwhile, all of the new version is returned."""
        other = b"other" * 100
        for start in (None, 10, -200):
            client = self.client(File(DATA, cuts=[100], changes=[(other, '"v2"')]))
            self.assertEqual(await client.read(F, start), other[start:], start)

    async def test_weak(self) -> None:
        """Without a strong validator, the second request is for everything."""
        for etag in ("", 'W/"v1"'):
            client = self.client(File(DATA, etag=etag, cuts=[1000]))
            self.assertEqual(await client.read(F), DATA)
            self.assertEqual(self.sent("Range"), [None, None])

    async def test_weak_part(self) -> None:
        """Nor is a part of one version completed from another one."""
        other = DATA[::-1]
        for etag, changed in (("", ""), ('W/"v1"', 'W/"v2"')):
            for start, stop in ((10, 5000), (-5000, None)):
                client = self.client(File(DATA, etag, cuts=[100], changes=[(other, changed)]))
                self.assertEqual(await client.read(F, start, stop), other[start:stop], start)

    async def test_other_part(self) -> None:
        """A part other than the one that was asked for is not returned."""
        for field in ("bytes 11-20/100", "bytes 10-18/100", "bytes 10-19/15", "bytes 10-19/*x", ""):
            lines = [f"Content-Range: {field}"] if field else []
            answer = counted(bytes(10), *lines, status="206 Partial Content")
            await self.fails(BadAnswer, self.client(play(answer)).read(F, 10, 20))
        unasked = counted(b"x", "Content-Range: bytes 0-0/5", status="206 Partial Content")
        await self.fails(BadAnswer, self.client(play(unasked)).read(F))

    async def test_if_match(self) -> None:
        """Another version than the one that is wanted is an error."""
        client = self.client(File(DATA))
        self.assertEqual(await client.read(F, 0, 5, if_match='"v1"'), DATA[:5])
        await self.fails(PreconditionFailed, client.read(F, if_match='"v0"'))
        later = self.client(File(DATA, cuts=[100], changes=[(b"other", '"v2"')]))
        await self.fails(Changed, later.read(F, if_match='"v1"'))
        ignores = self.client(play(counted(DATA, 'ETag: "v2"')))
        await self.fails(Changed, ignores.read(F, if_match='"v1"'))

    async def test_interrupted(self) -> None:
        """A body that never comes completely is an error, after all retries."""
        for answer in (
            counted(DATA, missing=1),
            counted(DATA, missing=1, reset=True),
            chunked(DATA, ends=False),
        ):
            self.pauses.clear()
            error = await self.fails(Incomplete, self.client(play(answer), retries=2).read(F))
            self.assertEqual(self.pauses, [0.25, 0.5])
            self.assertEqual(self.server.connections, 3)
            self.assertGreater(error.done, 0)

    async def test_progress_of_incomplete(self) -> None:
        """The error says how much has arrived."""
        client = self.client(File(DATA, cuts=[100, 100]), retries=1)
        error = await self.fails(Incomplete, client.read(F))
        self.assertEqual((error.done, error.total), (200, len(DATA)))

    async def test_no_end(self) -> None:
        """A response whose end cannot be told from an interruption is not accepted."""
        client = self.client(play(raw(b"HTTP/1.1 200 OK\r\n\r\nhello")))
        await self.fails(Incomplete, client.read(F))
        self.assertEqual(self.server.connections, 1)

    async def test_chunks(self) -> None:
        """A body in chunks with the last one is complete."""
        self.assertEqual(await self.client(play(chunked(b"a", DATA))).read(F), b"a" + DATA)

    async def test_bad_answers(self) -> None:
        """What is no response, or not one of success or error, is an error."""
        for data in (
            b"HTTP/1.1 103 Early Hints\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 2,
            b"nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        ):
            client = self.client(play(raw(data)))
            await self.fails(BadAnswer, client.read(F))
            self.assertEqual(self.server.connections, 1, data)

    async def test_interim(self) -> None:
        """Interim responses before a response are ignored."""
        data = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 3
        data += b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.assertEqual(await self.client(play(raw(data))).read(F), b"ok")

    async def test_unreachable(self) -> None:
        """Without a server, each retry waits twice as long."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        error = await self.fails(Unreachable, self.new(url).read(F))
        self.assertIsInstance(error, ConnectionError)
        self.assertFalse(error.connected)
        self.assertEqual(self.pauses, [0.25, 0.5, 1, 2, 4])
        await self.fails(Unreachable, self.new("http://name.invalid", retries=0).read(F))

    async def test_no_answer(self) -> None:
        """A connection that ends, or is silent, before a response is tried again."""
        client = self.client(play(raw(b""), raw(b"HTTP/1.1 2"), counted(b"x")))
        self.assertEqual(await client.read(F), b"x")
        self.assertEqual(self.pauses, [0.25, 0.5])
        silent = self.client(hang, retries=1, idle_timeout=0.05)
        error = await self.fails(Unreachable, silent.read(F))
        self.assertEqual((self.server.connections, error.connected), (2, True))

    async def test_stalls(self) -> None:
        """A body that stands still is interrupted."""

        def script(connection: ServerConnection) -> None:
            connection.request()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
            connection.hang()

        client = self.client(script, retries=0, idle_timeout=0.05)
        error = await self.fails(Incomplete, client.read(F))
        self.assertEqual((error.done, error.total), (5, 10))

    async def test_stalls_later(self) -> None:
        """A connection that has served a request, and then stands still, is replaced."""
        ok = counted(b"x")

        def script(connection: ServerConnection) -> None:
            request = connection.request()
            if request is not None:
                ok(connection, request)
            if connection.request() is not None:
                connection.hang()

        client = self.client(script, retries=1, idle_timeout=0.05)
        self.assertEqual([await client.read(F) for _ in range(2)], [b"x", b"x"])

    async def test_errors(self) -> None:
        """Each status has its class; the text and the request id are shown."""
        for status, kind in CLASSES.items():
            answer = refused(f"{status} No", "some_code", detail={"a": 1})
            error = await self.fails(kind, self.client(play(answer), retries=0).read(F))
            self.assertEqual((error.status, error.code), (status, "some_code"))
            self.assertEqual((error.text, error.request_id), ("some code", "r-1"))
            self.assertEqual((error.detail, error.retry_after), ({"a": 1}, None))
            self.assertIn("some code", str(error))
            self.assertIn("r-1", str(error))
            self.assertIsInstance(error, ClientError)
            self.assertIs(isinstance(error, FileNotFoundError), status == 404)
            self.assertIs(isinstance(error, PermissionError), status == 403)

    async def test_errors_of_proxies(self) -> None:
        """An error that is not ours has a status only."""
        for answer in (counted(b"<html>", status="502 Bad"), raw(b"HTTP/1.0 502 Bad\r\n\r\n<")):
            error = await self.fails(Unavailable, self.client(play(answer), retries=0).read(F))
            self.assertEqual((error.status, error.code, error.text), (502, None, None))
            self.assertIsNone(error.request_id)

    async def test_retry_after(self) -> None:
        """``Retry-After`` is waited for, unless it is long."""
        later = format_datetime(datetime.now(UTC).replace(year=2100), usegmt=True)
        past = format_datetime(datetime.now(UTC).replace(year=2020), usegmt=True)
        busy = refused("429 Busy", "busy", "Retry-After: 7")
        old = refused("503 No", "no", f"Retry-After: {past}")
        client = self.client(play(busy, old, counted(b"x")))
        self.assertEqual(await client.read(F), b"x")
        self.assertEqual(self.pauses, [7, 0])
        odd = refused("503 No", "no", retry_after_seconds=-1)
        self.assertEqual(await self.client(play(odd, counted(b"x"))).read(F), b"x")
        self.assertGreater(self.pauses[2], 0)
        for value in ("61", later):
            answer = refused("503 No", "no", f"Retry-After: {value}")
            error = await self.fails(Unavailable, self.client(play(answer)).read(F))
            self.assertGreater(error.retry_after, 60)
            self.assertEqual(self.server.connections, 1)

    async def test_not_retried(self) -> None:
        """An error that will be the same is not asked for again."""
        for status in set(CLASSES) - {429, 502, 503, 504}:
            client = self.client(play(refused(f"{status} No", "no")))
            await self.fails(CLASSES[status], client.read(F))
            self.assertEqual(self.server.connections, 1)


class StreamCases(ClientCase):
    """``stream``."""

    async def test_pieces(self) -> None:
        """The pieces are the file, none larger than asked for."""
        client = self.client(File(DATA, cuts=[3000]))
        pieces = await gather(client.stream(F, chunk=1000))
        self.assertEqual(b"".join(pieces), DATA)
        self.assertLessEqual(max(map(len, pieces)), 1000)
        self.assertEqual(b"".join(await gather(client.stream(F, 77))), DATA[77:])

    async def test_changed(self) -> None:
        """Bytes of two versions are never mixed."""
        for etag, changed in (('"v1"', '"v2"'), ("", "")):
            file = File(DATA, etag, cuts=[3000], changes=[(b"other" * 1000, changed)])
            got = []
            with self.assertRaises(Changed):
                async for piece in self.client(file).stream(F):
                    got.append(piece)
            self.assertEqual(b"".join(got), DATA[:3000])

    async def test_changed_part(self) -> None:
        """Nor where the stream begins later, and there is no strong validator."""
        for etag, changed in (("", ""), ('W/"v1"', 'W/"v2"')):
            file = File(DATA, etag, cuts=[3000], changes=[(DATA[::-1], changed)])
            got = []
            with self.assertRaises(Changed):
                async for piece in self.client(file).stream(F, 10):
                    got.append(piece)
            self.assertEqual(b"".join(got), DATA[10:3010])

    async def test_never_appended(self) -> None:
        """What is not the rest of the same version ends the stream."""
        rest, total = DATA[3000:], len(DATA)
        for status, lines in (
            ("200 OK", ['ETag: "v1"']),
            ("206 Part", ['ETag: "v2"', f"Content-Range: bytes 3000-{total - 1}/{total}"]),
            ("206 Part", ['ETag: "v1"', f"Content-Range: bytes 2999-{total - 2}/{total}"]),
            ("206 Part", ['ETag: "v1"', f"Content-Range: bytes 3000-{total - 1}/{total + 9}"]),
            ("206 Part", [f"Content-Range: bytes 3000-{total - 1}/{total}"]),
            ("416 Short", [f"Content-Range: bytes */{total}"]),
        ):
            first = counted(DATA, 'ETag: "v1"', missing=len(rest))
            got = []
            with self.assertRaises(Changed):
                client = self.client(play(first, counted(rest, *lines, status=status)))
                async for piece in client.stream(F):
                    got.append(piece)
            self.assertEqual(b"".join(got), DATA[:3000], lines)

    async def test_start(self) -> None:
        """A stream that begins later needs a server that knows ranges."""
        with self.assertRaises(Changed):
            await gather(self.client(play(counted(DATA))).stream(F, 5))
        client = self.client(File(DATA))
        self.assertRaises(ValueError, client.stream, F, -1)
        self.assertRaises(ValueError, client.stream, "f")
        with self.assertRaises(Refused) as caught:
            await gather(client.stream(F, len(DATA) + 1))
        self.assertEqual(caught.exception.status, 416)

    async def test_closed(self) -> None:
        """To close the iterator ends the connection."""
        client = self.client(endless)
        stream = client.stream(F)
        await anext(stream)
        await stream.aclose()
        self.server.close()  # waits for the script


def hang(connection: ServerConnection) -> None:
    """Read a request, and send nothing."""
    connection.request()
    connection.hang()


def endless(connection: ServerConnection) -> None:
    """Send a body until the client closes."""
    connection.request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    while True:
        connection.send(bytes(65536))
