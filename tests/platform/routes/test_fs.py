"""
The operations below ``/workspaces/{workspace_id}/fs``: which requests are forwarded, and in which
form.
"""

from __future__ import annotations

import json
from dataclasses import replace
from uuid import UUID

from chatfiles.model import Scope, token_hash
from tests.contract.registry_case import FIRST, UNKNOWN, begun
from tests.platform.memory_platform import ADMIN
from tests.platform.routes.operation_case import AUTH, JSON, OperationCase, response, stream
from tests.support.memory_client import CHUNKED, chunked, get, post

NDJSON = b"Content-Type: application/x-ndjson"
ZIP = b"Content-Type: application/zip"
REFUSED = response(b"401 Unauthorized", b"Connection: close")
NOBODY = UUID(int=5)

#: One valid request of each operation.
OPERATIONS = (
    "roots",
    "entries?path=/workspace",
    "archive?path=/workspace",
    "digest?path=/workspace/a",
    "file?path=/workspace/a",
)


class ForwardedTests(OperationCase):
    """What the workspace receives."""

    def test_targets(self) -> None:
        """
        The query is made anew, of the listed parameters only.  A value that is the default is left
        out, except for the format.
        """
        for operation, target, fields in (
            ("roots", "roots", ()),
            ("roots?path=x&path=y", "roots", ()),
            ("entries?path=/workspace", "entries?path=/workspace", ()),
            (
                "entries?x=1&after=YQ==&limit=007&depth=%30&path=/home/%41%ff+b",
                "entries?path=/home/A%FF%20b&depth=0&limit=7&after=YQ",
                (),
            ),
            ("entries?path=/home&limit=1000&depth=1", "entries?path=/home", ()),
            ("archive?path=/home/%26", "archive?path=/home/%26&format=zip", ()),
            ("archive?format=tar.gz&path=/home&name=x", "archive?path=/home&format=tar.gz", ()),
            ("digest?path=/home/a&depth=1", "digest?path=/home/a", ()),
            ("file?path=/home/a+b&x=y", "file?path=/home/a%20b", ()),
            ("file?disposition=inline&path=/home/a", "file?path=/home/a&disposition=inline", ()),
        ):
            for method in (b"GET", b"HEAD"):
                sent, _ = self.exchange(self.get(operation, *fields, method=method))
                start = sent.partition(b"\r\n")[0]
                self.assertEqual(start, b"%b /internal/fs/%b HTTP/1.1" % (method, target.encode()))

    def test_streams(self) -> None:
        """What the client accepts is forwarded in its plainest form."""
        stream = b"application/x-ndjson"
        for query, accept, sent_query, sent_accept in (
            ("", b"*/*", "", b"application/json"),
            ("", b"text/html", "", b"application/json"),
            ("&limit=x", stream, "", stream),
            ("&depth=9", b"x/y, Application/X-NDJSON;q=0.5", "&depth=9", stream),
            ("&depth=64", stream, "&depth=64", stream),
            ("&depth=infinity", stream, "&depth=infinity", stream),
        ):
            request = self.get("entries?path=/home" + query, b"Accept: " + accept)
            start, *lines = self.exchange(request)[0].split(b"\r\n")
            target = f"/internal/fs/entries?path=/home{sent_query}".encode()
            self.assertEqual(start.split()[1], target)
            self.assertIn(b"Accept: " + sent_accept, lines)

    def test_headers(self) -> None:
        """No other header of the client reaches the workspace."""
        given = (
            b"Range: bytes=0-1",
            b'If-Match: "a"',
            b'If-Match: "b"',
            b"If-None-Match: *",
            b"If-Range: x",
            b"Want-Repr-Digest: sha-256=1",
            b"Cookie: a=b",
            b"Accept-Encoding: gzip",
            b"X-Forwarded-For: 1.2.3.4",
            b"X-Request-Id: mine",
        )
        always = {
            b"Host: 8.8.8.8:8000",
            b"Accept-Encoding: identity",
            b"Authorization: Bearer secret",
            b"Via: 1.1 chatfiles",
            b"X-Request-Id: mine",
        }
        for operation in OPERATIONS[:4]:
            _, *lines = self.exchange(self.get(operation, *given))[0].split(b"\r\n")
            more = {
                "e": {b"Accept: application/json"},
                "d": {b'If-Match: "a"', b'If-Match: "b"'},
            }.get(operation[0], set())
            self.assertEqual(set(lines) - {b""}, always | more, operation)

    def test_body(self) -> None:
        """A body is made anew, too.  Names that are not UTF-8 are sent as refs."""
        body = {
            "paths": [{"ref": "/home/%41%20%C3%A9"}, {"path": "/home/%41"}, {"ref": "/home/%ff"}],
            "x": 1,
        }
        for more, sent_more in (
            ({}, {"format": "zip"}),
            ({"format": "tar", "name": "a/b"}, {"format": "tar", "name": "a/b"}),
        ):
            request = self.post("archive?path=x&format=y", json.dumps(body | more).encode())
            head, _, sent = self.exchange(request)[0].partition(b"\r\n\r\n")
            start, *lines = head.split(b"\r\n")
            self.assertEqual(start, b"POST /internal/fs/archive HTTP/1.1")
            self.assertIn(b"Content-Length: %d" % len(sent), lines)
            self.assertIn(b"Content-Type: application/json", lines)
            paths = [{"path": "/home/A é"}, {"path": "/home/%41"}, {"ref": "/home/%FF"}]
            self.assertEqual(json.loads(sent), {"paths": paths, **sent_more})

    def test_body_in_chunks(self) -> None:
        """The client's body may be chunked; the workspace's never is."""
        body = b'{"paths":[{"path":"/home"}]}'
        request = get(self.target("archive"), AUTH, CHUNKED, method=b"POST")
        _, wire = self.begin(request + chunked(body[:9], body[9:]))
        self.assertIn(b"\r\nContent-Length: 43\r\n", wire.sent())

    def test_archives_once(self) -> None:
        """
        A workspace may need long to prepare an archive and allows few at once, so the platform does
        not use a kept connection, whose silence would be taken for its death.
        """
        for operation, kept in (("entries?path=/home", True), ("archive?path=/home", False)):
            _, wire = self.begin(self.get("roots"))
            wire.send(response(b"200 OK", JSON))
            before = self.connections
            self.caller().send(self.get(operation))
            self.assertEqual(self.connections == before, kept)
            self.reactor.advance(25)
            self.assertEqual(self.connections, before + 1)
            self.reactor.advance(10)

    def test_secret_changed(self) -> None:
        """If a workspace refuses the secret, and has another one now, the request is repeated."""
        body = b'{"paths":[{"path":"/home"}]}'
        row = self.registry._rows[FIRST]
        old = "secret"
        for number, request in enumerate((*map(self.get, OPERATIONS), self.post("archive", body))):
            caller, wire = self.begin(request)
            first, new = wire.sent(), f"new-{number}"
            row.workspace = replace(row.workspace, inbound_secret=new)
            wire.send(REFUSED)
            wire = self.accept()
            self.assertEqual(wire.sent(), first.replace(old.encode(), new.encode()))
            wire.send(REFUSED)
            self.assertEqual(caller.answer().json["code"], "workspace_refused_credentials")
            old = new


