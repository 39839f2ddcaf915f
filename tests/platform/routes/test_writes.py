"""
Tests for `chatfiles.platform.routes.writes`: which requests are forwarded, in which form, and what
the client receives.
"""

from __future__ import annotations

import json
from dataclasses import replace

from twisted.internet.error import ConnectionLost

from chatfiles.model import Scope, token_hash
from chatfiles.platform.forwarding.upload_body import CONTINUE_TIMEOUT
from chatfiles.platform.routes.context import UploadLimits
from tests.contract.registry_case import FIRST, begun
from tests.platform.routes.operation_case import JSON, OperationCase, response
from tests.platform.upstream.upstream_case import Wire
from tests.support.memory_client import CHUNKED, Caller, chunked, get

FILE = "file?path=/workspace/a"
DIGEST = b"sha-256=:" + b"A" * 43 + b"=:"
LENGTH = b"Content-Length: 3"
MOVE = b'{"from":{"path":"/workspace/\\u00e4"},"to":{"ref":"/home/%ff"}}'


class WriteCase(OperationCase):
    """A platform that takes files of at most ten bytes."""

    def setUp(self) -> None:
        super().setUp()
        self.context = replace(self.context, limits=UploadLimits(10, 10))

    def put(self, operation: str = FILE, *lines: bytes, body: bytes = b"new") -> bytes:
        framing = b"Content-Length: %d" % len(body)
        return self.get(operation, framing, *lines, method=b"PUT") + body


class ForwardedTests(WriteCase):
    """What the workspace receives."""

    def test_targets(self) -> None:
        """The query is made again, of the listed parameters only."""
        for method, operation, target in (
            (b"PUT", "file?path=/home/a+%62&x=1", b"file?path=/home/a%20b"),
            (b"PUT", FILE + "&parents=0", b"file?path=/workspace/a"),
            (b"PUT", FILE + "&mode=640&parents=1", b"file?path=/workspace/a&parents=1&mode=640"),
            (b"DELETE", FILE, b"file?path=/workspace/a"),
            (b"DELETE", FILE + "&directory=1", b"file?path=/workspace/a&directory=1"),
            (b"POST", "directories?path=/home/%ff", b"directories?path=/home/%FF"),
            (b"POST", "directories?parents=1&path=/home/x", b"directories?path=/home/x&parents=1"),
        ):
            sent, _ = self.exchange(self.get(operation, LENGTH, method=method) + b"new")
            start = sent.partition(b"\r\n")[0]
            self.assertEqual(start, b"%b /internal/fs/%b HTTP/1.1" % (method, target))

    def test_fields(self) -> None:
        """Conditions and digests are forwarded, and nothing else of the client."""
        lines = (
            b'If-Match: "a"',
            b'If-Match: "b"',
            b"If-None-Match: *",
            b"If-Unmodified-Since: x",
            b"Repr-Digest: " + DIGEST,
            b"Content-Digest: " + DIGEST,
        )
        sent, _ = self.exchange(self.put(FILE, *lines, b"Cookie: x", b"Content-Type: text/plain"))
        received = sent.partition(b"\r\n\r\n")[0].split(b"\r\n")
        self.assertEqual([line for line in received if line in lines], list(lines))
        self.assertNotIn(b"Cookie", sent)
        self.assertNotIn(b"text/plain", sent)
        self.assertNotIn(b"Expect", sent)
        self.assertIn(b"Authorization: Bearer secret", received)
        self.assertTrue(sent.endswith(b"\r\n\r\nnew"))
        sent, _ = self.exchange(self.get(FILE, *lines, method=b"DELETE"))
        received = sent.partition(b"\r\n\r\n")[0].split(b"\r\n")
        self.assertEqual([line for line in received if line in lines], list(lines[:4]))

    def test_chunked(self) -> None:
        """A body of unknown length is forwarded in chunks, as far as the limit."""
        head = self.get(FILE, CHUNKED, method=b"PUT")
        sent, _ = self.exchange(head + chunked(b"ab", b"c"))
        self.assertIn(b"Transfer-Encoding: chunked", sent)
        self.assertTrue(sent.endswith(b"0\r\n\r\n"))
        caller, wire = self.begin(head + chunked(b"x" * 11))
        self.assertNotIn(b"x" * 11, wire.sent())
        answer = caller.answer()
        self.assertEqual((answer.status, answer.json["code"]), (413, "file_too_large"))
        self.assertEqual(answer.json["error"], "file exceeds limit (10 bytes)")

    def test_move(self) -> None:
        """Paths are forwarded as refs, which name any bytes."""
        sent, _ = self.exchange(self.post("move", MOVE, b'If-Match: "a"'))
        head, _, body = sent.partition(b"\r\n\r\n")
        self.assertEqual(
            json.loads(body),
            {
                "from": {"ref": "/workspace/%C3%A4"},
                "to": {"ref": "/home/%FF"},
                "overwrite": False,
            },
        )
        self.assertIn(b'If-Match: "a"', head)

    def test_refused(self) -> None:
        """What the platform can check is refused before the workspace is asked, in this order."""
        coded = b"Content-Encoding: gzip"
        for request, expected in (
            (self.put("file"), (400, "path_required")),
            (self.put(FILE + "&parents=x&mode=1", coded), (400, "invalid_parents")),
            (self.put(FILE + "&mode=1", coded), (400, "invalid_mode")),
            (self.get(FILE, coded, method=b"PUT"), (411, "length_required")),
            (self.put(FILE, coded, body=b"x" * 11), (415, "unsupported_media_type")),
            (self.put(FILE, b"Repr-Digest: x", body=b"x" * 11), (413, "file_too_large")),
            (self.put(FILE, b"Repr-Digest: x"), (400, "invalid_digest")),
            (self.get(FILE + "&directory=x", method=b"DELETE"), (400, "invalid_directory")),
            (self.post("directories?path=/home/x&parents=x", b""), (400, "invalid_parents")),
            (self.post("move", b"{}"), (400, "invalid_field")),
            (self.post("move", b"[]"), (400, "invalid_json")),
        ):
            self.assertEqual(self.refused(request), expected, request)

    def test_scope(self) -> None:
        """A token that may only read writes nothing."""
        adding = self.registry.create_token(
            FIRST,
            digest=token_hash("reader"),
            prefix="",
            scopes=frozenset({Scope.READ}),
            name=None,
        )
        self.successResultOf(begun(adding))
        token = b"Authorization: Bearer reader"
        for method, operation in (
            (b"PUT", FILE),
            (b"DELETE", FILE),
            (b"POST", "directories?path=/home/x"),
            (b"POST", "move"),
        ):
            request = get(self.target(operation), token, b"Content-Length: 0", method=method)
            self.assertEqual(self.refused(request), (403, "insufficient_scope"))


