"""
What the platform relays of a workspace's response to an operation.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.error import ConnectionLost

from chatfiles.platform.forwarding.unsupported import MAX_ERROR_BYTES
from tests.platform.routes.operation_case import JSON, OperationCase, response, stream
from tests.support.memory_client import Received, chunked

NDJSON = b"Content-Type: application/x-ndjson"
ZIP = b"Content-Type: application/zip"
ACCEPT = b"Accept: application/x-ndjson"
DIGEST = b"Repr-Digest: sha-256=:%b=:" % (b"A" * 43)
#: An error of a workspace of chatfiles.
MISSING = b'{"error":"file not found","code":"file_not_found","request_id":"new"}\n'

#: A request of each kind, and the media type of its response.
KINDS: tuple[tuple[str, tuple[bytes, ...], bytes], ...] = (
    ("roots", (), JSON),
    ("entries?path=/home", (), JSON),
    ("entries?path=/home&depth=9", (ACCEPT,), NDJSON),
    ("archive?path=/home/a", (), ZIP),
    ("archive?path=/home/a&format=tar", (), b"Content-Type: application/x-tar"),
    ("archive?path=/home/a&format=tar.gz", (), b"Content-Type: application/gzip"),
    ("digest?path=/home/a", (), JSON),
)
#: What the platform itself sets.
ALWAYS = {
    "server",
    "date",
    "x-request-id",
    "cache-control",
    "content-type",
    "x-content-type-options",
    "content-security-policy",
}
#: Headers of a workspace that must not reach a client.
HOSTILE = (
    b"Set-Cookie: a=b",
    b"Location: /x",
    b"Access-Control-Allow-Origin: *",
    b"Content-Security-Policy: script-src *",
    b"X-Content-Type-Options: x",
    b"Cache-Control: public, max-age=9",
    b'ETag: "x"',
    b"Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT",
    b"Content-Range: bytes 0-1/2",
    b"Link: </x>; rel=preload",
    b"Refresh: 0; url=/x",
    b"WWW-Authenticate: Basic",
    b"X-Request-Id: other",
    b"Server: other",
    b"Via: 1.1 other",
)


class SuccessTests(OperationCase):
    """A success of an operation."""

    def relayed(self, kind: tuple[Any, ...], *lines: bytes, **more: Any) -> Received:
        """:return: the response to a request when the workspace sends *lines*."""
        operation, fields, media_type = kind
        answer = response(b"200 OK", media_type, *lines, **more)
        return self.exchange(self.get(operation, *fields), answer)[1]

    def test_relayed(self) -> None:
        """The body, with a length or in chunks, and the media type in its plain form."""
        for operation, fields, media_type in KINDS:
            plain = media_type.partition(b": ")[2].decode()
            for given in (media_type, media_type.upper() + b' ; charset="x"'):
                for raw in (
                    response(b"200 OK", given, body=b"abcde"),
                    stream(given, chunks=chunked(b"ab", b"cde")),
                ):
                    _, answer = self.exchange(self.get(operation, *fields), raw[:-3], raw[-3:])
                    self.assertEqual((answer.status, answer.body), (200, b"abcde"))
                    self.assertEqual(answer.fields["content-type"], plain)
                    is_chunked = "transfer-encoding" in answer.fields
                    self.assertEqual(is_chunked, b"chunked" in raw)
                    (event,) = self.events()
                    self.assertEqual((event.outcome, event.bytes), ("complete", 5))

    def test_hostile(self) -> None:
        """No header of the workspace is relayed but those of the operation."""
        for kind in KINDS:
            answer = self.relayed(kind, *HOSTILE)
            more = {"content-length"}
            if kind[0].startswith("archive"):
                more |= {"content-disposition", "accept-ranges"}
            self.assertEqual(set(answer.fields), ALWAYS | more, kind)
            self.assertEqual(answer.fields["cache-control"], "no-store")
            self.assertEqual(answer.fields["x-content-type-options"], "nosniff")
            policy = answer.fields["content-security-policy"]
            self.assertEqual(policy, "default-src 'none'; sandbox")

    def test_archive_headers(self) -> None:
        """Counts are numbers; the disposition is an attachment, else it is made of the path."""
        kind, ours = KINDS[5], "attachment; filename=\"a.tar.gz\"; filename*=UTF-8''a.tar.gz"
        for lines, expected in (
            ((), (ours, None, None)),
            (
                (
                    b"Chatfiles-Archive-Entries: 12",
                    b"Chatfiles-Archive-Bytes: 999999999999",
                    b'Content-Disposition: attachment; filename="x.tar.gz"',
                    b"Accept-Ranges: bytes",
                ),
                ('attachment; filename="x.tar.gz"', "12", "999999999999"),
            ),
            (
                (
                    b"Chatfiles-Archive-Entries: -1",
                    b"Chatfiles-Archive-Bytes: 1 2",
                    b'Content-Disposition: inline; filename="x.tar.gz"',
                ),
                (ours, None, None),
            ),
            (
                (
                    b"Chatfiles-Archive-Entries: 1",
                    b"Chatfiles-Archive-Entries: 1",
                    b"Chatfiles-Archive-Bytes: " + b"1" * 20,
                    b"Content-Disposition: attachment; filename=a,b",
                ),
                (ours, None, None),
            ),
        ):
            fields = self.relayed(kind, *lines).fields
            names = ("content-disposition", "chatfiles-archive-entries", "chatfiles-archive-bytes")
            self.assertEqual(tuple(map(fields.get, names)), expected, lines)
            self.assertEqual(fields["accept-ranges"], "none")

    def test_archive_names(self) -> None:
        """The platform's own disposition has the name that the client wants, in safe characters."""
        home, more = {"path": "/home/a b"}, {"path": "/home/c"}
        for body, name in (
            ({"paths": [home]}, 'filename="a b.zip"'),
            ({"paths": [home, more]}, 'filename="files.zip"'),
            ({"paths": [home], "name": 'x/"é\n.Z-9_'}, 'filename="x____.Z-9_.zip"'),
        ):
            raw = response(b"200 OK", ZIP)
            _, answer = self.exchange(self.post("archive", json.dumps(body).encode()), raw)
            self.assertIn(name, answer.fields["content-disposition"])

    def test_digest_headers(self) -> None:
        """A digest has the form of RFC 9530; a 202 says when to ask again."""
        kind = KINDS[6]
        for lines, digest in (
            ((DIGEST,), DIGEST.partition(b": ")[2].decode()),
            ((DIGEST, DIGEST), None),
            ((b"Repr-Digest: sha-256=:AA==:",), None),
            ((b"Repr-Digest: <script>",), None),
        ):
            fields = self.relayed(kind, *lines).fields
            self.assertEqual(fields.get("repr-digest"), digest)
        for line, seconds in ((b"2", "2"), (b"x", None), (b"Sun, 09 Sep 2001", None)):
            raw = response(b"202 Accepted", JSON, b"Retry-After: " + line)
            _, answer = self.exchange(self.get(kind[0]), raw)
            self.assertEqual((answer.status, answer.fields.get("retry-after")), (202, seconds))

    def test_head(self) -> None:
        """``HEAD`` has the same headers, without a body."""
        for operation, fields, media_type in KINDS:
            request = self.get(operation, *fields, method=b"HEAD")
            with_length = response(b"200 OK", media_type, body=b"").replace(b": 0\r", b": 9\r")
            _, answer = self.exchange(request, with_length)
            self.assertEqual((answer.status, answer.fields["content-length"]), (200, "9"))
            _, answer = self.exchange(request, stream(media_type, chunks=b""))
            self.assertEqual((answer.status, answer.body), (200, b""))
            self.assertEqual("accept-ranges" in answer.fields, operation.startswith("archive"))

    def test_bad_answers(self) -> None:
        """
        Another success than the operation's, or of another media type, is 502, and its connection
        is closed.
        """
        for operation, fields, media_type in KINDS:
            for status, lines in (
                (b"200 OK", ()),
                (b"200 OK", (b"Content-Type: text/html",)),
                (b"200 OK", (media_type, media_type)),
                (b"200 OK", (media_type + b", text/html",)),
                (b"200 OK", (NDJSON if media_type == JSON else JSON,)),
                (b"201 Created", (media_type,)),
                (b"202 Accepted", (ZIP,)),
                (b"206 Partial Content", (media_type, b"Content-Range: bytes 0-1/2")),
                (b"299 Odd", (media_type,)),
                (b"302 Found", (media_type,)),
                (b"204 No Content", ()),
                (b"304 Not Modified", ()),
                (b"600 Odd", (media_type,)),
            ):
                caller, wire = self.begin(self.get(operation, *fields, b"If-None-Match: *"))
                wire.send(response(status, *lines)[:-1])
                told = caller.answer()
                code = (told.status, told.json["code"])
                self.assertEqual(code, (502, "workspace_answered_badly"), (operation, status))
                self.assertTrue(wire.disconnecting or wire.aborted)

    def test_interrupted(self) -> None:
        """A body that is interrupted is visible: the connection to the client is reset."""
        for operation, fields, media_type in KINDS:
            whole = stream(media_type, chunks=chunked(b"abc", b"def"))
            for raw in (response(b"200 OK", media_type, body=b"abcdef")[:-1], whole[:-5]):
                caller, wire = self.begin(self.get(operation, *fields))
                wire.send(raw)
                wire.lose(ConnectionLost())
                caller.settle()
                self.assertFalse(caller.answer().complete)
                self.assertTrue(caller.wire.aborted)
                (event,) = self.events()
                self.assertEqual(event.outcome, "upstream_cut")

    def test_back_pressure(self) -> None:
        """A client that does not read lets the workspace wait."""
        for operation, fields, media_type in KINDS:
            caller, wire = self.begin(self.get(operation, *fields))
            wire.send(stream(media_type, b"Connection: close", chunks=b"3\r\nabc\r\n"))
            self.assertEqual(wire.producerState, "producing")
            producer: Any = caller.wire.producer
            producer.pauseProducing()
            self.assertEqual(wire.producerState, "paused")
            producer.resumeProducing()
            wire.send(b"3\r\ndef\r\n0\r\n\r\n")
            self.assertEqual(caller.answer().body, b"abcdef")

    def test_client_leaves(self) -> None:
        """The workspace's work ends with the client, before and within the body."""
        for operation, fields, media_type in KINDS:
            for raw in (b"", stream(media_type, chunks=b"3\r\nabc\r\n")):
                caller, wire = self.begin(self.get(operation, *fields))
                wire.send(raw)
                caller.leave(ConnectionLost())
                self.assertTrue(wire.aborted)
                self.assertEqual([event.outcome for event in self.events()], ["client_left"])


