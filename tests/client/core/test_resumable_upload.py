"""
The decisions of a client that uploads a file in several requests (reference/resumable).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.client.core.resumable_upload import (
    Finished,
    ResumableUpload,
    UntrustedResponse,
    UploadRecord,
    UploadRequest,
    UploadService,
    Verdict,
)
from chatfiles.rules.digest_fields import repr_digest
from chatfiles.rules.upload_metadata import encode_metadata

CREATE = "/workspaces/w/uploads"
ID = "0123456789abcdef" * 2
URL = f"{CREATE}/{ID}"
URI = "workspace:/workspace/a"
CONTENT = bytes(range(100))
SHA256 = hashlib.sha256(CONTENT)
METADATA = {b"filename": b"a", b"sha256": SHA256.hexdigest().encode()}
DONE = {"Chatfiles-Uri": URI, "Repr-Digest": repr_digest(SHA256.digest()).decode()}
STORED = Finished(URI, SHA256.hexdigest())

Fields = Mapping[str, str]
NOTHING: Fields = {}
#: What the server says of an upload of this file.
OURS = {"Upload-Length": "100", "Upload-Metadata": encode_metadata(METADATA.items()).decode()}


def header_of(fields: Fields) -> Callable[[str], str]:
    """:return: what returns a header; empty if there is none."""
    return lambda name: fields.get(name, "")


def answer(
    upload: ResumableUpload, status: int, fields: Fields = NOTHING, sent: int = 0
) -> Verdict:
    """Answer the last request."""
    return upload.received(status, header_of(fields), sent)


def begun(offset: int | None = 0, **more: Any) -> ResumableUpload:
    """:return: an upload whose next request is the next chunk, or asks for the offset."""
    upload = ResumableUpload(CREATE, len(CONTENT), METADATA, url=URL, offset=offset, **more)
    upload.next()
    return upload


class CreationTests(SynchronousTestCase):
    """The first request, and what may be answered."""

    def test_request(self) -> None:
        """The size, the metadata and the conditions are sent."""
        create = CREATE + "?path=/workspace/a"
        upload = ResumableUpload(create, 5, {b"filename": b"a"}, {"If-None-Match": "*"})
        headers = {
            "Tus-Resumable": "1.0.0",
            "Upload-Length": "5",
            "Upload-Metadata": "filename YQ==",
            "If-None-Match": "*",
        }
        self.assertEqual(upload.next(), UploadRequest("POST", create, headers))

    def test_location(self) -> None:
        """The upload is below the URL of the creation, whatever host the response names."""
        for location in (URL, f"http://inside:8080{URL}", f"uploads/{ID}", f"/p{URL}"):
            upload = ResumableUpload(CREATE + "?path=/a", 5)
            upload.next()
            self.assertEqual(answer(upload, 201, {"Location": location}), Verdict.PROCEED)
            self.assertEqual((upload.url, upload.offset), (URL, 0))

    def test_no_location(self) -> None:
        """An upload that cannot be addressed cannot be used."""
        for location in ("", "/uploads/x", URL + "0", f"/x?uploads/{ID}", f"/notuploads/{ID}"):
            upload = ResumableUpload(CREATE, 5)
            upload.next()
            with self.assertRaises(UntrustedResponse):
                answer(upload, 201, {"Location": location})

    def test_statuses(self) -> None:
        """Other statuses are errors, or say that there are no such uploads."""
        for status, verdict in (
            *((each, Verdict.UNSUPPORTED) for each in (404, 405, 501)),
            *((each, Verdict.AGAIN) for each in (408, 423, 429, 502, 503, 504)),
            *((each, Verdict.REFUSED) for each in (200, 307, 400, 401, 403, 412, 413, 500, 507)),
        ):
            upload = ResumableUpload(CREATE, 5)
            upload.next()
            self.assertEqual((status, answer(upload, status)), (status, verdict))
            self.assertIsNone(upload.url)

    def test_empty(self) -> None:
        """An empty file is stored at once."""
        upload = ResumableUpload(CREATE, 0)
        upload.next()
        answer(upload, 201, {"Location": URL, **DONE})
        self.assertIsNone(upload.next())
        self.assertEqual(upload.finished, STORED)

    def test_unknown_size(self) -> None:
        """The size is sent when the source has ended, with an empty chunk."""
        upload = ResumableUpload(CREATE, None)
        request = upload.next()
        assert request is not None
        self.assertEqual(request.headers["Upload-Defer-Length"], "1")
        answer(upload, 201, {"Location": URL})
        request = upload.next()
        assert request is not None
        self.assertNotIn("Upload-Length", request.headers)
        upload.end_at(7)
        answer(upload, 204, {"Upload-Offset": "7"}, sent=7)
        request = upload.next()
        assert request is not None
        self.assertEqual((request.offset, request.headers["Upload-Length"]), (7, "7"))
        answer(upload, 204, {"Upload-Offset": "7", **DONE})
        self.assertEqual(upload.finished, STORED)


class StateTests(SynchronousTestCase):
    """``HEAD``: how far an upload has come."""

    def test_continues(self) -> None:
        """The next chunk begins where the upload ends."""
        upload = begun(None)
        self.assertEqual(
            upload.next(), UploadRequest("HEAD", URL, {"Tus-Resumable": "1.0.0"}, None)
        )
        self.assertEqual(answer(upload, 200, {"Upload-Offset": "7", **OURS}), Verdict.PROCEED)
        request = upload.next()
        assert request is not None
        self.assertEqual((request.method, request.url, request.offset), ("PATCH", URL, 7))
        self.assertEqual(request.headers["Upload-Offset"], "7")

    def test_finished(self) -> None:
        """The response to the last chunk was lost: the file is there."""
        upload = begun(None)
        answer(upload, 200, {"Upload-Offset": "100", **OURS, **DONE})
        self.assertIsNone(upload.next())
        self.assertEqual(upload.finished, STORED)

    def test_not_published(self) -> None:
        """All bytes are there, but not the file: an empty chunk tries again."""
        upload = begun(None)
        answer(upload, 200, {"Upload-Offset": "100", **OURS})
        request = upload.next()
        assert request is not None
        self.assertEqual((request.method, request.offset), ("PATCH", 100))

    def test_another_file(self) -> None:
        """An upload of another length or digest is not continued, nor one that is gone."""
        other = encode_metadata([(b"sha256", b"0" * 64)]).decode()
        for status, fields in (
            (404, {}),
            (410, {}),
            (200, {**OURS, "Upload-Length": "99"}),
            (200, {**OURS, "Upload-Metadata": other}),
            (200, {**OURS, "Upload-Metadata": ""}),
            (200, {**OURS, "Upload-Offset": "101"}),
        ):
            upload = begun(None)
            verdict = answer(upload, status, {"Upload-Offset": "7", **fields})
            self.assertEqual(verdict, Verdict.RESTARTED)
            request = upload.next()
            assert request is not None
            self.assertEqual(request.method, "POST")

    def test_statuses(self) -> None:
        """A lock or an outage may end; a refused token does not."""
        for status, verdict in ((423, Verdict.AGAIN), (502, Verdict.AGAIN), (401, Verdict.REFUSED)):
            upload = begun(None)
            self.assertEqual(answer(upload, status), verdict)
            self.assertEqual(upload.url, URL)

    def test_malformed(self) -> None:
        """A response without an offset, or with malformed metadata, is not believed."""
        for fields in (
            {},
            {"Upload-Offset": "-1"},
            {"Upload-Offset": "1" * 19},
            {"Upload-Offset": "7", "Upload-Metadata": "a b c"},
        ):
            with self.assertRaises(UntrustedResponse):
                answer(begun(None), 200, {**OURS, **fields})


class ChunkTests(SynchronousTestCase):
    """``PATCH``: the rest of the file."""

    def test_stored(self) -> None:
        """After the last byte, the response says where the file is."""
        upload = begun(60)
        answer(upload, 204, {"Upload-Offset": "100", **DONE}, sent=40)
        self.assertIsNone(upload.next())
        self.assertEqual(upload.finished, STORED)

    def test_no_digest(self) -> None:
        """A response without a usable digest has none."""
        for digest in ("", "md5=:x:", "sha-256=:AA==:"):
            upload = begun(60)
            fields = {"Upload-Offset": "100", "Chatfiles-Uri": URI, "Repr-Digest": digest}
            answer(upload, 204, fields, sent=40)
            self.assertEqual(upload.finished, Finished(URI, None))

    def test_a_part(self) -> None:
        """A server may take a part of a chunk."""
        upload = begun(60)
        self.assertEqual(answer(upload, 204, {"Upload-Offset": "70"}, sent=40), Verdict.PROCEED)
        request = upload.next()
        assert request is not None
        self.assertEqual(request.offset, 70)

    def test_not_believed(self) -> None:
        """Bytes that were not sent, no offset, no place of the file."""
        for fields, sent in (
            ({"Upload-Offset": "100", **DONE}, 39),
            ({"Upload-Offset": "100"}, 40),
            ({"Upload-Offset": "100", "Chatfiles-Uri": "/workspace/a"}, 40),
            (DONE, 40),
        ):
            with self.assertRaises(UntrustedResponse):
                answer(begun(60), 204, fields, sent)

    def test_another_offset(self) -> None:
        """409 says the offset; without one, it has to be asked for."""
        upload = begun(60)
        self.assertEqual(answer(upload, 409, {"Upload-Offset": "50"}), Verdict.AGAIN)
        self.assertEqual(upload.offset, 50)
        upload.next()
        self.assertEqual(answer(upload, 409), Verdict.AGAIN)
        self.assertIsNone(upload.offset)

    def test_statuses(self) -> None:
        """After each error it is known whether the upload can be continued, and when."""
        for status, verdict in (
            *((each, Verdict.AGAIN) for each in (408, 423, 429, 502, 503, 504)),
            *((each, Verdict.REFUSED) for each in (200, 307, 400, 401, 403, 413, 460, 500, 507)),
            *((each, Verdict.LOST) for each in (412, 422)),
            *((each, Verdict.RESTARTED) for each in (404, 410)),
        ):
            upload = begun(60)
            self.assertEqual((status, answer(upload, status)), (status, verdict))

    def test_interrupted(self) -> None:
        """After a connection that broke, the offset has to be asked for."""
        upload = begun(60)
        self.assertEqual(upload.interrupted(), Verdict.AGAIN)
        self.assertIsNone(upload.offset)

    def test_failures(self) -> None:
        """Failures are counted until the upload makes progress."""
        upload = begun(None)
        for offset, failures in ((10, 0), (10, 1), (5, 2), (10, 3), (11, 0)):
            answer(upload, 200, {"Upload-Offset": str(offset), **OURS})
            self.assertEqual(upload.failures, failures, offset)
            upload.next()
            upload.interrupted()
            upload.next()

    def test_nothing_taken(self) -> None:
        """A server that takes nothing, and says that it has, is not sent the same for ever."""
        upload = begun(10)
        with self.assertRaises(UntrustedResponse):
            answer(upload, 204, {"Upload-Offset": "10"}, sent=20)

    def test_forgotten(self) -> None:
        """
        A server that forgets what it has created fails; an upload of an earlier run may be gone.
        """
        upload = begun(None)
        answer(upload, 404)
        self.assertEqual(upload.failures, 0)
        for failures in (1, 2):
            upload.next()
            answer(upload, 201, {"Location": URL})
            upload.next()
            answer(upload, 404)
            self.assertEqual(upload.failures, failures)

    def test_stuck(self) -> None:
        """It gives up when it knows that there is no progress."""
        upload = begun(0)
        upload.interrupted()
        self.assertEqual([upload.is_stuck(retries) for retries in (0, 1)], [True, False])
        for offset, stuck in ((10, False), (10, False), (10, True)):
            upload.next()
            answer(upload, 200, {"Upload-Offset": str(offset), **OURS})
            self.assertEqual(upload.is_stuck(1), stuck)
            upload.next()
            upload.interrupted()
            self.assertFalse(upload.is_stuck(1))
        upload = begun(None)
        upload.interrupted()
        upload.next()
        upload.interrupted()
        self.assertTrue(upload.is_stuck(1))

    def test_created_after_failures(self) -> None:
        """Failures before the creation do not count later."""
        upload = ResumableUpload(CREATE, 5)
        upload.next()
        upload.interrupted()
        upload.next()
        answer(upload, 201, {"Location": URL})
        self.assertEqual(upload.failures, 0)

    def test_removal(self) -> None:
        """An upload can be removed as long as there is one."""
        upload = begun(60)
        request = upload.removal()
        self.assertEqual(request, UploadRequest("DELETE", URL, {"Tus-Resumable": "1.0.0"}))
        answer(upload, 404)
        self.assertIsNone(upload.removal())


class Server:
    """A server that keeps one upload, and what goes wrong with each request."""

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.stored = False

    def serve(self, request: UploadRequest, fault: str, share: int) -> tuple[int, Fields, int]:
        """:return: status, headers, and the bytes sent; status 0 if the connection broke."""
        if fault in ("busy", "locked"):
            return {"busy": 503, "locked": 423}[fault], {}, 0
        if request.method == "POST":
            self.content, self.stored = b"", False
            return 201, {"Location": URL}, 0
        if fault == "forgets" and not self.stored:
            self.content = None
        if self.content is None:
            return 404, {}, 0
        if request.method == "HEAD":
            return 200, {**OURS, **self._progress()}, 0
        if request.offset != len(self.content):
            return 409, self._progress(), 0
        body = CONTENT[request.offset :]
        kept = body[: len(body) * share // 8] if fault in ("cut", "late") else body
        self.content += kept
        self.stored = self.content == CONTENT
        if fault == "late":  # what a proxy had taken arrives after the response
            return 502, {}, len(body)
        return (0 if fault == "cut" else 204), self._progress(), len(body)

    def _progress(self) -> Fields:
        assert self.content is not None
        return {"Upload-Offset": str(len(self.content)), **(DONE if self.stored else {})}


FAULTS = st.sampled_from(["", "cut", "lost", "late", "busy", "locked", "forgets"])


class FaultTests(SynchronousTestCase):
    """Any series of faults."""

    @given(st.lists(st.tuples(FAULTS, st.integers(0, 8)), max_size=40))
    def test_ends_right(self, faults: list[tuple[str, int]]) -> None:
        """Whatever goes wrong, in the end the file is stored, with each byte once."""
        server, upload = Server(), ResumableUpload(CREATE, len(CONTENT), METADATA)
        following = iter(faults)
        while (request := upload.next()) is not None:
            fault, share = next(following, ("", 0))
            status, fields, sent = server.serve(request, fault, share)
            if not status or fault == "lost":
                upload.interrupted()
            else:
                verdict = answer(upload, status, fields, sent)
                expected = (Verdict.PROCEED, Verdict.AGAIN, Verdict.RESTARTED)
                self.assertIn(verdict, expected)
        self.assertEqual((server.content, server.stored), (CONTENT, True))
        self.assertEqual(upload.finished, STORED)


class RecordTests(SynchronousTestCase):
    """What a later run needs."""

    RECORD = UploadRecord(URL, 100, 1_700_000_000_123_456_789, 42)

    def test_round_trip(self) -> None:
        """A record is a JSON object of four members."""
        content = self.RECORD.encode()
        expected = {"url": URL, "size": 100, "mtime": 1_700_000_000_123_456_789, "inode": 42}
        self.assertEqual(json.loads(content), expected)
        self.assertEqual(UploadRecord.decode(content), self.RECORD)

    def test_anything_else(self) -> None:
        """A file that is no record is none."""
        for content in (
            b"",
            b"null",
            b"[]",
            b'{"url": "x"}',
            b'{"url": 1, "size": 1, "mtime": 1, "inode": 1}',
            b'{"url": "x", "size": "1", "mtime": 1, "inode": 1}',
            b'{"url": "x", "size": 1, "mtime": 1, "inode": true}',
            b"\xff",
            b"[" * 100_000,
        ):
            self.assertIsNone(UploadRecord.decode(content), content)

    def test_file(self) -> None:
        """A file with another size, time or inode is another file."""
        facts = (100, 1_700_000_000_123_456_789, 42)
        self.assertTrue(self.RECORD.is_of(*facts))
        for index in range(3):
            other = tuple(fact + (place == index) for place, fact in enumerate(facts))
            self.assertFalse(self.RECORD.is_of(*other))

    def test_elsewhere(self) -> None:
        """A record that names another place than that of the creation is not followed."""
        for url in (
            f"https://evil.example{URL}",
            f"/workspaces/x/uploads/{ID}",
            f"{CREATE}/../{ID}",
            f"{URL}/x",
            f"{CREATE}/{ID[:-1]}\n",
        ):
            self.assertIsNone(ResumableUpload(CREATE, 5, url=url).url)
        self.assertEqual(ResumableUpload(CREATE + "?path=/a", 5, url=URL).url, URL)


class ServiceTests(SynchronousTestCase):
    """``OPTIONS``."""

    def test_offered(self) -> None:
        """A service that creates uploads with tus 1.0.0, and its largest file."""
        fields = {"Tus-Version": "1.0.0,0.2.2", "Tus-Extension": "expiration, creation"}
        for status, changes, expected in (
            (204, {}, UploadService(None)),
            (200, {"Tus-Max-Size": "7"}, UploadService(7)),
            (204, {"Tus-Max-Size": "x"}, UploadService(None)),
            (404, {}, None),
            (204, {"Tus-Version": "0.2.2"}, None),
            (204, {"Tus-Extension": "creation-with-upload"}, None),
            (204, {"Tus-Version": "", "Tus-Extension": ""}, None),
        ):
            found = UploadService.of(status, header_of({**fields, **changes}))
            self.assertEqual(found, expected)