class ContinueTests(WriteCase):
    """``100 Continue`` comes from the workspace."""

    def begin_put(self) -> tuple[Caller, Wire]:
        return self.begin(self.get(FILE, LENGTH, b"Expect: 100-continue", method=b"PUT"))

    def test_passed(self) -> None:
        """The client receives it when the workspace has sent it."""
        caller, wire = self.begin_put()
        self.assertIn(b"Expect: 100-continue\r\n", wire.sent())
        self.assertEqual(caller.answers(), [])
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual([answer.status for answer in caller.answers()], [100])
        caller.send(b"new")
        self.assertEqual(wire.sent(), b"new")
        wire.send(response(b"201 Created", JSON))
        self.assertEqual([answer.status for answer in caller.answers()], [100, 201])

    def test_refused(self) -> None:
        """A refusal of the workspace comes in its place."""
        caller, wire = self.begin_put()
        error = b'{"error":"x","code":"precondition_failed"}'
        wire.send(response(b"412 Precondition Failed", JSON, body=error))
        caller.settle()
        self.assertEqual([answer.status for answer in caller.answers()], [412])
        self.clock.advance(CONTINUE_TIMEOUT)  # would give the body to another receiver
        self.assertEqual([answer.status for answer in caller.answers()], [412])

    def test_never_sent(self) -> None:
        """A workspace that does not send it receives the body after a while."""
        caller, wire = self.begin_put()
        self.clock.advance(CONTINUE_TIMEOUT)
        self.assertEqual([answer.status for answer in caller.answers()], [100])
        caller.send(b"new")
        self.assertTrue(wire.sent().endswith(b"\r\n\r\nnew"))

    def test_client_left(self) -> None:
        """Nothing waits for a client that has disconnected."""
        caller, wire = self.begin_put()
        caller.leave()
        wire.lose(ConnectionLost())
        self.assertNotIn("UploadBody", repr(self.clock.getDelayedCalls()))