class ErrorTests(OperationCase):
    """Errors of a workspace, and workspaces that lack an operation."""

    REQUESTS = (*KINDS, ("file?path=/home/a", (), b"Content-Type: text/plain"))

    def test_errors(self) -> None:
        """An error is relayed with its body, as for a download, and says when to try again."""
        for operation, fields, _ in KINDS:
            for status in (b"400 X", b"403 X", b"409 X", b"412 X", b"413 X", b"500 X", b"503 X"):
                raw = response(status, b"Content-Type: text/x", b"Retry-After: 5", *HOSTILE)
                _, answer = self.exchange(self.get(operation, *fields), raw)
                self.assertEqual((answer.status, answer.body), (int(status[:3]), b"{}"))
                self.assertEqual(set(answer.fields), ALWAYS | {"retry-after", "content-length"})
                self.assertEqual(answer.fields["content-type"], "text/x")
                self.assertEqual(answer.fields["cache-control"], "no-store")

    def test_unsupported(self) -> None:
        """
        A 404 or 405 of a framework, a proxy or an older workspace says that the operation is
        missing, not the file.
        """
        for body in (
            b'{"detail":"Not Found"}',
            b'{"detail":"Method Not Allowed"}',
            b"<html><head><title>404 Not Found</title></head></html>",
            b"404 page not found\n",
            b"",
            b"[]",
            b"null",
            b'{"error":"file not found"}',
            b'{"error":"no such route","code":"no_route","request_id":"x"}',
            b'{"error":"method not allowed","code":"method_not_allowed","request_id":"x"}',
            b'{"error":"x","code":404}',
            b'{"error":"x","code":"NOT_FOUND"}',
            b'{"error":{"message":"x"},"code":"file_not_found"}',
            b'{"code":"file_not_found"}x',
            b"[" * 60000,
            b"\xff\xfe{",
            b" " * MAX_ERROR_BYTES + MISSING,
        ):
            for operation, fields, _ in self.REQUESTS:
                for status in (b"404 Not Found", b"405 Method Not Allowed"):
                    raw = response(status, JSON, b"Allow: POST", body=body)
                    _, answer = self.exchange(self.get(operation, *fields), raw)
                    told = (answer.status, answer.json["code"], answer.json["error"])
                    text = "workspace does not support this operation"
                    self.assertEqual(told, (501, "operation_unsupported", text), (operation, body))

    def test_missing(self) -> None:
        """A 404 with a code of an operation is about the file, and is relayed."""
        pieces = (
            (response(b"404 Not Found", JSON, body=MISSING),),
            (response(b"404 Not Found", JSON, body=MISSING)[:-9], MISSING[-9:]),
            (stream(JSON, chunks=chunked(MISSING[:9], MISSING[9:]), status=b"404 Not Found"),),
        )
        for operation, fields, _ in self.REQUESTS:
            for sent in pieces:
                _, answer = self.exchange(self.get(operation, *fields), *sent)
                self.assertEqual((answer.status, answer.body), (404, MISSING), (operation, sent))
                self.assertTrue(answer.complete)
                self.assertEqual(answer.fields["content-type"], "application/json")

    def test_missing_to_old_clients(self) -> None:
        """An error in chunks ends with the connection for HTTP/1.0."""
        raw = stream(JSON, chunks=chunked(MISSING), status=b"404 Not Found")
        _, answer = self.exchange(self.get("roots", version=b"1.0"), raw)
        self.assertEqual((answer.status, answer.body), (404, MISSING))

    def test_head(self) -> None:
        """A response to ``HEAD`` has nothing to tell by, and is relayed."""
        for operation, fields, _ in self.REQUESTS:
            for status in (b"404 Not Found", b"405 Method Not Allowed"):
                raw = response(status, JSON, body=b"").replace(b": 0\r", b": 22\r")
                _, answer = self.exchange(self.get(operation, *fields, method=b"HEAD"), raw)
                self.assertEqual(answer.status, int(status[:3]))

    def test_posted(self) -> None:
        """The same for an archive of several paths."""
        request = self.post("archive", b'{"paths":[{"path":"/home"}]}')
        raw = response(b"405 Method Not Allowed", body=b'{"detail":"Method Not Allowed"}')
        self.assertEqual(self.exchange(request, raw)[1].status, 501)
        raw = response(b"404 Not Found", body=MISSING)
        self.assertEqual(self.exchange(request, raw)[1].status, 404)

    def test_download(self) -> None:
        """The older route of downloads has no such rule: third parties have it, too."""
        request = self.get("file?path=/home/a").replace(b"/fs/file", b"/chat/download")
        sent, answer = self.exchange(request, response(b"404 Not Found", body=b"x"))
        self.assertTrue(sent.startswith(b"GET /internal/file/read?path=/home/a HTTP/1.1\r\n"))
        self.assertEqual((answer.status, answer.body), (404, b"x"))

    def test_file(self) -> None:
        """A file is relayed as on the older route."""
        lines = (b"Content-Type: text/plain", b'ETag: "x"', b"Content-Range: bytes 0-1/9")
        raw = response(b"206 Partial Content", *lines)
        sent, answer = self.exchange(self.get("file?path=/home/a", b"Range: bytes=0-1"), raw)
        self.assertIn(b"\r\nRange: bytes=0-1\r\n", sent)
        self.assertEqual((answer.status, answer.fields["etag"]), (206, '"x"'))
        self.assertEqual(answer.fields["content-range"], "bytes 0-1/9")
        raw = stream(JSON, chunks=chunked(b"x"))
        _, answer = self.exchange(self.get("file?path=/home/a", version=b"1.0"), raw)
        self.assertEqual(answer.status, 505)

    def test_interrupted_error(self) -> None:
        """An error that is interrupted, malformed or late is reported as such."""
        start = response(b"404 Not Found", JSON, body=MISSING)[:-1]
        malformed = stream(JSON, chunks=b"zz", status=b"404 Not Found")
        for operation, fields, _ in self.REQUESTS:
            for raw in (start, malformed):
                _, answer = self.exchange(self.get(operation, *fields), raw)
                self.assertEqual(answer.json["code"], "workspace_answered_badly")
            caller, wire = self.begin(self.get(operation, *fields))
            wire.send(start)
            self.clock.advance(29)
            self.assertEqual(caller.answers(), [])
            self.clock.advance(1)
            self.assertEqual(caller.answer().json["code"], "workspace_timeout")
            self.assertTrue(wire.aborted)

    def test_large_error(self) -> None:
        """No more of an error is read than can be one of ours."""
        for operation, fields, _ in self.REQUESTS:
            caller, wire = self.begin(self.get(operation, *fields))
            wire.send(stream(chunks=b"20000\r\n" + b"x" * 65537, status=b"404 Not Found"))
            self.assertEqual(caller.answer().status, 501)
            self.assertTrue(wire.aborted)

    def test_client_leaves(self) -> None:
        """A client that leaves while an error is read ends it."""
        start = response(b"404 Not Found", JSON, body=MISSING)[:-1]
        caller, wire = self.begin(self.get("roots"))
        wire.send(start)
        caller.leave(ConnectionLost())
        self.assertTrue(wire.aborted)
        self.assertEqual([event.outcome for event in self.events()], ["client_left"])
