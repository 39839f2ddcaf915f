"""
Tests for `chatfiles.workspace.routes.resumable` (reference/resumable).  The cases are those of the
tests of tusd's handler (``pkg/handler/*_test.go``), and each row of our tables in its order.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import itertools
import os
import shutil
import socket
import stat
from functools import partial
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred

from chatfiles.rules.http_dates import parse_http_date
from chatfiles.streams.peer_state import PeerState
from chatfiles.workspace.publication.leftovers import sweep_below
from chatfiles.workspace.publication.publisher import usual_mode
from tests.support.memory_client import CHUNKED, chunked
from tests.workspace.resumable.resumable_case import (
    EXPIRY,
    LIMIT,
    TYPE,
    UPLOADS,
    VERSION,
    ResumableCase,
    metadata,
)
from tests.workspace.uploads.uploads_case import KILLED, in_child

OUT = "?path=/workspace/out/x"


def digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def checksum(content: bytes, algorithm: str = "sha1") -> bytes:
    value = base64.b64encode(hashlib.new(algorithm, content).digest())
    return b"Upload-Checksum: %b %b" % (algorithm.encode(), value)


class CreationTests(ResumableCase):
    """``POST /internal/uploads``."""

    def test_created(self) -> None:
        """An upload has an URL, an end, and two hidden files that only the role can read."""
        answer = self.post(b"Upload-Length: 5", metadata(filename=b"a b.txt"))
        self.assertEqual(answer.status, 201)
        self.assertRegex(answer.fields["location"], r"\A/internal/uploads/[0-9a-f]{32}\Z")
        self.assertNotIn("upload-offset", answer.fields)
        self.assertEqual(answer.fields["content-length"], "0")
        self.assertEqual(answer.fields["tus-resumable"], "1.0.0")
        self.assertEqual(answer.fields["cache-control"], "no-store")
        expires = parse_http_date(answer.fields["upload-expires"].encode(), int(self.seconds))
        self.assertEqual(expires, self.seconds + EXPIRY)
        hidden = self.partial(answer.fields["location"])
        for name in (hidden, hidden + ".json"):
            self.assertEqual(stat.S_IMODE(os.stat(name).st_mode), 0o600)

    def test_refused(self) -> None:
        """Each row of the table, each with all that follow it."""
        rows: list[tuple[str, tuple[int, str], bytes]] = [
            ("", (400, "upload_length_required"), b""),
            ("", (400, "upload_length_required"), b"Upload-Defer-Length: 2"),
            ("", (400, "upload_length_required"), b"Upload-Length: -1"),
            ("", (400, "upload_length_required"), b"Upload-Length: " + b"1" * 19),
            ("", (400, "upload_length_required"), b"Upload-Length: 1\r\nUpload-Defer-Length: 1"),
            ("", (400, "upload_length_required"), b"Upload-Length: 1\r\nUpload-Length: 1"),
            ("", (413, "upload_too_large"), b"Upload-Length: 1001"),
            ("", (400, "invalid_metadata"), b"Upload-Length: 1\r\nUpload-Metadata: a !"),
            ("?path=x", (400, "path_not_absolute"), b""),
            ("?path=/workspace/y", (403, "not_writable"), b"Upload-Length: 1"),
            ("?path=/workspace/out", (400, "not_a_regular_file"), b"Upload-Length: 1"),
            ("?path=/workspace/out/no/x", (404, "parent_not_found"), b"Upload-Length: 1"),
            ("?path=/workspace/out/secret/x", (404, "file_not_found"), b"Upload-Length: 1"),
            (OUT, (412, "precondition_failed"), b"Upload-Length: 1\r\nIf-Match: *"),
            ("", (415, "unsupported_media_type"), b"Upload-Length: 1\r\nContent-Type: text/plain"),
        ]
        for query, expected, lines in rows:
            answer = self.post(*filter(None, [lines]), body=b"too long", query=query)
            self.assertEqual(self.refused(answer), expected, (query, lines))
            self.assertEqual(answer.fields["tus-resumable"], "1.0.0")
        answer = self.post(b"Upload-Length: 1", TYPE, body=b"too long")
        self.assertEqual(self.refused(answer), (413, "upload_too_long"))
        self.assertEqual(answer.json["error"], "more than Upload-Length")
        self.assertEqual(self.names() if os.path.exists(self.at(UPLOADS)) else [], [])

    def test_version(self) -> None:
        """Another version of tus is 412; who has no secret learns nothing."""
        for lines in ((), (b"Tus-Resumable: 0.2.2",)):
            answer = self.caller("POST", "/internal/uploads", *lines).answer()
            self.assertEqual(self.refused(answer), (412, "unsupported_tus_version"))
            self.assertEqual(answer.fields["tus-version"], "1.0.0")

    def test_with_upload(self) -> None:
        """The body of a creation is the beginning of the file, or all of it."""
        answer = self.post(b"Upload-Length: 5", TYPE, body=b"abc")
        self.assertEqual((answer.status, answer.fields["upload-offset"]), (201, "3"))
        self.assertEqual(self.patch(answer.fields["location"], 3, b"de").status, 204)
        answer = self.post(b"Upload-Length: 3", TYPE, metadata(filename=b"n"), body=b"abc")
        self.assertEqual((answer.status, answer.fields["upload-offset"]), (201, "3"))
        uri = answer.fields["chatfiles-uri"]
        self.assertRegex(uri, r"\Aworkspace:/workspace/\.molecule/chat-uploads/[0-9a-f]{32}-n\Z")
        self.assertEqual(self.read(uri.removeprefix("workspace:/workspace/")), b"abc")
        self.assertEqual(answer.fields["repr-digest"], digest(b"abc"))

    def test_empty(self) -> None:
        """An upload without bytes is finished when it is created."""
        answer = self.post(b"Upload-Length: 0")
        self.assertEqual((answer.status, answer.fields["upload-offset"]), (201, "0"))
        self.assertEqual(answer.fields["repr-digest"], digest(b""))
        self.assertNotIn("upload-expires", answer.fields)

    def test_failed(self) -> None:
        """A creation that is refused after the body leaves nothing."""
        answer = self.post(b"Upload-Length: 3", TYPE, checksum(b"x"), body=b"abc")
        self.assertEqual(self.refused(answer), (460, "checksum_mismatch"))
        self.assertNotIn("location", answer.fields)
        wrong = metadata(sha256=b"0" * 64)
        answer = self.post(b"Upload-Length: 3", TYPE, wrong, body=b"abc")
        self.assertEqual(self.refused(answer), (422, "digest_mismatch"))
        self.write("out/x", b"old")
        lines = (VERSION, TYPE, b"Upload-Length: 3", CHUNKED)
        for query in ("", "?path=/workspace/out/x"):
            caller = self.caller("POST", "/internal/uploads" + query, *lines)
            answer = caller.send(chunked(b"abc", b"XX")).answers()[-1]
            self.assertEqual(self.refused(answer), (413, "upload_too_long"))
        self.assertEqual((self.names(), self.names("out")), ([], ["x"]))
        self.assertEqual(self.read("out/x"), b"old")

    def test_cut(self) -> None:
        """A creation whose body is cut remains, with what came."""
        lines = (VERSION, TYPE, b"Upload-Length: 9", b"Content-Length: 9")
        self.caller("POST", "/internal/uploads", *lines).send(b"abc").leave()
        record, hidden = sorted(self.names(), key=len, reverse=True)
        self.assertEqual(self.read(f"{UPLOADS}/{hidden}"), b"abc")
        self.assertEqual(record, hidden + ".json")

    def test_continue(self) -> None:
        """``100 Continue`` follows the checks."""
        lines = (VERSION, TYPE, b"Content-Length: 3", b"Expect: 100-continue")
        caller = self.caller("POST", "/internal/uploads", *lines, b"Upload-Length: 2")
        self.assertEqual([each.status for each in caller.answers()], [413])
        caller = self.caller("POST", "/internal/uploads", *lines, b"Upload-Length: 3")
        self.assertEqual([each.status for each in caller.answers()], [100])
        self.assertEqual(caller.send(b"abc").answers()[-1].status, 201)

    def test_too_many(self) -> None:
        """The limit counts the uploads that are not finished and not expired."""
        targets = [self.created(1) for _ in range(3)]
        answer = self.post(b"Upload-Length: 1")
        self.assertEqual(self.refused(answer), (429, "too_many_uploads"))
        self.assertEqual(answer.fields["retry-after"], "60")
        self.patch(targets[0], 0, b"x")
        self.created(1)
        self.assertEqual(self.post(b"Upload-Length: 1").status, 429)
        self.seconds += EXPIRY
        self.created(1)

    def test_no_space(self) -> None:
        """A file that is larger than the free space is refused at once."""
        with mock.patch.object(os, "fstatvfs") as free:
            free.return_value = mock.Mock(f_blocks=9, f_bavail=1, f_frsize=99)
            answer = self.post(b"Upload-Length: 100")
            self.assertEqual(self.refused(answer), (507, "no_space"))
            for _ in range(3):
                self.created(99)
            self.assertEqual(self.post(b"Upload-Length: 100").status, 429)


class AppendingTests(ResumableCase):
    """``PATCH``."""

    def test_two_chunks(self) -> None:
        """The file appears with its last byte, and not before."""
        target = self.created(6, metadata(filename="ä/b c.txt".encode(), filetype=b"Text/Plain; x"))
        answer = self.patch(target, 0, b"abc")
        self.assertEqual((answer.status, answer.fields["upload-offset"]), (204, "3"))
        self.assertIn("upload-expires", answer.fields)
        self.assertNotIn("chatfiles-uri", answer.fields)
        self.assertTrue(all(name.startswith(".chatfiles-part-") for name in self.names()))
        answer = self.patch(target, 3, b"def")
        self.assertEqual(answer.fields["repr-digest"], digest(b"abcdef"))
        uri = answer.fields["chatfiles-uri"]
        name = uri.rpartition("/")[2]
        self.assertEqual(name, f"{target[-32:]}-b_c.txt")
        self.assertEqual(self.names(), [f".chatfiles-part-{target[-32:]}.json", name])
        self.assertEqual(self.read(f"{UPLOADS}/{name}"), b"abcdef")
        expected = {
            "uri": uri,
            "name": "b_c.txt",
            "mimeType": "text/plain",
            "size": 6,
            "originalName": "ä/b c.txt",
            "sha256": hashlib.sha256(b"abcdef").hexdigest(),
        }
        self.assertEqual(self.ask("GET", target).json, {"files": [expected]})
        self.assertEqual(self.patch(target, 6, b"").fields["chatfiles-uri"], uri)

    def test_refused(self) -> None:
        """Each row, in its order."""
        target = self.created(5)
        offset = b"Upload-Offset: 0"
        for lines, expected in (
            ((), (415, "unsupported_media_type")),
            ((TYPE, b"Content-Encoding: gzip"), (415, "unsupported_media_type")),
            ((TYPE,), (400, "invalid_upload_offset")),
            ((TYPE, b"Upload-Offset: -1"), (400, "invalid_upload_offset")),
            ((TYPE, offset, b"Upload-Length: x"), (400, "invalid_upload_length")),
            ((TYPE, offset, b"Upload-Length: 1001"), (413, "upload_too_large")),
            ((TYPE, offset, b"Upload-Checksum: md5 AA=="), (400, "unsupported_checksum")),
            ((TYPE, offset, b"Upload-Checksum: sha1"), (400, "invalid_checksum")),
            ((TYPE, offset, b"Upload-Checksum: sha1 AA=="), (400, "invalid_checksum")),
            ((TYPE, offset, b"Upload-Checksum: sha1 !"), (400, "invalid_checksum")),
            ((TYPE, b"Upload-Offset: 1", b"Upload-Length: 4"), (409, "offset_mismatch")),
            ((TYPE, offset, b"Upload-Length: 4"), (400, "invalid_upload_length")),
            ((TYPE, offset), (413, "upload_too_long")),
        ):
            answer = self.ask("PATCH", target, *lines, body=b"abcdef")
            self.assertEqual(self.refused(answer), expected, lines)
        answer = self.patch(target, 3, b"")
        self.assertEqual(answer.json["error"], "offset is 0")
        self.assertEqual(answer.fields["upload-offset"], "0")
        self.assertEqual(self.offset(target), 0)

    def test_unknown(self) -> None:
        """What is no upload is 404 for every method."""
        for name in ("0" * 32, "x", "A" * 32, "%2e%2e"):
            for method in ("PATCH", "DELETE", "GET"):
                lines = (TYPE, b"Upload-Offset: 0")
                answer = self.ask(method, f"/internal/uploads/{name}", *lines)
                self.assertEqual(self.refused(answer), (404, "upload_not_found"))
            self.assertEqual(self.head(f"/internal/uploads/{name}").status, 404)

    def test_deferred(self) -> None:
        """The length can be given once, by any chunk."""
        target = self.post(b"Upload-Defer-Length: 1").fields["location"]
        self.assertEqual(self.head(target).fields["upload-defer-length"], "1")
        self.patch(target, 0, b"abc")
        for length, status in ((2, 400), (LIMIT + 1, 413), (5, 204), (6, 400), (5, 204)):
            answer = self.patch(target, 3, b"", b"Upload-Length: %d" % length)
            self.assertEqual(answer.status, status, length)
        self.assertEqual(self.head(target).fields["upload-length"], "5")
        self.assertIn("chatfiles-uri", self.patch(target, 3, b"de").fields)

    def test_deferred_limit(self) -> None:
        """A file of unknown length may not be larger than the limit."""
        target = self.post(b"Upload-Defer-Length: 1").fields["location"]
        answer = self.patch(target, 0, b"x" * (LIMIT + 1))
        self.assertEqual(self.refused(answer), (413, "upload_too_large"))
        answer = self.patch_chunked(target, 0, b"x" * LIMIT, b"x")
        self.assertEqual(self.refused(answer), (413, "upload_too_large"))
        self.assertEqual(self.offset(target), LIMIT)

    def test_excess(self) -> None:
        """Of chunks that are too long, what fits counts."""
        target = self.created(5)
        answer = self.patch_chunked(target, 0, b"abc", b"defg")
        self.assertEqual(self.refused(answer), (413, "upload_too_long"))
        self.assertEqual(self.offset(target), 5)
        answer = self.patch(target, 5, b"")
        self.assertEqual(answer.fields["repr-digest"], digest(b"abcde"))

    def test_checksum(self) -> None:
        """A chunk with a wrong checksum is discarded."""
        target = self.created(6)
        self.assertEqual(self.patch(target, 0, b"ab", checksum(b"ab")).status, 204)
        for algorithm in ("sha1", "sha256"):
            answer = self.patch(target, 2, b"cd", checksum(b"ce", algorithm))
            self.assertEqual(self.refused(answer), (460, "checksum_mismatch"))
            self.assertEqual(answer.json["error"], "checksum mismatch")
            self.assertEqual(self.offset(target), 2)
        self.assertEqual(self.patch(target, 2, b"cd", checksum(b"cd", "sha256")).status, 204)
        answer = self.patch(target, 4, b"ef")
        self.assertEqual(answer.fields["repr-digest"], digest(b"abcdef"))

    def test_cut(self) -> None:
        """What arrived before a cut counts, but not of a chunk with a checksum."""
        target = self.created(6)
        lines = (VERSION, TYPE, b"Content-Length: 6", b"Upload-Offset: 0")
        self.caller("PATCH", target, *lines, checksum(b"x")).send(b"abc").leave()
        self.assertEqual(self.offset(target), 0)
        self.caller("PATCH", target, *lines).send(b"abc").leave()
        self.assertEqual(self.offset(target), 3)
        answer = self.patch(target, 3, b"def")
        self.assertEqual(answer.fields["repr-digest"], digest(b"abcdef"))

    def test_killed(self) -> None:
        """A killed process leaves the offset that is on the disk, without a chunk's beginning."""
        target = self.created(6)
        self.patch(target, 0, b"ab")
        lines = (VERSION, TYPE, b"Content-Length: 4", b"Upload-Offset: 2", checksum(b"x"))
        caller = self.caller("PATCH", target, *lines).send(b"cd")
        self.assertEqual(os.path.getsize(self.partial(target)), 4)
        self.restart()
        self.assertEqual(self.offset(target), 2)
        caller.leave()
        self.patch(target, 2, b"c")
        self.restart()
        answer = self.patch(target, 3, b"def")
        self.assertEqual(answer.fields["repr-digest"], digest(b"abcdef"))

    def test_expiry(self) -> None:
        """An upload expires some time after its last byte; a finished one is kept for a day."""
        target = self.created(6)
        self.seconds += EXPIRY - 1
        self.patch(target, 0, b"abc")
        self.seconds += EXPIRY - 1
        self.assertEqual(self.offset(target), 3)
        other = self.created(1)
        self.seconds += 1
        self.assertEqual(self.head(target).status, 404)
        self.assertEqual(self.uploads.sweep(), 1)
        self.assertFalse(os.path.exists(self.partial(target)))
        self.patch(other, 0, b"x")
        self.seconds += 24 * 3600 - 1
        self.assertEqual(self.uploads.sweep(), 0)
        fields = self.head(other).fields
        self.assertIn("chatfiles-uri", fields)
        self.assertNotIn("upload-expires", fields)
        self.seconds += 1
        self.assertEqual(self.head(other).status, 404)
        self.uploads.sweep()
        self.assertEqual(len(self.names()), 1)

    def test_expiry_while_a_chunk_runs(self) -> None:
        """Bytes that arrive keep an upload, also those of a chunk that takes long."""
        target = self.created(6)
        lines = (VERSION, TYPE, b"Content-Length: 6", b"Upload-Offset: 0")
        caller = self.caller("PATCH", target, *lines).send(b"a")
        self.seconds += EXPIRY / 2
        caller.send(b"b")
        self.seconds += EXPIRY - 1
        self.assertEqual(self.uploads.sweep(), 0)
        self.assertEqual(self.ask("GET", target).status, 409)
        answer = caller.send(b"cdef").answers()[-1]
        self.assertEqual(answer.fields["repr-digest"], digest(b"abcdef"))

    def test_expiry_while_a_chunk_stands_still(self) -> None:
        """An upload that was swept meanwhile is not found, and nothing is left of it."""
        target = self.created(6)
        lines = (VERSION, TYPE, b"Content-Length: 6", b"Upload-Offset: 0")
        caller = self.caller("PATCH", target, *lines).send(b"abc")
        self.seconds += EXPIRY + 1
        self.assertEqual(self.uploads.sweep(), 1)
        answer = caller.send(b"def").answers()[-1]
        self.assertEqual(self.refused(answer), (404, "upload_not_found"))
        self.assertEqual(self.names(), [])

    def test_metadata(self) -> None:
        """All metadata is given back, also a key without a value, in a form of ours."""
        target = self.created(1, b"Upload-Metadata: a  ,  filename eA==,is_\x7e")
        self.assertEqual(self.head(target).fields["upload-metadata"], "a,filename eA==,is_~")

    def test_digest(self) -> None:
        """A file with the wrong digest is not stored, and its upload is forgotten."""
        for body, status in ((b"abd", 422), (b"abc", 204)):
            target = self.created(3, metadata(sha256=hashlib.sha256(b"abc").hexdigest().encode()))
            answer = self.patch(target, 0, body)
            self.assertEqual(answer.status, status)
        self.assertEqual(len(self.names()), 2)

    def test_disk_full(self) -> None:
        """If the disk is full, the offset is what was written, and the upload can go on."""
        target = self.created(6)
        whole, full = os.write, OSError(errno.ENOSPC, "full")

        def write(fd: int, data: bytes) -> int:
            if len(data) < 3:
                raise full
            return whole(fd, data[:2])

        with mock.patch.object(os, "write", write):
            answer = self.patch(target, 0, b"abc")
        self.assertEqual(self.refused(answer), (507, "no_space"))
        self.assertEqual(self.offset(target), 2)
        answer = self.patch(target, 2, b"cdef")
        self.assertEqual(answer.fields["repr-digest"], digest(b"abcdef"))

    def test_flush_fails(self) -> None:
        """What cannot be flushed does not count."""
        target = self.created(6)
        self.patch(target, 0, b"ab")
        with mock.patch.object(os, "fdatasync", side_effect=[OSError(errno.EIO, "bad"), None]):
            answer = self.patch(target, 2, b"cd")
        self.assertEqual(self.refused(answer), (500, "write_failed"))
        self.assertEqual(self.offset(target), 2)

    def test_last_flush_fails(self) -> None:
        """
        A complete file that cannot be flushed is not published: the kernel reports a lost byte
        once, and a second flush succeeds.
        """
        self.write("out/x", b"old")
        target = self.created(3, query="?path=/workspace/out/x")
        flush, errors = os.fsync, [OSError(errno.EIO, "bad")]

        def fsync(fd: int) -> None:
            if errors and os.readlink(f"/proc/self/fd/{fd}").endswith(target[-32:]):
                raise errors.pop()
            flush(fd)

        with mock.patch.object(os, "fsync", fsync):
            answer = self.patch(target, 0, b"abc")
        self.assertEqual((self.refused(answer), errors), ((500, "write_failed"), []))
        self.assertEqual(self.read("out/x"), b"old")

    def test_publication_fails(self) -> None:
        """A file that cannot be published can be published later, by an empty chunk."""
        target = self.created(3)
        with mock.patch.object(os, "link", side_effect=OSError(errno.EDQUOT, "full")):
            answer = self.patch(target, 0, b"abc")
            self.assertEqual(self.refused(answer), (507, "no_space"))
            self.assertEqual(self.offset(target), 3)
        answer = self.patch(target, 3, b"")
        self.assertEqual(answer.fields["repr-digest"], digest(b"abc"))

    def test_private_until_published(self) -> None:
        """A file that could not be published is as private as before."""
        target = self.created(3, query=OUT)
        with mock.patch.object(os, "link", side_effect=OSError(errno.EDQUOT, "full")):
            self.assertEqual(self.patch(target, 0, b"abc").status, 507)
        self.assertEqual(os.stat(self.partial(target, "out")).st_mode & 0o777, 0o600)
        self.assertEqual(self.patch(target, 3, b"").status, 204)
        self.assertEqual(os.stat(self.at("out/x")).st_mode & 0o777, usual_mode())

    def test_killed_while_publishing(self) -> None:
        """Wherever the process is killed, the file is published in the end, once."""
        for query, name in itertools.product(("", OUT), ("rename", "link", "unlink")):
            for call in range(3):
                target = self.created(3, metadata(filename=b"x"), query=query)
                in_child(partial(self.killed, target, name, call))
                self.restart()
                head = self.head(target)
                self.assertEqual(head.fields.get("repr-digest"), digest(b"abc"), (query, name))
                uri = head.fields["chatfiles-uri"].removeprefix("workspace:/workspace/")
                self.assertEqual(self.read(uri), b"abc")
                self.ask("DELETE", target)
                os.unlink(self.at(uri))
                self.directory.sweep()
                self.assertEqual((self.names(), self.names("out")), ([], []))

    def killed(self, target: str, name: str, call: int) -> None:
        """Upload a file, but end the process before a call of a function of `os`."""
        calls, done = itertools.count(), getattr(os, name)

        def or_die(*given: object, **more: object) -> object:
            if next(calls) == call:
                os._exit(KILLED)
            return done(*given, **more)

        with mock.patch.object(os, name, or_die):
            self.patch(target, 0, b"abc")

    def test_one_writer(self) -> None:
        """A new request ends the one that still runs; what that had stored counts."""
        for method in ("HEAD", "DELETE", "PATCH"):
            target = self.created(6)
            lines = (VERSION, TYPE, b"Content-Length: 6", b"Upload-Offset: 0")
            first = self.caller("PATCH", target, *lines).send(b"abc")
            body = b"def" if method == "PATCH" else None
            more = (TYPE, b"Upload-Offset: 3") if body else ()
            framing = (b"Content-Length: 3",) if body else ()
            second = self.caller(method, target, VERSION, *framing, *more).send(body or b"")
            self.assertTrue(first.wire.aborted)
            self.assertEqual(second.answers(), [])
            first.settle()
            answer = second.answers(head=method == "HEAD")[-1]
            self.assertEqual(answer.status, 200 if method == "HEAD" else 204)
            if method == "HEAD":
                self.assertEqual(answer.fields["upload-offset"], "3")
            elif method == "PATCH":
                self.assertEqual(answer.fields["repr-digest"], digest(b"abcdef"))
            self.ask("DELETE", target)

    def test_late(self) -> None:
        """A chunk whose client has left before it is served ends no other."""
        target = self.created(6)
        lines = (VERSION, TYPE, b"Upload-Offset: 0")
        first = self.caller("PATCH", target, *lines, b"Content-Length: 6").send(b"abc")
        peer = "chatfiles.http.server.disconnect.peer_state"
        with mock.patch(peer, return_value=PeerState.HALF_CLOSED):
            late = self.caller("PATCH", target, *lines, b"Content-Length: 3").send(b"a")
        self.assertTrue(late.wire.aborted)
        answer = first.send(b"def").answers()[-1]
        self.assertEqual(answer.fields["repr-digest"], digest(b"abcdef"))

    def test_locked(self) -> None:
        """If the other request does not end in time, the new one is refused."""
        target = self.created(6)
        lock = self.successResultOf(Deferred.fromCoroutine(self.locks.acquire(target[-32:], None)))
        caller = self.caller("GET", target, VERSION)
        self.assertEqual(caller.answer().status, 409)
        caller = self.caller("DELETE", target, VERSION)
        self.assertEqual(caller.answers(), [])
        self.clock.advance(4.9)
        self.assertEqual(caller.answers(), [])
        self.clock.advance(0.2)
        caller.settle()
        answer = caller.answer()
        self.assertEqual(self.refused(answer), (423, "upload_locked"))
        self.assertEqual(answer.fields["retry-after"], "1")
        lock.release()
        self.assertEqual(self.ask("DELETE", target).status, 204)