class RelayedTests(WriteCase):
    """What the client receives."""

    def test_written(self) -> None:
        """The version is relayed; ``Location`` is that of the platform."""
        for status, location in ((b"201 Created", "/fs/file?path=/workspace/a"), (b"200 OK", None)):
            lines = (
                JSON,
                b'ETag: "v"',
                b"Repr-Digest: " + DIGEST,
                b"Location: /internal/fs/file?path=/else",
                b"Set-Cookie: a=b",
            )
            _, answer = self.exchange(self.put(), response(status, *lines))
            self.assertEqual(answer.status, int(status[:3]))
            self.assertEqual(answer.fields["etag"], '"v"')
            self.assertEqual(answer.fields["repr-digest"], DIGEST.decode())
            expected = location and f"/workspaces/{FIRST}{location}"
            self.assertEqual(answer.fields.get("location"), expected)
            self.assertNotIn("set-cookie", answer.fields)

    def test_deleted(self) -> None:
        """A 204 has no body, no type and no length."""
        lost = b"HTTP/1.1 204 No Content\r\nContent-Type: text/html\r\n\r\n"
        _, answer = self.exchange(self.get(FILE, method=b"DELETE"), lost)
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertNotIn("content-type", answer.fields)
        self.assertNotIn("content-length", answer.fields)

    def test_other_statuses(self) -> None:
        """A status that the operation does not have is not relayed."""
        for request, status in (
            (self.put(), b"202 Accepted"),
            (self.put(), b"204 No Content"),
            (self.put(), b"302 Found"),
            (self.get(FILE, method=b"DELETE"), b"200 OK"),
            (self.post("move", MOVE), b"201 Created"),
            (self.post("directories?path=/home/x", b""), b"204 No Content"),
        ):
            _, answer = self.exchange(request, response(status, JSON, body=b""))
            self.assertEqual(
                (answer.status, answer.json["code"]), (502, "workspace_answered_badly")
            )

    def test_unsupported(self) -> None:
        """A workspace without the routes is said to have none; our errors are relayed."""
        ours = b'{"error":"file not found","code":"file_not_found"}'
        theirs = b'{"detail":"Not Found"}'
        for request in (
            self.put(),
            self.get(FILE, method=b"DELETE"),
            self.post("directories?path=/home/x", b""),
            self.post("move", MOVE),
        ):
            for status in (b"404 Not Found", b"405 Method Not Allowed"):
                _, answer = self.exchange(request, response(status, JSON, body=theirs))
                code = answer.json["code"]
                self.assertEqual((answer.status, code), (501, "operation_unsupported"))
            _, answer = self.exchange(request, response(b"404 Not Found", JSON, body=ours))
            self.assertEqual((answer.status, answer.json["code"]), (404, "file_not_found"))

    def test_secret(self) -> None:
        """A refused secret is no 401 for the client."""
        for request in (self.put(), self.get(FILE, method=b"DELETE")):
            _, answer = self.exchange(request, response(b"401 Unauthorized", JSON))
            self.assertEqual(answer.json["code"], "workspace_refused_credentials")

    def test_lost(self) -> None:
        """A request is never sent twice."""
        for request in (self.put(), self.get(FILE, method=b"DELETE"), self.post("move", MOVE)):
            before = self.connections
            _, answer = self.exchange(request)
            self.assertEqual((answer.status, self.connections), (502, before + 1))

    def test_log(self) -> None:
        """Each operation has its name in the log."""
        for request, name in (
            (self.put(), "write"),
            (self.get(FILE, method=b"DELETE"), "delete"),
            (self.post("directories?path=/home/x", b""), "mkdir"),
            (self.post("move", MOVE), "move"),
        ):
            self.exchange(request)
            self.assertEqual([event.operation for event in self.events()], [name])
