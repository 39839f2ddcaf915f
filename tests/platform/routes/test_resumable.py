"""
Tests for `chatfiles.platform.routes.resumable`: which requests are forwarded, in which form, and
what the client receives.
"""

from __future__ import annotations

from dataclasses import replace

from chatfiles.errors import TooManyRequests
from chatfiles.platform.routes.context import UploadLimits
from chatfiles.platform.transfer_limits import TransferLimits
from tests.contract.registry_case import FIRST
from tests.platform.routes.operation_case import AUTH, JSON, OperationCase, response
from tests.support.memory_client import CHUNKED, Received, chunked, get

VERSION, TYPE = b"Tus-Resumable: 1.0.0", b"Content-Type: application/offset+octet-stream"
ID = "0123456789abcdef" * 2
ORIGIN = b"Origin: https://app.example"
LIMIT = 1000


def error(status: bytes, code: bytes, *lines: bytes) -> bytes:
    body = b'{"error":"text","code":"%b"}' % code
    return response(status, JSON, *lines, body=body)


def empty(status: bytes, *lines: bytes) -> bytes:
    return response(status, *lines, body=b"")


class ResumableCase(OperationCase):
    """A platform that takes resumable uploads of at most `LIMIT` bytes."""

    def setUp(self) -> None:
        super().setUp()
        self.context = replace(
            self.context,
            limits=UploadLimits(1, 1, resumable_bytes=LIMIT),
            allowed_origins=frozenset({b"https://app.example"}),
        )

    def target(self, operation: str) -> bytes:
        return f"/workspaces/{FIRST}/uploads{operation}".encode()

    def request(
        self, method: str, operation: str, *lines: bytes, body: bytes | None = None
    ) -> bytes:
        framing = [] if body is None else [b"Content-Length: %d" % len(body)]
        request = self.get(operation, VERSION, *framing, *lines, method=method.encode())
        return request + (body or b"")

    def patch(self, *lines: bytes, body: bytes = b"abc") -> bytes:
        return self.request("PATCH", f"/{ID}", TYPE, b"Upload-Offset: 4", *lines, body=body)

    def answered(self, request: bytes) -> Received:
        """:return: the response to a request that the platform does not forward."""
        before = self.connections
        answer = self.caller().send(request).answer(head=request.startswith(b"HEAD"))
        self.assertEqual(self.connections, before, request)
        return answer


