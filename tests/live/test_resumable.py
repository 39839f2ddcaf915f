"""
Resumable uploads on real processes, directly and through the platform (reference/resumable).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import threading
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.live.processes import SOAK, LiveCase, Pair, until
from tests.live.rawhttp import Connection, Incomplete, Response, fetch

TUS = {"Tus-Resumable": "1.0.0"}
NONE: Mapping[str, str] = {}
MIB = 1 << 20
#: Rounds of two writers, on each way.
ROUNDS = 50 if SOAK else 1


class Way(NamedTuple):
    """
    A way to the uploads of the workspace.

    :param base: the target of creations.
    """

    name: str
    url: str
    base: str
    credential: Mapping[str, str]

    def ask(
        self, method: str, target: str, fields: Mapping[str, str] = NONE, body: bytes | None = None
    ) -> Response:
        """:return: the response."""
        given = {**TUS, **self.credential, **fields}
        return fetch(self.url, target, given, method=method, body=body)

    def create(self, length: int, query: str = "", **fields: str) -> str:
        """:return: the target of a new upload."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        given = {"Upload-Length": str(length), **named}
        answer = self.ask("POST", self.base + query, given, b"")
        if answer.status != 201:
            raise AssertionError((answer.status, answer.body))
        return answer["location"]

    def patch(self, target: str, offset: int, body: bytes, **fields: str) -> Response:
        """:return: the response."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        return self.ask("PATCH", target, {**chunk(offset), **named}, body)

    def begin(
        self, target: str, offset: int, length: int, part: bytes, more: Mapping[str, str] = NONE
    ) -> Connection:
        """:return: a connection on which a chunk has begun, with its first bytes."""
        connection = Connection(self.url)
        given = {**TUS, **self.credential, **chunk(offset), **more}
        fields = {**given, "Content-Length": str(length)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        host = urlsplit(self.url).netloc
        head = f"PATCH {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"
        connection.send(head.encode() + part)
        return connection

    def offset(self, target: str) -> int:
        """:return: how far an upload is."""
        return int(self.ask("HEAD", target)["upload-offset"])


def chunk(offset: int) -> dict[str, str]:
    """:return: the headers of a chunk."""
    return {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}


def repr_digest(content: bytes) -> str:
    """:return: ``Repr-Digest`` of a file."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