class OtherMethodsTests(ResumableCase):
    """``HEAD``, ``GET``, ``DELETE``, ``OPTIONS`` and overrides."""

    def test_delete(self) -> None:
        """A deleted upload is gone; a finished one leaves its file."""
        target = self.created(3)
        self.patch(target, 0, b"ab")
        self.assertEqual(self.ask("DELETE", target).status, 204)
        self.assertEqual(self.names(), [])
        self.assertEqual(self.refused(self.ask("DELETE", target)), (404, "upload_not_found"))
        self.assertEqual(self.head(target).status, 404)
        target = self.created(3)
        self.patch(target, 0, b"abc")
        self.assertEqual(self.ask("DELETE", target).status, 204)
        self.assertEqual(self.names(), [f"{target[-32:]}-file"])

    def test_get(self) -> None:
        """What is not finished has no file yet."""
        target = self.created(3)
        self.patch(target, 0, b"ab")
        answer = self.ask("GET", target)
        self.assertEqual(self.refused(answer), (409, "upload_incomplete"))
        self.assertEqual(answer.fields["upload-offset"], "2")
        self.assertEqual(answer.json["detail"], {"offset": 2, "length": 3})

    def test_get_while_a_chunk_runs(self) -> None:
        """``GET`` does not end a chunk, so it changes nothing: a checksum is not verified yet."""
        target = self.created(6)
        self.patch(target, 0, b"ab")
        lines = (VERSION, TYPE, b"Content-Length: 4", b"Upload-Offset: 2", checksum(b"cdef"))
        caller = self.caller("PATCH", target, *lines).send(b"cd")
        answer = self.ask("GET", target)
        self.assertEqual(answer.fields["upload-offset"], "2")
        answer = caller.send(b"ef").answers()[-1]
        self.assertEqual(answer.status, 204)
        (uri,) = [each for each in self.names() if each.endswith("-file")]
        self.assertEqual(self.read(f"{UPLOADS}/{uri}"), b"abcdef")

    def test_override(self) -> None:
        """A ``POST`` can stand for a method that a client cannot send."""
        target = self.created(3)
        lines = (TYPE, b"Upload-Offset: 0", b"X-HTTP-Method-Override: PATCH")
        self.assertEqual(self.ask("POST", target, *lines, body=b"ab").status, 204)
        answer = self.ask("POST", target, b"X-HTTP-Method-Override: HEAD", body=b"")
        self.assertEqual((answer.status, answer.fields["upload-offset"]), (200, "2"))
        for other in ((), (b"X-HTTP-Method-Override: GET",), (b"X-HTTP-Method-Override: x",)):
            answer = self.ask("POST", target, *other, body=b"")
            self.assertEqual(self.refused(answer), (405, "method_not_allowed"))
            self.assertEqual(answer.fields["allow"], "DELETE, GET, HEAD, OPTIONS, PATCH")
            self.assertEqual(answer.fields["tus-resumable"], "1.0.0")
        answer = self.post(b"Upload-Length: 1", b"X-HTTP-Method-Override: PATCH")
        self.assertEqual(answer.status, 201)
        answer = self.ask("POST", target, b"X-HTTP-Method-Override: DELETE", body=b"")
        self.assertEqual(answer.status, 204)

    def test_options(self) -> None:
        """What the service can do is told to everyone."""
        for path in ("/internal/uploads", "/internal/uploads/" + "0" * 32):
            fields = self.caller("OPTIONS", path).answer().fields
            self.assertEqual(fields["tus-version"], "1.0.0")
            self.assertEqual(fields["tus-max-size"], str(LIMIT))
            self.assertEqual(fields["tus-checksum-algorithm"], "sha1,sha256")
            self.assertEqual(
                fields["tus-extension"],
                "creation,creation-with-upload,creation-defer-length,expiration,termination,"
                "checksum",
            )