class ForwardedTests(ResumableCase):
    """What the workspace receives."""

    def test_creation(self) -> None:
        """The headers of a creation are forwarded, and nothing else of the client."""
        lines = (
            b"Upload-Length: 7",
            b"Upload-Metadata: filename eA==",
            b"Upload-Checksum: sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
            b'If-Match: "a"',
            b"If-None-Match: *",
        )
        for body in (None, b"abc"):
            more = () if body is None else (TYPE,)
            request = self.request(
                "POST", "?path=/home/a+b&x=1", *lines, *more, b"Cookie: x", body=body
            )
            sent, _ = self.exchange(request)
            head, _, forwarded = sent.partition(b"\r\n\r\n")
            start, *received = head.split(b"\r\n")
            self.assertEqual(start, b"POST /internal/uploads?path=/home/a%20b HTTP/1.1")
            for line in (VERSION, *lines, *more):
                self.assertIn(line, received)
            self.assertIn(b"Authorization: Bearer secret", received)
            self.assertNotIn(b"Cookie", sent)
            self.assertNotIn(b"Expect", sent)
            self.assertEqual(forwarded, body or b"")

    def test_chunk(self) -> None:
        """A chunk is forwarded as it comes."""
        lines = (b"Upload-Length: 9", b"Upload-Checksum: sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=")
        sent, _ = self.exchange(self.patch(*lines))
        self.assertTrue(sent.startswith(f"PATCH /internal/uploads/{ID} HTTP/1.1".encode()))
        for line in (VERSION, TYPE, b"Upload-Offset: 4", *lines):
            self.assertIn(line, sent.split(b"\r\n"))
        self.assertTrue(sent.endswith(b"\r\n\r\nabc"))
        request = self.get(f"/{ID}", VERSION, TYPE, b"Upload-Offset: 0", CHUNKED, method=b"PATCH")
        sent, _ = self.exchange(request + chunked(b"x" * LIMIT, b"y"))
        self.assertTrue(sent.endswith(b"x" * LIMIT + b"y\r\n0\r\n\r\n"))

    def test_others(self) -> None:
        """So are the other methods, also in place of a method that the client cannot send."""
        for method in ("HEAD", "GET", "DELETE"):
            sent, _ = self.exchange(self.request(method, f"/{ID}"))
            self.assertTrue(sent.startswith(f"{method} /internal/uploads/{ID} ".encode()))
            self.assertIn(VERSION, sent)
        for method in ("HEAD", "DELETE", "PATCH"):
            lines = (TYPE, b"Upload-Offset: 4", b"X-HTTP-Method-Override: " + method.encode())
            sent, _ = self.exchange(self.request("POST", f"/{ID}", *lines, body=b""))
            self.assertTrue(sent.startswith(f"{method} /internal/uploads/{ID} ".encode()))
            self.assertNotIn(b"Override", sent)

    def test_cut(self) -> None:
        """A client that leaves cuts the body of the workspace, too."""
        request = self.patch(body=b"abc").replace(b"Length: 3", b"Length: 9")
        caller, wire = self.begin(request)
        self.assertTrue(wire.sent().endswith(b"abc"))
        caller.leave()
        self.assertTrue(wire.aborted)

    def test_continue(self) -> None:
        """The workspace decides about ``100 Continue``."""
        lines = (VERSION, TYPE, b"Upload-Offset: 0", b"Content-Length: 3", b"Expect: 100-continue")
        caller, wire = self.begin(self.get(f"/{ID}", *lines, method=b"PATCH"))
        self.assertIn(b"Expect: 100-continue", wire.sent())
        self.assertEqual(caller.answers(), [])
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual([each.status for each in caller.answers()], [100])

    def test_refused(self) -> None:
        """What the platform can check is refused before the workspace is asked, in this order."""
        long, length = b"Upload-Length: 1001", b"Upload-Length: 1"
        for request, expected in (
            (self.request("POST", "?path=x"), (400, "path_not_absolute")),
            (self.get("", b"Content-Length: 0", method=b"POST"), (412, "unsupported_tus_version")),
            (self.request("POST", "", body=b""), (400, "upload_length_required")),
            (
                self.request("POST", "", long, b"Upload-Metadata: !", body=b""),
                (413, "upload_too_large"),
            ),
            (self.request("POST", "", length, b"Upload-Metadata: ,"), (400, "invalid_metadata")),
            (self.request("POST", "", length, body=b"abc"), (415, "unsupported_media_type")),
            (self.request("POST", "", length, TYPE, body=b"abc"), (413, "upload_too_long")),
            (self.request("PATCH", "/x", TYPE), (404, "upload_not_found")),
            (self.request("PATCH", f"/{ID}", body=b""), (415, "unsupported_media_type")),
            (self.request("PATCH", f"/{ID}", TYPE, body=b""), (400, "invalid_upload_offset")),
            (self.patch(long), (413, "upload_too_large")),
            (self.patch(b"Upload-Checksum: md5 x"), (400, "unsupported_checksum")),
            (self.request("GET", f"/{ID[1:]}"), (404, "upload_not_found")),
            (self.request("DELETE", f"/{ID.upper()}"), (404, "upload_not_found")),
            (self.request("POST", f"/{ID}", body=b""), (405, "method_not_allowed")),
            (self.request("PUT", "", body=b""), (405, "method_not_allowed")),
            (get(self.target(""), VERSION, length, method=b"POST"), (401, "missing_token")),
        ):
            answer = self.answered(request)
            self.assertEqual((answer.status, answer.json["code"]), expected, request)
            self.assertEqual(answer.fields["tus-resumable"], "1.0.0")
            self.assertEqual(answer.fields["cache-control"], "no-store")
            self.assertEqual("tus-version" in answer.fields, expected[0] == 412)

    def test_transfers(self) -> None:
        """Creations and chunks count as transfers."""
        self.context = replace(self.context, transfers=TransferLimits(node=1))
        self.begin(self.patch(body=b"abc").replace(b"Length: 3", b"Length: 9"))
        answer = self.answered(self.patch())
        self.assertEqual(answer.status, TooManyRequests.status)

    def test_off(self) -> None:
        """Without resumable uploads there are no such routes."""
        self.context = replace(self.context, limits=UploadLimits(1, 1, resumable_bytes=0))
        for request in (
            self.request("OPTIONS", ""),
            self.request("POST", ""),
            self.request("HEAD", f"/{ID}"),
        ):
            answer = self.answered(request)
            self.assertEqual(answer.status, 404)
            self.assertNotIn("tus-resumable", answer.fields)