class ResumableTests(LiveCase):
    """A workspace with two processes; ``/workspace/out`` is writable."""

    @classmethod
    def make_pair(cls) -> Pair:
        workspace = ["--writable=/workspace/out", "--workers=2", "--max-resumable-bytes=256M"]
        options = ["--max-resumable-bytes=256M", "--allow-origin=https://app.example"]
        return Pair(platform=options, workspace=workspace)

    def setUp(self) -> None:
        super().setUp()
        os.makedirs(self.pair.at("workspace", "out"), exist_ok=True)

    def ways(self) -> list[Way]:
        """:return: both ways."""
        pair = self.pair
        through = f"/workspaces/{pair.id}/uploads"
        return [
            Way("direct", pair.workspace.url, "/internal/uploads", pair.inbound),
            Way("through", pair.platform.url, through, pair.bearer),
        ]

    def stored(self, answer: Response) -> bytes:
        """:return: the content of the file that a last chunk has finished."""
        path = answer["chatfiles-uri"].removeprefix("workspace:/workspace/")
        with open(self.pair.at("workspace", *path.split("/")), "rb") as file:
            return file.read()

    def test_life_of_an_upload(self) -> None:
        """An upload is created, continued, finished and forgotten."""
        for way in self.ways():
            named = base64.b64encode(b"a b.bin").decode()
            target = way.create(6, Upload_Metadata=f"filename {named}")
            self.assertTrue(target.startswith(way.base + "/"), target)
            self.assertEqual(way.patch(target, 0, b"abc").status, 204)
            refused = way.patch(target, 0, b"abc")
            self.assertEqual((refused.status, refused["upload-offset"]), (409, "3"))
            head = way.ask("HEAD", target)
            self.assertEqual((head["upload-offset"], head["upload-length"]), ("3", "6"))
            self.assertEqual(head["upload-metadata"], f"filename {named}")
            self.assertEqual(way.ask("GET", target).json["code"], "upload_incomplete")
            wrong = way.patch(target, 3, b"def", Upload_Checksum="sha1 " + "A" * 27 + "=")
            self.assertEqual(wrong.status, 460)
            last = way.patch(target, 3, b"def")
            self.assertEqual(last["repr-digest"], repr_digest(b"abcdef"))
            self.assertEqual(self.stored(last), b"abcdef")
            (entry,) = way.ask("GET", target).json["files"]
            self.assertEqual((entry["name"], entry["size"]), ("a_b.bin", 6))
            self.assertEqual(way.ask("DELETE", target).status, 204)
            self.assertEqual(way.ask("DELETE", target).json["code"], "upload_not_found")
            self.assertEqual(self.stored(last), b"abcdef")

    def test_refused(self) -> None:
        """Each row of the tables, in both places."""
        long = {"Upload-Length": str((256 << 20) + 1)}
        for way in self.ways():
            target = way.create(5)
            typed = chunk(0)
            for method, path, fields, body, expected in (
                ("POST", way.base, {"Tus-Resumable": "0.2"}, b"", (412, "unsupported_tus_version")),
                ("POST", way.base, {}, b"", (400, "upload_length_required")),
                ("POST", way.base, long, b"", (413, "upload_too_large")),
                ("POST", way.base, {"Upload-Length": "x"}, b"", (400, "upload_length_required")),
                (
                    "POST",
                    way.base,
                    {"Upload-Length": "1", "Upload-Metadata": "a,a"},
                    b"",
                    (400, "invalid_metadata"),
                ),
                (
                    "POST",
                    way.base + "?path=/workspace/x",
                    {"Upload-Length": "1"},
                    b"",
                    (403, "not_writable"),
                ),
                ("PATCH", target, {"Upload-Offset": "0"}, b"a", (415, "unsupported_media_type")),
                ("PATCH", target, chunk(1), b"a", (409, "offset_mismatch")),
                ("PATCH", target, typed, b"abcdef", (413, "upload_too_long")),
                (
                    "PATCH",
                    target,
                    {**typed, "Upload-Checksum": "md5 YQ=="},
                    b"a",
                    (400, "unsupported_checksum"),
                ),
                (
                    "PATCH",
                    target,
                    {**typed, "Upload-Checksum": "sha1"},
                    b"a",
                    (400, "invalid_checksum"),
                ),
                ("PATCH", target[:-32] + "0" * 32, typed, b"a", (404, "upload_not_found")),
                ("PATCH", target[:-1], typed, b"a", (404, "upload_not_found")),
            ):
                answer = way.ask(method, path, fields, body)
                found = (answer.status, answer.json["code"])
                self.assertEqual(found, expected, (way.name, method, path, fields))
                self.assertEqual(answer["tus-resumable"], "1.0.0")
            self.assertEqual(way.offset(target), 0)

    def test_deferred(self) -> None:
        """The length may be said later, once, and clients without ``PATCH`` may use ``POST``."""
        for way in self.ways():
            fields = {"Upload-Defer-Length": "1"}
            target = way.ask("POST", way.base, fields, b"")["location"]
            patch = {**chunk(0), "X-HTTP-Method-Override": "PATCH"}
            self.assertEqual(way.ask("POST", target, patch, b"ab")["upload-offset"], "2")
            self.assertEqual(way.ask("HEAD", target)["upload-defer-length"], "1")
            last = way.patch(target, 2, b"c", Upload_Length="3")
            self.assertEqual(last["repr-digest"], repr_digest(b"abc"))

    def test_path(self) -> None:
        """A file below a writable prefix appears when it is complete."""
        for way in self.ways():
            target = way.create(3, "?path=/workspace/out/x")
            self.assertEqual(way.patch(target, 0, b"ab").status, 204)
            listed = fetch(
                self.pair.platform.url,
                f"/workspaces/{self.pair.id}/fs/entries?path=/workspace/out",
                self.pair.bearer,
            )
            self.assertNotIn(".chatfiles-part-", listed.body.decode())
            last = way.patch(target, 2, b"c")
            self.assertEqual(last["chatfiles-uri"], "workspace:/workspace/out/x")
            self.assertEqual(self.stored(last), b"abc")
            os.unlink(self.pair.at("workspace", "out", "x"))

    def test_cuts(self) -> None:
        """A file is complete after ten cuts of its connection; every byte counts once."""
        content = random.Random(1).randbytes(12 * MIB)
        for way in self.ways():
            target, offset = way.create(len(content)), 0
            for cut in range(10):
                rest = content[offset:]
                sent = rest[: MIB + 4321 * cut]
                way.begin(target, offset, len(rest), sent).close()
                now = way.offset(target)
                self.assertTrue(offset <= now <= offset + len(sent), (offset, now))
                offset = now
            # What the platform had taken of an ended connection may come later: it ends this
            # chunk (502) or comes before it (409).  Clients try again.
            last = None
            while last is None or last.status in (409, 502):
                offset = way.offset(target)
                with contextlib.suppress(OSError, Incomplete):
                    last = way.patch(target, offset, content[offset:])
            self.assertEqual(last.status, 204, last.body)
            self.assertEqual(last["repr-digest"], repr_digest(content))
            self.assertEqual(self.stored(last), content)

    def test_one_writer(self) -> None:
        """Two clients that write the same upload in turns store each byte once."""
        content = random.Random(2).randbytes(2 * MIB)
        for way in self.ways() * ROUNDS:
            target = way.create(len(content))

            def write(way: Way = way, target: str = target) -> None:
                offset = 0
                while offset < len(content):
                    head = way.ask("HEAD", target)
                    if head.status != 200:
                        continue
                    offset = int(head["upload-offset"])
                    part = content[offset : offset + 100_000]
                    with contextlib.suppress(OSError, Incomplete):  # the other one ends it
                        way.patch(target, offset, part)

            writers = [threading.Thread(target=write) for _ in range(2)]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()
            last = way.ask("HEAD", target)
            self.assertEqual(last["repr-digest"], repr_digest(content))
            self.assertEqual(self.stored(last), content)
            self.assertEqual(way.ask("DELETE", target).status, 204)

    def test_eviction(self) -> None:
        """A new request ends a chunk that does not come to its end, in whichever process."""
        for way in self.ways():
            for _ in range(4):  # some reach the other process
                target = way.create(10)
                with way.begin(target, 0, 10, b"abc"):
                    until(partial(self.has, target, b"abc"), "the chunk arrives")
                    self.assertEqual(way.offset(target), 3)
                    self.assertEqual(way.ask("DELETE", target).status, 204)

    def has(self, target: str, content: bytes) -> bool:
        """:return: whether the workspace has just this of an upload."""
        name = f".chatfiles-part-{target[-32:]}"
        directory = self.pair.at("workspace", ".molecule", "chat-uploads")
        with open(os.path.join(directory, name), "rb") as file:
            return file.read() == content

    def test_options(self) -> None:
        """The service describes itself, and pages of an allowed origin may use the platform."""
        for way in self.ways():
            answer = fetch(way.url, way.base, {"Origin": "https://app.example"}, method="OPTIONS")
            self.assertEqual((answer.status, answer["tus-max-size"]), (204, str(256 * MIB)))
            allowed = answer.get("access-control-allow-origin")
            self.assertEqual(allowed, "https://app.example" if way.name == "through" else None)


class LimitTests(LiveCase):
    """A workspace that keeps one unfinished upload, for an hour."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(workspace=["--max-unfinished-uploads=1", "--upload-expiry=3600"])

    def test_limits(self) -> None:
        """Both options are those of the operator."""
        pair = self.pair
        way = Way("direct", pair.workspace.url, "/internal/uploads", pair.inbound)
        target = way.create(1)
        refused = way.ask("POST", way.base, {"Upload-Length": "1"}, b"")
        self.assertEqual((refused.status, refused.json["code"]), (429, "too_many_uploads"))
        directory = pair.at("workspace", ".molecule", "chat-uploads")
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            os.utime(path, times=(0, os.stat(path).st_mtime - 3601))
        self.assertEqual(way.ask("HEAD", target).status, 404)
        way.create(1)