class PathTests(ResumableCase):
    """Uploads to a path."""

    def test_new_and_replaced(self) -> None:
        """The file has the mode of a ``PUT``, and replaces an old one in one step."""
        for content in (b"abc", b"def"):
            target = self.created(3, query=OUT)
            self.assertIn(f".chatfiles-part-{target[-32:]}", self.names("out"))
            answer = self.patch(target, 0, content)
            self.assertEqual(answer.fields["chatfiles-uri"], "workspace:/workspace/out/x")
            self.assertEqual(self.read("out/x"), content)
            self.assertEqual(self.names("out"), ["x"])
            mode = stat.S_IMODE(os.stat(self.at("out/x")).st_mode)
            self.assertEqual(mode, 0o644 & ~self.umask())
        files = self.ask("GET", target).json["files"][0]
        self.assertEqual((files["name"], files["uri"]), ("x", "workspace:/workspace/out/x"))

    def test_condition(self) -> None:
        """Conditions of the creation are judged again at the end; the upload remains."""
        target = self.created(3, b"If-None-Match: *", query=OUT)
        self.write("out/x", b"other")
        answer = self.patch(target, 0, b"abc")
        self.assertEqual(self.refused(answer), (412, "precondition_failed"))
        self.assertEqual((self.offset(target), self.read("out/x")), (3, b"other"))
        os.unlink(self.at("out/x"))
        self.assertEqual(self.patch(target, 3, b"").status, 204)
        self.assertEqual(self.read("out/x"), b"abc")

    def test_in_place(self) -> None:
        """Where nothing can be renamed, the complete file is copied."""
        target = self.created(3, query="?path=/workspace/fuse/x")
        self.patch(target, 0, b"ab")
        self.assertEqual(self.names("fuse"), [])
        self.assertEqual(self.patch(target, 2, b"c").status, 204)
        self.assertEqual((self.names("fuse"), self.read("fuse/x")), (["x"], b"abc"))
        self.assertEqual(self.names(), [f".chatfiles-part-{target[-32:]}.json"])

    def test_in_place_replaced(self) -> None:
        """A file that takes the name just before the copy is not touched."""
        self.write("fuse/x", b"old")
        target = self.created(3, query="?path=/workspace/fuse/x")
        whole = os.open

        def replace(name: Any, flags: int, *more: Any, **others: Any) -> int:
            if name == b"x":
                os.unlink(self.at("fuse/x"))
                os.link(self.at("configs/.auth_token"), self.at("fuse/x"))
            return whole(name, flags, *more, **others)

        before = self.read("configs/.auth_token")
        with mock.patch.object(os, "open", replace):
            answer = self.patch(target, 0, b"abc")
        self.assertEqual(answer.status, 400)
        self.assertEqual(self.read("configs/.auth_token"), before)

    def test_directory_removed(self) -> None:
        """If the directory is removed, the upload is gone."""
        os.mkdir(self.at("out/d"))
        target = self.created(3, query="?path=/workspace/out/d/x")
        os.unlink(self.partial(target, "out/d"))
        os.rmdir(self.at("out/d"))
        self.assertEqual(self.refused(self.patch(target, 0, b"abc")), (404, "upload_not_found"))
        self.seconds += EXPIRY
        self.uploads.sweep()
        self.assertEqual(self.names(), [])

    def test_replaced_partial(self) -> None:
        """A partial file that another process has replaced by a link is not written to."""
        for replace in (os.symlink, os.link):
            target = self.created(3, query=OUT)
            self.write("out/other", b"secret")
            os.unlink(self.partial(target, "out"))
            replace(self.at("out/other"), self.partial(target, "out"))
            self.assertNotEqual(self.patch(target, 0, b"abc").status, 204)
            self.assertEqual(self.read("out/other"), b"secret")

    def test_lengthened_partial(self) -> None:
        """If another process has made the file too long, the upload is gone, and does not count."""
        for query, path in (("", UPLOADS), (OUT, "out")):
            for _ in range(3):
                target = self.created(3, query=query)
                self.patch(target, 0, b"ab")
                with open(self.partial(target, path), "ab") as file:
                    file.write(b"cd")
                for answer in (self.ask("GET", target), self.patch(target, 2, b"c")):
                    self.assertEqual(self.refused(answer), (404, "upload_not_found"))
                self.assertEqual(self.head(target).status, 404)
            self.assertEqual(self.post(b"Upload-Length: 3").status, 201)
            self.seconds += 1000
            self.uploads.sweep()
            self.assertEqual(self.names(path), [])

    def test_other_kinds(self) -> None:
        """What is no file any more is an upload that does not exist."""

        def listen(path: str) -> None:
            directory_fd = os.open(os.path.dirname(path), os.O_PATH)
            with socket.socket(socket.AF_UNIX) as unix:  # its names are short
                unix.bind(f"/proc/self/fd/{directory_fd}/{os.path.basename(path)}")
            os.close(directory_fd)

        for replace in (partial(os.symlink, self.at("out")), os.mkdir, os.mkfifo, listen):
            target = self.created(3, query=OUT)
            os.unlink(self.partial(target, "out"))
            replace(self.partial(target, "out"))
            for answer in (self.patch(target, 0, b"abc"), self.ask("DELETE", target)):
                self.assertEqual(self.refused(answer), (404, "upload_not_found"), replace)

    def test_lost_uploads(self) -> None:
        """An upload whose partial file is gone does not count, so it locks nobody out."""
        os.makedirs(self.at("out/a"))
        for _ in range(3):
            lost = self.created(3, query="?path=/workspace/out/a/new")
        self.assertEqual(self.post(b"Upload-Length: 1").status, 429)
        shutil.move(self.at("out/a"), self.at("out/b"))
        os.symlink("b", self.at("out/a"))
        self.assertEqual(self.refused(self.ask("DELETE", lost)), (404, "upload_not_found"))
        kept = self.created(1)
        os.unlink(self.at("out/a"))
        for _ in range(2):
            self.created(1, query=OUT)
        self.assertEqual(self.post(b"Upload-Length: 1").status, 429)
        os.unlink(self.partial(kept))
        self.created(1)

    def test_lost_files(self) -> None:
        """A start removes unfinished files that no record knows, wherever they are now."""
        os.makedirs(self.at("out/a"))
        lost, kept = (self.created(3, query=f"?path=/workspace/out/{d}x") for d in ("a/", ""))
        chat = self.created(1)
        shutil.move(self.at("out/a"), self.at("out/b"))
        for target in (lost, chat):
            os.unlink(self.at(f"{UPLOADS}/.chatfiles-part-{target[-32:]}.json"))
        self.assertEqual((self.directory.sweep(), self.sweep_out()), (1, 1))
        self.assertEqual((self.offset(kept), os.listdir(self.at("out/b"))), (0, []))
        self.assertEqual(self.names(), [f".chatfiles-part-{kept[-32:]}.json"])
        shutil.rmtree(self.at(UPLOADS))  # such as a file system that is not mounted yet
        self.assertEqual(self.sweep_out(), 0)

    def sweep_out(self) -> int:
        root_fd, records = self.store.open_root(b"/workspace"), self.directory.existing_or_none()
        try:
            return sweep_below(root_fd, (b"out",), records)
        finally:
            for fd in filter(None, (root_fd, records)):
                os.close(fd)

    def test_broken_records(self) -> None:
        """Whatever an agent writes into a record, requests are answered."""
        target = self.created(3)
        record = self.partial(target) + ".json"
        for content in (b"", b"[]", b"{}", b"\xff", b'{"length":-1}', b"[" * 100_000):
            with open(record, "wb") as file:
                file.write(content)
            os.utime(record, (self.seconds, self.seconds))
            self.assertEqual(self.head(target).status, 404, content[:20])
        self.created(1)

    def test_descriptors(self) -> None:
        """No request leaves a descriptor open."""
        target = self.created(3, query=OUT)
        before = self.descriptors()
        self.patch(target, 1, b"")
        self.patch(target, 0, b"ab", checksum(b"x"))
        lines = (VERSION, TYPE, b"Content-Length: 3", b"Upload-Offset: 0")
        self.caller("PATCH", target, *lines).send(b"ab").leave()
        self.patch_chunked(target, 2, b"abc", b"d")
        self.head(target)
        self.ask("GET", target)
        self.ask("DELETE", target)
        self.assertEqual(self.descriptors(), before)
