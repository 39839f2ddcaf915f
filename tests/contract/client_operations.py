"""
The cases of listings, archives, links, digests and changes; and of the client itself.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from typing import Any

from chatfiles.client import (
    BadAnswer,
    Conflict,
    Digest,
    Entry,
    Incomplete,
    Manifest,
    NotFound,
    Renamed,
    Skipped,
    Unavailable,
    Unreachable,
)
from tests.contract.client_case import TOKEN, WORKSPACE, ClientCase, gather
from tests.support.scripted_file import Answer, chunked, counted, play, raw, refused, said

D = "/workspace/d"
SHA256 = "0a" * 32
STREAM = ["Content-Type: application/x-ndjson"]


def entry(name: str, **more: Any) -> dict[str, Any]:
    """:return: the JSON of an entry."""
    file = {"type": "file", "size": 3, "mtime": "2026-11-29T10:02:03.123456789Z", "mode": "0640"}
    return {"name": name, "ref": f"{D}/{name}", **file, "etag": '"v"', **more}


def lines(*values: Any, ends: bool = True) -> Answer:
    """:return: a stream of JSON."""
    return chunked(*[json.dumps(v).encode() + b"\n" for v in values], headers=STREAM, ends=ends)


class ListingCases(ClientCase):
    """``stat``, ``list`` and ``walk``."""

    async def test_stat(self) -> None:
        """An entry has all that the workspace says of it."""
        value = entry("a", media_type="text/plain", readable=False)
        found = await self.client(play(said({"entry": value}))).stat(f"{D}/a")
        time = 1795946523_123456789
        expected = (f"{D}/a", "a", "file", 3, time, 0o640, "text/plain", '"v"', False, None)
        self.assertEqual(found, Entry(*expected))
        self.assertEqual(found.mtime.isoformat(), "2026-11-29T10:02:03.123456+00:00")
        self.assertTrue(self.server.requests[0].target.endswith(f"/fs/entries?path={D}/a&depth=0"))

    async def test_byte_names(self) -> None:
        """A name that is not UTF-8 can be used as a path again."""
        value = {"name": "\ufffd", "name_base64": "/w==", "ref": f"{D}/%FF", "type": "symlink"}
        client = self.client(play(said({"entry": value})))
        found = await client.stat(b"/workspace/d/\xff")
        self.assertEqual((found.name, found.path), ("\udcff", f"{D}/\udcff"))
        self.assertEqual((found.size, found.mtime, found.readable), (None, None, True))
        await client.stat(found.path)
        first, second = self.server.requests
        self.assertEqual(first.target, second.target)

    async def test_malformed(self) -> None:
        """An entry whose name is no name, or that is malformed, is not accepted."""
        values: list[Any] = [
            None,
            [],
            entry("a", ref=f"{D}/b"),
            entry(".."),
            entry("a", ref=f"{D}/e/../../a"),
            entry("a", ref=f"{D}/./a"),
            entry("a/b"),
            entry("a", ref=None),
            entry("a", size=-1),
            entry("a", size="3"),
            entry("a", mode="999"),
            entry("a", mtime="yesterday"),
            entry("a", mtime="2026-13-29T10:02:03.123456789Z"),
            entry("a", name_base64="?"),
        ]
        for value in values:
            client = self.client(play(said({"entry": value})))
            await self.fails(BadAnswer, client.stat(D))
        for answer in (counted(b"{"), counted(b"[]"), counted(b"[" * 100000)):
            await self.fails(BadAnswer, self.client(play(answer)).stat(D))

    async def test_pages(self) -> None:
        """Pages follow each other until there is no next one; an interrupted one is asked again."""
        answers = (
            said({"entries": [entry("a"), entry("b")], "next": "Yg"}),
            counted(b"{}", missing=1),
            said({"entries": [entry("c")]}),
        )
        client = self.client(play(*answers))
        found = await gather(client.list(D, page_size=2))
        self.assertEqual([each.name for each in found], ["a", "b", "c"])
        targets = [request.target.partition("?")[2] for request in self.server.requests]
        self.assertEqual(targets[0], f"path={D}&limit=2")
        self.assertEqual(targets[1:], [f"path={D}&limit=2&after=Yg"] * 2)
        for size in (0, 10_001):
            self.assertRaises(ValueError, client.list, D, page_size=size)
        self.assertRaises(ValueError, client.list, "d")

    async def test_bad_pages(self) -> None:
        """Pages that do not end are not accepted."""
        pages: list[Any] = [{"entries": [], "next": 1}, {"entries": {}}, {}]
        for page in pages:
            with self.assertRaises(BadAnswer):
                await gather(self.client(play(said(page))).list(D))
        with self.assertRaises(BadAnswer):
            await gather(self.client(play(said({"entries": [], "next": "x"}))).list(D))

    async def test_walk(self) -> None:
        """A stream is complete with its last line."""
        end = {"end": True, "entries": 2, "complete": True}
        client = self.client(play(raw(b""), lines(entry("a"), entry("b", error="denied"), end)))
        found = await gather(client.walk(D, depth=3))
        self.assertEqual([each.name for each in found], ["a", "b"])
        self.assertEqual(found[1].error, "denied")
        self.assertEqual(self.sent("Accept"), ["application/x-ndjson"] * 2)
        self.assertTrue(self.server.requests[0].target.endswith("&depth=3"))
        for depth in (0, 65):
            self.assertRaises(ValueError, client.walk, D, depth=depth)

    async def test_walk_yields(self) -> None:
        """Entries come before the stream ends."""

        def script(connection: Any) -> None:
            connection.request()
            head = "\r\n".join(["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *STREAM, "", ""])
            line = json.dumps(entry("a")).encode() + b"\n"
            connection.send(head.encode() + b"%x\r\n%b\r\n" % (len(line), line))
            connection.hang()

        walk = self.client(script).walk(D)
        self.assertEqual((await anext(walk)).name, "a")
        await walk.aclose()
        self.server.close()

    async def test_walk_incomplete(self) -> None:
        """A stream without its last line, or that lacks entries, is an error at its end."""
        whole = {"end": True, "entries": 1, "complete": True}
        for answer in (
            lines(entry("a")),
            lines(entry("a"), ends=False),
            lines(entry("a"), {**whole, "complete": False, "reason": "too_deep"}),
            lines(entry("a"), {**whole, "entries": 2}),
            lines(entry("a"), whole, ends=False),
        ):
            found = []
            with self.assertRaises(Incomplete) as caught:
                async for each in self.client(play(answer)).walk(D):
                    found.append(each)
            self.assertEqual((len(found), caught.exception.done), (1, 1))
            self.assertEqual(self.server.connections, 1)
        for answer in (
            said({"entries": []}),
            lines(whole, whole),
            lines([]),
            chunked(b"x" * 300_000, headers=STREAM),
            chunked(b"nonsense\n", headers=STREAM),
        ):
            with self.assertRaises(BadAnswer):
                await gather(self.client(play(answer)).walk(D))


def manifest(**more: Any) -> dict[str, Any]:
    """:return: the JSON of a manifest."""
    return {"members": 1, "bytes": 4, "skipped_total": 0, "skipped": [], "renamed": [], **more}


def packed(form: str, value: dict[str, Any]) -> bytes:
    """:return: an archive of one file and a manifest."""
    members = {"d/x": b"data", "chatfiles-manifest.json": json.dumps(value).encode()}
    output = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(output, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(fileobj=output, mode="w:gz" if form == "tar.gz" else "w") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return output.getvalue()


class ArchiveCases(ClientCase):
    """``archive``."""

    async def test_archive(self) -> None:
        """The manifest of each format is read; the file appears when it is complete."""
        value = manifest(
            skipped_total=2,
            skipped=[{"ref": f"{D}/%FF", "reason": "symlink"}],
            renamed=[{"member": "d/%FF", "ref": f"{D}/%FF"}],
        )
        for form in ("zip", "tar", "tar.gz"):
            data = packed(form, value)
            client = self.client(play(chunked(data[:100], ends=False), chunked(data)))
            calls: list[Any] = []
            found = await client.archive(
                D,
                self.directory,
                format=form,
                progress=lambda *call: calls.append(call),  # noqa: B023
            )
            skipped = (Skipped(f"{D}/\udcff", "symlink"),)
            renamed = (Renamed("d/%FF", f"{D}/\udcff"),)
            self.assertEqual(found, Manifest(1, 4, 2, skipped, renamed))
            self.assertEqual(self.content(f"d.{form}"), data)
            self.assertEqual(calls[-1], (len(data), len(data)))
            self.assertTrue(self.server.requests[0].target.endswith(f"path={D}&format={form}"))
        self.assertEqual(self.files(), ["d.tar", "d.tar.gz", "d.zip"])

    async def test_several(self) -> None:
        """Several paths are in the body of one request, which is sent once."""
        client = self.client(play(refused("503 No", "no")))
        paths = [b"/workspace/d/\xff", "/workspace/d/b"]
        await self.fails(Unavailable, client.archive(paths, self.path("x.zip")))
        self.assertEqual(self.server.connections, 1)
        self.assertEqual(self.server.requests[0].method, "POST")
        for bad in ([], ["x"]):
            await self.fails(ValueError, client.archive(bad, self.path("x.zip")))
        await self.fails(ValueError, client.archive(D, self.path("x"), format="rar"))

    async def test_incomplete(self) -> None:
        """An archive that is interrupted, or has no valid manifest, leaves no file."""
        self.write("x.zip", b"old")
        whole = packed("zip", manifest())
        for answer, kind in (
            (chunked(whole, ends=False), Incomplete),
            (raw(b"HTTP/1.1 200 OK\r\n\r\n" + whole), Incomplete),
            (chunked(whole[:-5]), BadAnswer),
            (chunked(packed("zip", manifest(members=2))), BadAnswer),
            (chunked(packed("zip", manifest(skipped=[{"ref": 1}]))), BadAnswer),
            (chunked(b"nonsense"), BadAnswer),
            (refused("404 No", "file_not_found"), NotFound),
        ):
            client = self.client(play(answer), retries=1)
            await self.fails(kind, client.archive(D, self.path("x.zip")))
            self.assertEqual((self.files(), self.content("x.zip")), (["x.zip"], b"old"))


class OperationCases(ClientCase):
    """Links, digests, changes, and the client itself."""

    async def test_link(self) -> None:
        """A relative link is joined to the base URL; the options are in the body."""
        client = self.client(play(said({"url": "/links/file?x"}, status="201 Made")), "/base")
        self.assertEqual(await client.link(D), f"{self.server.url}/base/links/file?x")
        absolute = "https://files.example.org/links/upload?x"
        client = self.client(play(said({"url": absolute}, status="201 Made")))
        self.assertEqual(await client.link(operation="upload"), absolute)
        await self.fails(ValueError, client.link())
        for url in ("javascript:x", "//elsewhere/", "", None):
            answer = said({"url": url}, status="201 Made")
            await self.fails(BadAnswer, self.client(play(answer)).link(D))

    async def test_digest(self) -> None:
        """A digest is waited for."""
        value = {"ref": D, "size": 3, "etag": '"v"', "sha256": SHA256}
        computing = said({"status": "computing", "done": 1, "size": 3}, status="202 Wait")
        client = self.client(play(computing, computing, said(value)))
        self.assertEqual(await client.digest(D, if_match='"v"'), Digest(SHA256, 3, '"v"'))
        self.assertEqual(self.pauses, [2, 2])
        self.assertEqual(self.sent("If-Match"), ['"v"'] * 3)
        for bad in ({**value, "sha256": "x"}, {**value, "size": None}, {**value, "etag": 1}):
            await self.fails(BadAnswer, self.client(play(said(bad))).digest(D))
        client = self.client(play(refused("409 No", "file_changing")))
        await self.fails(Conflict, client.digest(D))

    async def test_changes(self) -> None:
        """Each change is one request with its options."""
        client = self.client(play(raw(b"HTTP/1.1 204 No Content\r\n\r\n")))
        await client.delete(b"/workspace/\xff")
        await client.delete(D, directory=True, if_match='"v"')
        self.assertEqual([each.method for each in self.server.requests], ["DELETE"] * 2)
        base = f"/workspaces/{WORKSPACE}/fs/"
        targets = [each.target for each in self.server.requests]
        self.assertEqual(targets[0], f"{base}file?path=/workspace/%FF")
        self.assertEqual(targets[1], f"{base}file?path={D}&directory=1")
        client = self.client(play(said({"ref": D}, status="201 Made")))
        await client.mkdir(D)
        await client.mkdir(D, parents=True)
        self.assertTrue(self.server.requests[1].target.endswith(f"path={D}&parents=1"))
        self.assertEqual(self.sent("Content-Length"), ["0", "0"])
        client = self.client(play(said({"ref": D})))
        await client.move(D, "/workspace/e", overwrite=True, if_match='"v"')
        self.assertEqual(self.server.requests[0].method, "POST")
        self.assertEqual(self.sent("If-Match"), ['"v"'])

    async def test_changes_once(self) -> None:
        """A change is never sent twice."""
        for answer, kind in ((refused("503 No", "no"), Unavailable), (raw(b""), Unreachable)):
            client = self.client(play(answer))
            for call in (client.delete(D), client.mkdir(D), client.move(D, D), client.link(D)):
                await self.fails(kind, call)
            self.assertEqual(self.server.connections, 4)

    async def test_closed(self) -> None:
        """A client that was closed sends nothing."""
        client = self.client(play(counted(b"x")))
        self.assertEqual(await client.read(D), b"x")
        await client.close()
        await client.close()
        await self.fails(RuntimeError, client.read(D))
        await self.fails(RuntimeError, client.upload([b"x"]))
        for iterate in (client.list, client.walk, client.stream):
            self.assertRaises(RuntimeError, iterate, D)
        self.assertEqual(self.server.connections, 1)

    async def test_parameters(self) -> None:
        """What cannot be a parameter is an error, which does not show the token."""
        good: dict[str, Any] = {"url": "http://h", "token": TOKEN, "workspace": WORKSPACE}
        for options in (
            {"url": "ftp://h"},
            {"url": "http://u:p@h"},
            {"url": "http://h/?x"},
            {"url": "http://h/#x"},
            {"url": "h"},
            {"token": ""},
            {"token": "\n"},
            {"token": TOKEN + "\n\n"},
            {"token": TOKEN + " x"},
            {"token": TOKEN + "ä"},
            {"workspace": "x"},
            {"workspace": ""},
            {"retries": -1},
            {"idle_timeout": 0},
            {"connect_timeout": -1},
        ):
            with self.assertRaises(ValueError) as caught:
                self.new(**{**good, **options})
            self.assertNotIn(TOKEN, str(caught.exception))
        with self.assertRaises(OSError):
            self.new("https://h", ca=self.path("no"))

    async def test_token(self) -> None:
        """A token may be in a file; a final line end is dropped; it is not shown."""
        for token in (TOKEN + "\n", TOKEN + "\r\n", self.token_file()):
            client = self.client(play(counted(b"x")), token=token)
            await client.read(D)
            self.assertEqual(self.sent("Authorization"), [f"Bearer {TOKEN}"])
            self.assertNotIn(TOKEN, repr(client))

    async def test_elsewhere(self) -> None:
        """A redirect is not followed, so the token goes nowhere else."""
        other = self.client(play(counted(b"x")))
        elsewhere = self.server
        moved = raw(
            b"HTTP/1.1 307 Moved\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\n"
            b"Location: %b/\r\n\r\n" % elsewhere.url.encode()
        )
        client = self.client(play(moved))
        await self.fails(BadAnswer, client.read(D))
        await self.fails(BadAnswer, client.upload([b"x"]))
        self.assertEqual((elsewhere.connections, self.sent("Cookie")), (0, [None, None]))
        await other.close()