class RelayedTests(ResumableCase):
    """What the client receives."""

    def test_created(self) -> None:
        """``Location`` names the upload of the platform, and the body is dropped."""
        lines = (
            f"Location: /internal/uploads/{ID}".encode(),
            b"Upload-Offset: 3",
            b"Upload-Expires: Sun, 06 Nov 1994 08:49:37 GMT",
            b"Set-Cookie: x",
        )
        request = self.request("POST", "", b"Upload-Length: 3")
        for answer in (empty(b"201 Created", *lines), response(b"201 Created", *lines, body=b"x")):
            _, received = self.exchange(request, answer)
            self.assertEqual((received.status, received.body), (201, b""))
            self.assertEqual(received.fields["content-length"], "0")
            self.assertEqual(received.fields["location"], f"/workspaces/{FIRST}/uploads/{ID}")
            self.assertEqual(received.fields["upload-offset"], "3")
            self.assertEqual(received.fields["upload-expires"], "Sun, 06 Nov 1994 08:49:37 GMT")
            self.assertNotIn("set-cookie", received.fields)
        for location in ((), (b"Location: http://evil/" + ID.encode(),)):
            _, received = self.exchange(request, empty(b"201 Created", *location))
            self.assertEqual(received.json["code"], "workspace_answered_badly")

    def test_fields(self) -> None:
        """Only well-formed headers are relayed."""
        good = {
            "upload-offset": "7",
            "chatfiles-uri": "workspace:/workspace/a%20b",
            "repr-digest": "sha-256=:" + "A" * 43 + "=:",
        }
        lines = [f"{name}: {value}".encode() for name, value in good.items()]
        _, received = self.exchange(self.patch(), empty(b"204 No Content", *lines))
        self.assertEqual(received.status, 204)
        self.assertEqual(received.fields, {**received.fields, **good})
        self.assertEqual(received.fields["tus-resumable"], "1.0.0")
        bad = [f"{name}: {value}x y".encode() for name, value in good.items()]
        _, received = self.exchange(self.patch(), empty(b"204 No Content", *bad))
        self.assertFalse(good.keys() & received.fields.keys())

    def test_state(self) -> None:
        """``HEAD`` says how far the upload is, also in place of it."""
        lines = (b"Upload-Offset: 3", b"Upload-Defer-Length: 1", b"Upload-Metadata: a,b eA==")
        for request in (
            self.request("HEAD", f"/{ID}"),
            self.request("POST", f"/{ID}", b"X-HTTP-Method-Override: HEAD", body=b""),
        ):
            _, received = self.exchange(request, empty(b"200 OK", *lines))
            self.assertEqual(received.status, 200)
            self.assertEqual(received.fields["upload-offset"], "3")
            self.assertEqual(received.fields["upload-defer-length"], "1")
            self.assertEqual(received.fields["upload-metadata"], "a,b eA==")
            self.assertEqual(received.fields["content-length"], "0")
            _, received = self.exchange(request, b"HTTP/1.1 404 x\r\nContent-Length: 9\r\n\r\n")
            self.assertEqual((received.status, received.fields["content-length"]), (404, "0"))

    def test_errors(self) -> None:
        """An error of the workspace keeps what the client needs, and its status."""
        for status, code, line in (
            (b"409 Conflict", b"offset_mismatch", b"Upload-Offset: 5"),
            (b"423 Locked", b"upload_locked", b"Retry-After: 1"),
            (b"412 x", b"unsupported_tus_version", b"Tus-Version: 1.0.0"),
            (b"460 x", b"checksum_mismatch", b"Upload-Expires: x"),
            (b"404 x", b"upload_not_found", b"X: y"),
        ):
            _, received = self.exchange(self.patch(), error(status, code, line))
            self.assertEqual(received.status, int(status[:3]))
            self.assertEqual(received.json["code"], code.decode())
            name, _, value = line.decode().lower().partition(": ")
            is_relayed = name not in ("upload-expires", "x")
            self.assertEqual(received.fields.get(name), value if is_relayed else None)

    def test_unsupported(self) -> None:
        """A workspace without these routes is 501, but for ``HEAD``."""
        for status in (b"404 Not Found", b"405 No"):
            answer = response(status, JSON, body=b'{"detail":"Not Found"}')
            for request in (self.patch(), self.request("POST", "", b"Upload-Length: 1")):
                _, received = self.exchange(request, answer)
                self.assertEqual(received.json["code"], "operation_unsupported")

    def test_secret(self) -> None:
        """A secret that the workspace refuses is no 401 for the client; the next one is used."""
        row = self.registry._rows[FIRST]
        for method, request in (
            ("POST", self.request("POST", "", b"Upload-Length: 1")),
            ("PATCH", self.patch()),
            *((method, self.request(method, f"/{ID}")) for method in ("HEAD", "GET", "DELETE")),
        ):
            caller, wire = self.begin(request)
            row.workspace = replace(row.workspace, inbound_secret="new-" + method)
            wire.send(response(b"401 Unauthorized", b"Connection: close"))
            if method in ("POST", "PATCH"):  # the body cannot be sent twice
                self.assertEqual(caller.answer().json["code"], "workspace_refused_credentials")
                _, wire = self.begin(request)
            else:
                wire = self.accept()
            secret = b"Authorization: Bearer new-" + method.encode()
            self.assertIn(secret, wire.sent().split(b"\r\n"))

    def test_options(self) -> None:
        """``OPTIONS`` needs no credential, and does not ask the workspace."""
        no_uuid = b"/workspaces/x/uploads"
        for target in (self.target(""), self.target(f"/{ID}"), no_uuid, no_uuid + b"/x"):
            answer = self.answered(get(target, method=b"OPTIONS"))
            self.assertEqual((answer.status, answer.body), (204, b""))
            self.assertEqual(answer.fields["tus-max-size"], str(LIMIT))
            self.assertIn("creation-with-upload", answer.fields["tus-extension"])

    def test_other_origins(self) -> None:
        """The pages of an allowed origin may use the routes, and read refusals, too."""
        for request in (
            get(self.target(""), ORIGIN, method=b"OPTIONS"),
            get(self.target(f"/{ID}"), ORIGIN, method=b"OPTIONS"),
            get(self.target(""), ORIGIN, method=b"POST"),
            get(self.target(""), AUTH, ORIGIN, method=b"PUT"),
        ):
            fields = self.answered(request).fields
            self.assertEqual(fields["access-control-allow-origin"], "https://app.example")
            self.assertEqual(fields["vary"], "Origin")
            self.assertIn("Upload-Offset", fields["access-control-expose-headers"])
            self.assertNotIn("access-control-allow-credentials", fields)
            is_options = request.startswith(b"OPTIONS")
            self.assertEqual("access-control-allow-methods" in fields, is_options)
            if is_options:
                self.assertIn("PATCH", fields["access-control-allow-methods"])
                self.assertIn("Upload-Checksum", fields["access-control-allow-headers"])
        for lines in ((), (b"Origin: https://other",), (ORIGIN, ORIGIN)):
            fields = self.answered(get(self.target(""), *lines, method=b"OPTIONS")).fields
            self.assertFalse([name for name in fields if name.startswith("access-control")])
