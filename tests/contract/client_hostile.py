"""
The client library against platforms that mean harm: whatever they send, an operation ends with an
error of the library, in bounded memory, and nothing of the response reaches another request.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from chatfiles.client import BadAnswer, Changed, DigestMismatch, Incomplete, Unavailable
from chatfiles.testing import ReceivedRequest, ServerConnection
from tests.contract.client_case import ClientCase, gather
from tests.support.scripted_file import Answer, chunked, counted, play, refused, said

__all__ = ["HostileCases"]

D = "/workspace"
F = "/workspace/f"
DATA = bytes(range(256)) * 40
#: What no name, tag or number may be.
SURROGATE, HUGE = "\ud800", 10**400
LINE = b"X-Filler: " + b"x" * 1000 + b"\r\n"


def entry(name: str = "a", **more: Any) -> dict[str, Any]:
    """:return: the JSON of a file in the directory."""
    return {"name": name, "ref": f"{D}/{name}", "type": "file", "size": 3, **more}


def without_end(begin: bytes, piece: bytes) -> Answer:
    """:return: what sends *begin*, and *piece* until the client closes the connection."""

    def answer(connection: ServerConnection, request: ReceivedRequest) -> None:
        connection.send(begin)
        while True:
            connection.send(piece)

    return answer


class HostileCases(ClientCase):
    """Responses without an end, with impossible values, and with other content than promised."""

    async def test_endless_headers(self) -> None:
        """Headers, interim responses, trailers, chunk sizes and lines of JSON have limits."""
        begin = b"HTTP/1.1 200 OK\r\n"
        coded = begin + b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        for start, piece in (
            (begin, LINE),
            (begin + b"X-Long: ", b"x" * 1000),
            (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40),
            (coded + b"0\r\n", LINE),
            (coded + b"1;", b"x" * 1000),
            (coded, b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
        ):
            client = self.client(play(without_end(start, piece)), retries=0)
            with self.assertRaises(BadAnswer):
                await gather(client.walk(D))

    async def test_endless_pages(self) -> None:
        """A directory whose pages are empty, or begin again, does not go on for ever."""
        for pages in (
            [{"entries": [], "next": "a"}, {"entries": [], "next": "b"}],
            [{"entries": [entry("a")], "next": "a"}, {"entries": [], "next": "a"}],
            [{"entries": [entry("a")], "next": SURROGATE}, {"entries": []}],
            [{"entries": [entry("b")], "next": "a"}, {"entries": [entry("a")], "next": "b"}],
            [{"entries": [entry("a")], "next": "a"}, {"entries": [entry("a")], "next": "b"}],
        ):
            client = self.client(play(*map(said, pages), *map(said, pages)))
            with self.assertRaises(BadAnswer):
                await gather(client.list(D))
            self.assertLess(len(self.server.requests), 3)

    async def test_impossible_entries(self) -> None:
        """Text that is no Unicode, numbers without an end, and tags that would be more headers."""
        for value in (
            entry(SURROGATE),
            entry(ref=f"{D}/{SURROGATE}"),
            entry(ref=f"{D}/a%00"),
            entry("..", ref=f"{D}/.."),
            entry(ref=f"{D}/../a"),
            entry(name_base64=SURROGATE),
            entry(size=HUGE),
            entry(size=2**63),
            entry(size=1.5),
            entry(mtime="9" * 400),
            entry(etag='"a"\r\nX-Other: 1'),
            entry(etag="é"),
            entry(etag=SURROGATE),
        ):
            await self.fails(BadAnswer, self.client(play(said({"entry": value}))).stat(F))
            end = {"end": True, "entries": 1, "complete": True}
            body = b"\n".join([*map(_json, (value, end)), b""])
            headers = ["Content-Type: application/x-ndjson"]
            with self.assertRaises(BadAnswer):
                await gather(self.client(play(chunked(body, headers=headers))).walk(D))

    async def test_impossible_paths(self) -> None:
        """What was stored has a path that a request can name."""
        for uri in (f"workspace:/{SURROGATE}", "workspace:/a\0", "/a", "workspace:a", 1, None):
            row = {"uri": uri, "name": "f", "size": 0, "sha256": "0" * 64}
            client = self.client(play(_after_form(said({"files": [row]}))))
            await self.fails(BadAnswer, client.upload(BytesIO(), resumable=False, verify=False))
            self.server.close()
        row["uri"] = "workspace:/f"
        client = self.client(play(_after_form(said({"files": [row]}))))
        stored = await client.upload(BytesIO(), resumable=False, verify=False)
        self.assertEqual(stored.path, "/f")

    async def test_odd_json(self) -> None:
        """JSON that is too deep, or has a number that is too long, is no JSON."""
        for body in (b"[" * 100_000, b'{"entry": %s}' % (b"9" * 5000), b"\xff\xfe", b"nan", b""):
            await self.fails(BadAnswer, self.client(play(counted(body))).stat(F))

    async def test_long_json(self) -> None:
        """One entry is not a response that fills the memory; a page may be longer."""
        body = b" " * (2 * 1024 * 1024) + _json({"entry": entry(), "entries": [entry()]})
        await self.fails(BadAnswer, self.client(play(counted(body))).stat(F))
        found = await gather(self.client(play(counted(body))).list(D))
        self.assertEqual([each.name for each in found], ["a"])

    async def test_when_to_retry(self) -> None:
        """No ``Retry-After`` keeps the program waiting for long, or not at all."""
        for header in ("Retry-After: 999999999", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT"):
            client = self.client(play(refused("503 No", "busy", header)))
            await self.fails(Unavailable, client.read(F))
        for more in (HUGE, -1, True, "1", 1e400, None):
            busy = refused("503 No", "busy", retry_after_seconds=more)
            client = self.client(play(busy, counted(DATA)), retries=1)
            try:
                self.assertEqual(await client.read(F), DATA)
            except Unavailable:
                self.assertEqual(more, HUGE)
        self.assertLessEqual(max(self.pauses), 0.25)

    async def test_digest_at_once(self) -> None:
        """A digest that is always ready at once, but never there, is not asked for at once."""
        busy = said({"done": 0, "size": 1}, "Retry-After: 0", status="202 Accepted")
        value = {"sha256": "0" * 64, "size": 1, "etag": '"v"'}
        await self.client(play(busy, busy, said(value))).digest(F)
        self.assertEqual(len(self.pauses), 2)
        self.assertGreater(min(self.pauses), 0)

    async def test_lying_digest(self) -> None:
        """The digest of other bytes is a mismatch, wherever it is."""
        wrong = "sha-256=:" + "A" * 43 + "=:"
        answer = counted(DATA, 'ETag: "v"', f"Repr-Digest: {wrong}")
        await self.fails(
            DigestMismatch, self.client(play(answer)).download(F, self.path("x"), verify=True)
        )
        self.assertEqual(self.files(), [])
        for value in ({"sha256": "0" * 64, "etag": '"other"'}, {"sha256": "0" * 64, "size": 1}):
            for etag in ('"v"', 'W/"v"'):
                client = self.client(play(counted(DATA, f"ETag: {etag}"), said(value)))
                with self.assertRaises((Changed, BadAnswer, DigestMismatch)):
                    await client.download(F, self.path("x"), verify=True)
                self.assertNotIn("x", self.files())

    async def test_other_rest(self) -> None:
        """A rest that is longer, shorter or of other bytes than promised is never a file."""
        total = len(DATA)
        for body, headers in (
            (DATA[100:], f"Content-Range: bytes 0-{total - 101}/{total}"),
            (DATA[99:], f"Content-Range: bytes 99-{total - 1}/{total}"),
            (DATA[100:], f"Content-Range: bytes 100-{total - 1}/{total + 1}"),
            (DATA[100:], f"Content-Range: bytes 100-{total - 1}/*"),
            (DATA[100:], f"Content-Range: bytes 100-{'9' * 400}/{'9' * 400}"),
            (DATA[100:], f"Content-Range: lines 100-{total - 1}/{total}"),
            (DATA[100:-1], f"Content-Range: bytes 100-{total - 2}/{total}"),
            (DATA[100:], "X-None: 1"),
        ):
            rest = counted(body, 'ETag: "v"', headers, status="206 Partial Content")
            script = play(counted(DATA, 'ETag: "v"', missing=total - 100), rest, counted(b"new"))
            done = await self.client(script).download(F, self.path("x"))
            self.assertEqual((self.content("x"), done.restarted), (b"new", True), headers)

    async def test_moved(self) -> None:
        """A redirect of any kind is an error, and no other server gets the token."""
        self.client(play(counted(DATA)))
        elsewhere = self.server
        for status in ("301 M", "302 M", "303 M", "307 M", "308 M", "304 M", "300 M"):
            moved = counted(b"", f"Location: {elsewhere.url}/", status=status)
            for call in (
                lambda client: client.read(F),
                lambda client: client.stat(F),
                lambda client: client.delete(F),
                lambda client: client.upload(BytesIO(), resumable=False),
            ):
                await self.fails(BadAnswer, call(self.client(play(moved))))
        self.assertEqual(elsewhere.requests, [])

    async def test_manifest(self) -> None:
        """An archive is complete when its manifest says what is in it."""
        for body in (b"PK\x05\x06" + bytes(18), b"", bytes(10_240), b"\x1f\x8b"):
            for form in ("zip", "tar", "tar.gz"):
                archive = self.client(play(chunked(body or b"x"))).archive(
                    D, self.path("x"), format=form
                )
                await self.fails(BadAnswer, archive)
        cut = self.client(play(chunked(b"PK", ends=False)), retries=0)
        await self.fails(Incomplete, cut.archive(D, self.path("x")))
        self.assertEqual(self.files(), [])


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _after_form(answer: Answer) -> Answer:
    """:return: *answer*, which comes when the body of the request has come."""

    def later(connection: ServerConnection, request: ReceivedRequest) -> None:
        connection.body(request)
        answer(connection, request)

    return later