class OrderTests(OperationCase):
    """Which fault of a request is reported, and that the workspace is not asked."""

    def setUp(self) -> None:
        super().setUp()
        for name, scope in (("write", Scope.WRITE), ("read", Scope.READ)):
            adding = self.registry.create_token(
                FIRST, digest=token_hash(name), prefix="", scopes=frozenset({scope}), name=None
            )
            self.successResultOf(begun(adding))

    def test_order(self) -> None:
        """Method, credential, scope, id, parameters, version of HTTP, workspace."""
        bad = "?path=x&depth=x&format=x"
        for operation in ("entries", "archive", "digest", "file"):
            path = f"/workspaces/{{}}/fs/{operation}{bad}"
            for method, workspace, token, status, code in (
                (b"PATCH", "x", "", 405, "method_not_allowed"),
                (b"GET", "x", "", 401, "missing_token"),
                (b"GET", "x", "wrong", 401, "invalid_token"),
                (b"GET", FIRST, "write", 403, "insufficient_scope"),
                (b"GET", "x", ADMIN, 400, "invalid_workspace_id"),
                (b"GET", UNKNOWN, ADMIN, 400, "path_not_absolute"),
                (b"GET", FIRST, "read", 400, "path_not_absolute"),
            ):
                fields = [b"Authorization: Bearer " + token.encode()] if token else []
                request = get(path.format(workspace).encode(), *fields, method=method)
                self.assertEqual(self.refused(request), (status, code), (operation, method, token))
            good = f"/workspaces/{UNKNOWN}/fs/{operation}?path=/home"
            request = get(good.encode(), b"Authorization: Bearer " + ADMIN.encode())
            self.assertEqual(self.refused(request), (404, "workspace_not_found"))

    def test_parameters(self) -> None:
        """They are checked in the order of the reference."""
        for operation, code in (
            ("entries", "path_required"),
            ("entries?path=/home/&depth=x", "invalid_path"),
            ("entries?path=/home&limit=x&depth=2", "stream_required"),
            ("entries?path=/home&limit=x&depth=x", "invalid_depth"),
            ("entries?path=/home&limit=x&after=!", "invalid_limit"),
            ("entries?path=/home&after=!", "invalid_after"),
            ("archive?format=x", "path_required"),
            ("archive?path=/home&format=x", "invalid_format"),
            ("digest", "path_required"),
            ("digest?path=/home&path=/home", "path_repeated"),
            ("file?path=/home&disposition=x", "invalid_disposition"),
        ):
            self.assertEqual(self.refused(self.get(operation)), (400, code), operation)

    def test_old_clients(self) -> None:
        """
        HTTP/1.0 has no chunks, so what comes in chunks is refused before the workspace is asked;
        but not a ``HEAD``, and not before the parameters are valid.
        """
        accept = b"Accept: application/x-ndjson"
        body = b'{"paths":[{"path":"/home"}]}'
        old = {"version": b"1.0"}
        for request in (
            self.get("entries?path=/home", accept, **old),
            self.get("archive?path=/home", **old),
            self.post("archive", body).replace(b"HTTP/1.1", b"HTTP/1.0"),
        ):
            answer = self.ask(request)
            self.assertEqual((answer.status, answer.json["code"]), (505, "version_not_supported"))
            self.assertEqual(answer.json["error"], "this can be had with HTTP/1.1 only")
        request = self.get("entries?path=/home&depth=x", accept, **old)
        self.assertEqual(self.refused(request), (400, "invalid_depth"))
        for operation, fields, given in (
            ("entries?path=/home", (accept,), NDJSON),
            ("archive?path=/home", (), ZIP),
        ):
            request = self.get(operation, *fields, method=b"HEAD", **old)
            _, answer = self.exchange(request, stream(given, chunks=b""))
            self.assertEqual(answer.status, 200)
            self.assertNotIn("transfer-encoding", answer.fields)
        _, answer = self.exchange(self.get("entries?path=/home", **old), response(b"200 OK", JSON))
        self.assertEqual((answer.status, answer.body), (200, b"{}"))
        chunks = stream(JSON, chunks=chunked(b"{}"))
        _, answer = self.exchange(self.get("entries?path=/home", **old), chunks)
        self.assertEqual(answer.status, 505)
        self.assertEqual(answer.json["error"], "this can be had with HTTP/1.1 only")

    def test_bodies(self) -> None:
        """A body is validated before the workspace is looked up."""
        unknown = f"/workspaces/{UNKNOWN}/fs/archive".encode()
        admin = b"Authorization: Bearer " + ADMIN.encode()
        for body, status, code in (
            (b"", 400, "invalid_json"),
            (b"[]", 400, "invalid_json"),
            (b"{}", 400, "invalid_field"),
            (b'{"paths":[{"path":"/home","ref":"/home"}]}', 400, "invalid_field"),
            (b'{"paths":[{"path":"/x"}]}', 400, "path_outside_roots"),
            (b'{"paths":[{"path":"/home"}],"format":"x"}', 400, "invalid_format"),
            (b'{"paths":[{"path":"/home"}],"name":1}', 400, "invalid_field"),
            (b" " * 65537, 413, "too_large"),
            (b'{"paths":[{"path":"/home"}]}', 404, "workspace_not_found"),
        ):
            self.assertEqual(self.refused(post(body, admin, path=unknown)), (status, code), body)
        answer = self.ask(post(b'{"paths":[{"path":"/x/\\u00e9"}]}', admin, path=unknown))
        self.assertEqual(answer.json["detail"], "/x/é")

    def test_large_body(self) -> None:
        """A declared length is refused before the client is told to send the body."""
        lines = (AUTH, b"Content-Length: 65537", b"Expect: 100-continue")
        caller = self.caller().send(get(self.target("archive"), *lines, method=b"POST"))
        self.assertEqual([each.status for each in caller.answers()], [413])

    def test_coded_body(self) -> None:
        """A body with a content coding is refused before the client is told to send it."""
        lines = (AUTH, b"Content-Encoding: gzip", b"Content-Length: 9", b"Expect: 100-continue")
        caller = self.caller().send(get(self.target("archive"), *lines, method=b"POST"))
        self.assertEqual([each.status for each in caller.answers()], [415])

    def test_no_callback_url(self) -> None:
        """A workspace that the platform cannot call is reported as for a download."""
        self.add(NOBODY, url=None, delivery_mode="poll")
        for operation in OPERATIONS:
            target = self.target(operation).replace(str(FIRST).encode(), str(NOBODY).encode())
            bearer = b"Authorization: Bearer " + str(NOBODY).encode()
            answer = self.caller().send(get(target, bearer)).answer()
            told = "workspace has no callback URL — download requires push-mode + a public URL"
            self.assertEqual((answer.status, answer.json["error"]), (422, told))


class LogTests(OperationCase):
    """The access log."""

    def test_names(self) -> None:
        """Each operation has its name, and the path's workspace."""
        names = []
        for operation in OPERATIONS:
            self.exchange(self.get(operation), response(b"404 Not Found"))
            (event,) = self.events()
            self.assertEqual((event.workspace, event.status), (str(FIRST), 501))
            names.append(event.operation)
        self.assertEqual(names, ["list", "list", "archive", "digest", "download"])
        self.refused(self.post("archive", b"{}"))
        self.assertEqual([event.operation for event in self.events()], ["archive"])

    def test_bytes(self) -> None:
        """The bytes of an archive are those that were sent, also if its paths came in a body."""
        request = self.post("archive", b'{"paths":[{"path":"/home"}]}')
        self.exchange(request, response(b"200 OK", ZIP, body=b"abc"))
        self.assertEqual([event.bytes for event in self.events()], [3])
