"""
The cases of downloads: complete or not there, resumed, verified, reported.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from chatfiles.client import (
    BadAnswer,
    Changed,
    DigestMismatch,
    Incomplete,
    NotFound,
    PreconditionFailed,
    Unsupported,
)
from chatfiles.client.local.part_file import ATTRIBUTE
from chatfiles.testing import ServerConnection
from tests.contract.client_case import ClientCase
from tests.support.scripted_file import Answer, File, chunked, counted, play, raw, refused, said

F = "/workspace/dir/f.bin"
DATA = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(DATA).hexdigest()


class Stop(Exception):
    """Raised by a caller's function."""


def digest_field(data: bytes) -> str:
    """:return: the header of a response with the digest of *data*."""
    return f"Repr-Digest: sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def routed(
    file: Callable[[ServerConnection], object], *digests: Answer
) -> Callable[[ServerConnection], object]:
    """:return: a script that sends *digests* to requests for digests, and else runs *file*."""
    left = list(digests)

    def script(connection: ServerConnection) -> None:
        peeked = connection._socket.recv(65536, 2)  # MSG_PEEK
        if b"/fs/digest?" in peeked:
            request = connection.request()
            assert request is not None
            left.pop(0)(connection, request)
        else:
            file(connection)

    return script


class DownloadCases(ClientCase):
    """``download``."""

    async def test_complete(self) -> None:
        """The file appears with its content, and nothing else."""
        done = await self.client(File(DATA)).download(F, self.path("x"))
        self.assertEqual(self.content("x"), DATA)
        self.assertEqual(self.files(), ["x"])
        self.assertEqual((done.to, done.size, done.etag), (Path(self.path("x")), len(DATA), '"v1"'))
        self.assertEqual((done.attempts, done.resumed_from, done.restarted), (1, 0, False))
        self.assertIsNone(done.sha256)
        self.assertEqual(os.listxattr(self.path("x")), [])

    async def test_directory(self) -> None:
        """In a directory, the file has its own name."""
        client = self.client(File(DATA))
        for to in (self.directory, self.directory + "/", Path(self.directory)):
            done = await client.download(F, to)
            self.assertEqual(done.to, Path(self.path("f.bin")))
        done = await client.download(b"/workspace/\xff", self.directory)
        self.assertEqual(self.files(), ["f.bin", os.fsdecode(b"\xff")])
        await client.download("/workspace/" + "n" * 255, self.directory)
        self.assertEqual(self.content("n" * 255), DATA)
        for path in ("/workspace/..", "/workspace/"):
            await self.fails(ValueError, client.download(path, self.directory))
        await self.fails(FileNotFoundError, client.download(F, self.path("no/x")))

    async def test_mode(self) -> None:
        """A new file has the usual mode; one that is replaced keeps its own."""
        client = self.client(File(DATA))
        mask = os.umask(0o027)
        try:
            await client.download(F, self.path("x"))
        finally:
            os.umask(mask)
        self.assertEqual(os.stat(self.path("x")).st_mode & 0o777, 0o640)
        os.chmod(self.path("x"), 0o604)
        await client.download(F, self.path("x"))
        self.assertEqual(os.stat(self.path("x")).st_mode & 0o777, 0o604)

    async def test_retries(self) -> None:
        """An interrupted transfer continues."""
        client = self.client(File(DATA, cuts=[1000, 2000]))
        done = await client.download(F, self.path("x"))
        self.assertEqual(self.content("x"), DATA)
        self.assertEqual((done.attempts, done.resumed_from, done.restarted), (3, 0, False))

    async def test_resumes(self) -> None:
        """What an earlier call has received is not transferred again."""
        file = File(DATA, cuts=[1000])
        error = await self.fails(
            Incomplete, self.client(file, retries=0).download(F, self.path("x"))
        )
        self.assertEqual((error.done, error.total), (1000, len(DATA)))
        self.assertEqual(self.files(), ["x.part"])
        self.assertEqual(os.getxattr(self.path("x.part"), ATTRIBUTE), b'"v1"')
        done = await self.client(file).download(F, self.path("x"), verify=False)
        self.assertEqual(self.sent("Range"), ["bytes=1000-"])
        self.assertEqual(self.sent("If-Range"), ['"v1"'])
        self.assertEqual(self.content("x"), DATA)
        self.assertEqual((done.resumed_from, done.attempts), (1000, 1))
        self.assertEqual(self.files(), ["x"])

    async def test_without_attributes(self) -> None:
        """Without extended attributes, the validator is in a file beside it."""
        file = File(DATA, cuts=[1000])
        with patch("os.setxattr", side_effect=OSError), patch("os.getxattr", side_effect=OSError):
            await self.fails(Incomplete, self.client(file, retries=0).download(F, self.path("x")))
            self.assertEqual(self.files(), ["x.part", "x.part.etag"])
            done = await self.client(file).download(F, self.path("x"))
        self.assertEqual((done.resumed_from, self.content("x")), (1000, DATA))
        self.assertEqual(self.files(), ["x"])

    async def test_not_resumed(self) -> None:
        """Another version, no validator, or ``resume=False``: from the start."""
        other = b"other" * 5000
        for etag, then, resume in (
            ('"v1"', '"v2"', True),
            ('"v1"', '"v1"', False),
            ("", "", True),
            ('W/"v1"', 'W/"v1"', True),
        ):
            file = File(DATA, etag, cuts=[1000])
            await self.fails(Incomplete, self.client(file, retries=0).download(F, self.path("x")))
            self.assertEqual(self.files(), ["x.part"])
            file.content, file.etag = other, then
            done = await self.client(file).download(F, self.path("x"), resume=resume)
            self.assertEqual((self.content("x"), done.resumed_from), (other, 0))
            self.assertEqual(done.restarted, then == '"v2"')
            self.assertEqual(self.files(), ["x"])
            os.unlink(self.path("x"))

    async def test_restarts(self) -> None:
        """If the file changes during the transfer, the new version is transferred."""
        other = b"other" * 5000
        for changed in ('"v2"', ""):
            file = File(DATA, cuts=[1000, 2000], changes=[(other, changed)])
            done = await self.client(file).download(F, self.path("x"))
            self.assertEqual((self.content("x"), done.restarted), (other, True))

    async def test_never_appended(self) -> None:
        """A response that is not the rest is not appended: everything is asked for again."""
        rest, total = DATA[3000:], len(DATA)
        for status, lines in (
            ("206 Part", ['ETag: "v2"', f"Content-Range: bytes 3000-{total - 1}/{total}"]),
            ("206 Part", ['ETag: "v1"', f"Content-Range: bytes 2999-{total - 2}/{total}"]),
            ("206 Part", ['ETag: "v1"', f"Content-Range: bytes 3000-{total - 1}/{total + 9}"]),
            ("416 Short", []),
        ):
            script = play(
                counted(DATA, 'ETag: "v1"', missing=len(rest)),
                counted(rest, *lines, status=status),
                counted(b"whole", 'ETag: "v3"'),
            )
            done = await self.client(script).download(F, self.path("x"))
            self.assertEqual((self.content("x"), done.restarted), (b"whole", True))
            self.assertEqual(self.sent("Range"), [None, "bytes=3000-", None])
        script = play(
            counted(DATA, 'ETag: "v1"', missing=len(rest)), counted(b"all of it", 'ETag: "v1"')
        )
        done = await self.client(script).download(F, self.path("x"))
        self.assertEqual((self.content("x"), done.restarted), (b"all of it", True))

    async def test_longer_than_its_range(self) -> None:
        """A body in chunks that has more bytes than its range is not accepted."""
        total = len(DATA)

        def longer(connection: ServerConnection, request: object) -> None:
            connection.send(b"HTTP/1.1 206 Part\r\nTransfer-Encoding: chunked\r\n")
            connection.send(
                b'ETag: "v1"\r\nContent-Range: bytes 3000-%d/%d\r\n\r\n' % (total - 1, total)
            )
            body = DATA[3000:] + b"more"
            connection.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

        first = counted(DATA, 'ETag: "v1"', missing=total - 3000)
        await self.fails(BadAnswer, self.client(play(first, longer)).download(F, self.path("x")))
        self.assertEqual(self.files(), ["x.part"])
        self.assertTrue(DATA.startswith(self.content("x.part")))

    async def test_if_match(self) -> None:
        """With ``if_match``, another version is an error at once."""
        client = self.client(File(DATA))
        await self.fails(PreconditionFailed, client.download(F, self.path("x"), if_match='"v0"'))
        self.assertEqual(self.files(), [])
        file = File(DATA, cuts=[1000], changes=[(b"other", '"v2"')])
        client = self.client(file)
        await self.fails(Changed, client.download(F, self.path("x"), if_match='"v1"'))
        self.assertEqual(self.content("x.part"), DATA[:1000])
        ignores = counted(DATA, 'ETag: "v1"'), counted(DATA, 'ETag: "v1"', missing=1000)
        client = self.client(play(*reversed(ignores)))
        await self.fails(Changed, client.download(F, self.path("y"), if_match='"v1"'))

    async def test_if_match_and_part(self) -> None:
        """The ``.part`` of another version than the one that is wanted is not continued."""
        await self.fails(
            Incomplete,
            self.client(File(DATA, cuts=[1000]), retries=0).download(F, self.path("x")),
        )
        client = self.client(File(b"new", '"v2"'))
        done = await client.download(F, self.path("x"), if_match='"v2"')
        self.assertEqual((self.content("x"), done.resumed_from), (b"new", 0))
        self.assertEqual(self.sent("Range"), [None])

    async def test_nothing_left(self) -> None:
        """A file that does not exist leaves nothing, and replaces nothing."""
        self.write("x", b"old")
        client = self.client(play(refused("404 No", "file_not_found")))
        await self.fails(NotFound, client.download(F, self.path("x")))
        self.assertEqual((self.files(), self.content("x")), (["x"], b"old"))

    async def test_long_names(self) -> None:
        """A file may have the longest name that there can be."""
        for length in range(240, 256):
            await self.client(File(DATA)).download(F, self.path("n" * length))
        self.assertEqual(len(self.files()), 16)

    async def test_unavailable_at_the_end(self) -> None:
        """An outage while a complete part is examined does not discard it."""
        cut = counted(DATA, 'ETag: "v1"', missing=1)
        client = self.client(play(cut), retries=0)
        await self.fails(Incomplete, client.download(F, self.path("x")))
        self.write("x.part", DATA, "r+b")
        short = counted(b"", f"Content-Range: bytes */{len(DATA)}", status="416 Range")
        outage = raw(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        whole = raw(b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: %d\r\n\r\n' % len(DATA))
        client = self.client(play(short, outage, short, whole))
        done = await client.download(F, self.path("x"))
        self.assertEqual((self.content("x"), done.restarted), (DATA, False))

    async def test_old_file(self) -> None:
        """The old file stays until the new one is complete."""
        self.write("x", b"old")
        seen = []

        def look(done: int, total: int | None) -> None:
            seen.append((self.content("x"), done))

        client = self.client(File(DATA))
        await client.download(F, self.path("x"), progress=look)
        self.assertEqual({content for content, _ in seen}, {b"old"})
        self.assertEqual((seen[-1][1], self.content("x")), (len(DATA), DATA))

    async def test_odd_part(self) -> None:
        """A ``.part`` that is no regular file, or is in use, is not written to."""
        os.symlink(self.path("elsewhere"), self.path("x.part"))
        client = self.client(File(DATA))
        for resume in (True, False):
            with self.assertRaises(OSError):
                await client.download(F, self.path("x"), resume=resume)
        os.unlink(self.path("x.part"))
        os.mkfifo(self.path("x.part"))
        await self.fails(FileExistsError, client.download(F, self.path("x")))
        self.assertEqual(self.files(), ["x.part"])

    async def test_two_at_once(self) -> None:
        """Two downloads do not write to one file."""
        client = self.client(File(DATA))
        inner: list[Any] = []

        def again(done: int, total: int | None) -> None:
            if not inner:
                inner.append(self.begin(client.download(F, self.path("x"))))

        await client.download(F, self.path("x"), progress=again)
        await self.fails(BlockingIOError, inner[0])
        self.assertEqual(self.content("x"), DATA)

    async def test_verified(self) -> None:
        """The digest of the response is compared, over what was resumed too."""
        file = File(DATA, cuts=[1000], lines=[digest_field(DATA)])
        await self.fails(
            Incomplete, self.client(file, retries=0).download(F, self.path("x"), verify=True)
        )
        done = await self.client(file).download(F, self.path("x"), verify=True)
        self.assertEqual((done.sha256, done.resumed_from), (SHA256, 1000))
        self.assertEqual(self.sent("Want-Repr-Digest"), ["sha-256=10"])

    async def test_flipped(self) -> None:
        """A wrong byte leaves no new file, and no ``.part``."""
        self.write("x", b"old")
        wrong = b"X" + DATA[1:]
        answer = counted(wrong, 'ETag: "v1"', digest_field(DATA))
        client = self.client(play(answer))
        error = await self.fails(DigestMismatch, client.download(F, self.path("x"), verify=True))
        self.assertEqual(error.expected, SHA256)
        self.assertEqual(error.actual, hashlib.sha256(wrong).hexdigest())
        self.assertEqual((self.files(), self.content("x")), (["x"], b"old"))

    async def test_flipped_before(self) -> None:
        """A wrong byte in what an earlier call has received is noticed."""
        file = File(DATA, cuts=[1000], lines=[digest_field(DATA)])
        await self.fails(Incomplete, self.client(file, retries=0).download(F, self.path("x")))
        self.write("x.part", b"X", mode="r+b")
        await self.fails(DigestMismatch, self.client(file).download(F, self.path("x"), verify=True))
        self.assertEqual(self.files(), [])

    async def test_asked_for_digest(self) -> None:
        """A digest that the response does not have is asked for, also while it is computed."""
        value = {"sha256": SHA256, "size": len(DATA), "etag": '"v1"'}
        computing = said({"status": "computing"}, "Retry-After: 3", status="202 Accepted")
        script = routed(File(DATA), computing, said(value))
        done = await self.client(script).download(F, self.path("x"), verify=True)
        self.assertEqual((done.sha256, self.pauses), (SHA256, [3]))
        self.assertEqual(self.sent("If-Match"), [None, '"v1"', '"v1"'])

    async def test_no_digest(self) -> None:
        """Without a digest nothing is verified, so nothing appears."""
        script = routed(File(DATA), refused("501 No", "operation_unsupported"))
        client = self.client(script)
        await self.fails(Unsupported, client.download(F, self.path("x"), verify=True))
        self.assertEqual(self.files(), ["x.part"])
        changed = routed(File(DATA), refused("412 No", "precondition_failed"))
        await self.fails(Changed, self.client(changed).download(F, self.path("y"), verify=True))

    async def test_open_file(self) -> None:
        """An open file is written from where it stands."""
        target = io.BytesIO(b"before")
        target.seek(0, os.SEEK_END)
        file = File(DATA, cuts=[1000], changes=[(b"other", '"v2"')])
        done = await self.client(file).download(F, target)
        self.assertEqual(target.getvalue(), b"beforeother")
        self.assertEqual((done.to, done.restarted), (None, True))

    async def test_pipe(self) -> None:
        """What was written to a pipe cannot be taken back."""
        for changes, fits in (([], True), ([(b"other", '"v2"')], False)):
            read, write = os.pipe()
            client = self.client(File(DATA[:9000], cuts=[1000], changes=changes))
            with os.fdopen(read, "rb") as reader, os.fdopen(write, "wb", 0) as writer:
                if fits:
                    await client.download(F, writer)
                else:
                    await self.fails(Changed, client.download(F, writer))
                writer.close()
                self.assertEqual(reader.read(), DATA[: 9000 if fits else 1000])

    async def test_chunked(self) -> None:
        """A file in chunks is complete with the last one."""
        client = self.client(play(chunked(DATA, ends=False), chunked(DATA)))
        done = await client.download(F, self.path("x"))
        self.assertEqual((self.content("x"), done.attempts), (DATA, 2))

    async def test_progress(self) -> None:
        """Progress rises, and ends at the size."""
        calls: list[tuple[int, int | None]] = []
        client = self.client(File(DATA, cuts=[400_000]))
        await client.download(F, self.path("x"), progress=lambda *call: calls.append(call))
        done = [call[0] for call in calls]
        self.assertEqual(done, sorted(set(done)))
        self.assertEqual({total for _, total in calls}, {len(DATA)})
        self.assertEqual(done[-1], len(DATA))
        self.assertGreater(len(done), 1)

    async def test_cancelled(self) -> None:
        """What the caller's function raises ends the transfer, which can be resumed."""

        def stop(done: int, total: int | None) -> None:
            raise Stop

        client = self.client(File(DATA))
        await self.fails(Stop, client.download(F, self.path("x"), progress=stop))
        self.assertEqual(self.files(), ["x.part"])
        self.assertTrue(DATA.startswith(self.content("x.part")))
        done = await client.download(F, self.path("x"))
        self.assertGreater(done.resumed_from, 0)
        self.assertEqual(self.content("x"), DATA)

    async def test_cancelled_at_the_end(self) -> None:
        """Cancelled with all bytes there, the next call transfers none of them again."""

        def stop(done: int, total: int | None) -> None:
            if done == total:
                raise Stop

        client = self.client(File(DATA))
        await self.fails(Stop, client.download(F, self.path("x"), progress=stop))
        self.assertEqual((self.files(), self.content("x.part")), (["x.part"], DATA))
        done = await client.download(F, self.path("x"))
        self.assertEqual((done.resumed_from, done.restarted), (len(DATA), False))
        self.assertEqual(self.content("x"), DATA)
