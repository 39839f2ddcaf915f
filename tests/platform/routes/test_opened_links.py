"""
``/links/…``: who is served, what the workspace receives, and what is sent.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from twisted.internet.error import ConnectionLost

from chatfiles.http.server.observers import TransferEnded
from chatfiles.model import Scope, token_hash
from chatfiles.platform.routes.context import UploadLimits
from chatfiles.rules.link_request import LinkRequest
from chatfiles.rules.signed_links import LinkOperation, link_target, parse_link
from tests.contract.registry_case import FIRST, SECOND, begun
from tests.platform.routes.operation_case import AUTH, OperationCase, response, stream
from tests.support.memory_client import CHUNKED, Received, chunked, get, post

ETAG, OTHER_ETAG = b'"v1"', b'"v2"'
ERROR = b'{"error":"file not found","code":"file_not_found","request_id":"new"}\n'
BROWSER = b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FORM = b"Content-Type: multipart/form-data; boundary=B"
STORED = b'{"files":[]}'


def form(*names: str, content: bytes = b"x") -> bytes:
    """:return: a form with a file of each name, and a field that is no file."""
    parts = [
        b'--B\r\nContent-Disposition: form-data; name="files"; filename="%b"\r\n\r\n%b\r\n'
        % (name.encode(), content)
        for name in names
    ]
    field = b'--B\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    return b"".join([field, *parts, b"--B--\r\n"])


class OpenedCase(OperationCase):
    """A platform with a workspace, whose links are opened."""

    def setUp(self) -> None:
        super().setUp()
        self.context = replace(self.context, limits=UploadLimits(10_000, 10_000))

    def make(self, auth: bytes = AUTH, **body: Any) -> bytes:
        """:return: the target of a link."""
        given = body if body.get("operation") == "upload" else {"path": "/home/a b.png"} | body
        text = json.dumps(given).encode()
        answer = self.ask(post(text, auth, path=f"/workspaces/{FIRST}/links".encode()))
        self.assertEqual(answer.status, 201, answer.body)
        url: str = answer.json["url"]
        return url.encode("ascii")

    def upload_link(self, **body: Any) -> bytes:
        return self.make(operation="upload", **body)

    def told(self, request: bytes) -> tuple[int, str]:
        """:return: the status and code of a refusal."""
        return self.refused(request)

    def lines(self, sent: bytes) -> list[bytes]:
        return sent.partition(b"\r\n\r\n")[0].split(b"\r\n")


class FileTests(OpenedCase):
    """``/links/file``."""

    def test_error_that_is_no_text(self) -> None:
        """A page shows a replacement for what an error of a workspace has that is no text."""
        body = b'{"error":"not \\ud800 found","code":"file_not_found"}'
        _, answer = self.exchange(get(self.make(), BROWSER), response(b"404 Not Found", body=body))
        self.assertEqual(answer.status, 404)
        self.assertIn(b"<h1>not ? found</h1>", answer.body)

    def test_download(self) -> None:
        """The workspace receives the request of a download."""
        for method in (b"GET", b"HEAD"):
            request = get(self.make(), method=method)
            sent, answer = self.exchange(request, response(body=b"hello"))
            start = b"%b /internal/file/read?path=/home/a%%20b.png HTTP/1.1" % method
            self.assertEqual(self.lines(sent)[0], start)
            body = b"hello" if method == b"GET" else b""
            self.assertEqual((answer.status, answer.body), (200, body))
            fields = answer.fields
            self.assertTrue(fields["content-disposition"].startswith("attachment; "))
            self.assertEqual(fields["cache-control"], "private, no-cache")
            self.assertEqual(fields["referrer-policy"], "no-referrer")
            self.assertEqual(fields["x-robots-tag"], "noindex")
            self.assertNotIn("cross-origin-resource-policy", fields)

    def test_inline(self) -> None:
        """A link for viewing asks the workspace for it, and other sites cannot embed it."""
        shown = response(b"200 OK", b"Content-Type: image/png", body=b"hello")
        sent, answer = self.exchange(get(self.make(disposition="inline")), shown)
        target = b"/internal/file/read?path=/home/a%20b.png&disposition=inline"
        self.assertEqual(self.lines(sent)[0].split()[1], target)
        self.assertTrue(answer.fields["content-disposition"].startswith("inline; "))
        self.assertEqual(answer.fields["cross-origin-resource-policy"], "same-origin")
        self.assertIn("sandbox", answer.fields["content-security-policy"])

    def test_unsigned_parameters(self) -> None:
        """Parameters that are not signed are ignored, a wish to view the file above all."""
        for more in (b"disposition=inline", b"path=/home/b", b"d=inline"):
            sent, answer = self.exchange(get(self.make() + b"&" + more), response())
            target = b"/internal/file/read?path=/home/a%20b.png"
            self.assertEqual(self.lines(sent)[0].split()[1], target)
            self.assertTrue(answer.fields["content-disposition"].startswith("attachment; "))

    def test_spelling(self) -> None:
        """A link that a program on the way has spelled in another way is valid."""
        for old, new in ((b"/home/a%20b", b"%2Fhome%2Fa+b"), (b"/home", b"%2fh%6Fme")):
            sent, _ = self.exchange(get(self.make().replace(old, new)), response())
            target = b"/internal/file/read?path=/home/a%20b.png"
            self.assertEqual(self.lines(sent)[0].split()[1], target)

    def test_credentials_are_ignored(self) -> None:
        """A bearer token, valid or not, neither helps nor harms."""
        for bearer in (AUTH, b"Authorization: Bearer wrong", b"Authorization: Basic eA=="):
            sent, answer = self.exchange(get(self.make(), bearer), response())
            self.assertEqual(answer.status, 200)
            authorization = [line for line in self.lines(sent) if b"uthorization" in line]
            self.assertEqual(authorization, [b"Authorization: Bearer secret"])
            told = self.told(get(b"/links/file?" + b"x", bearer))
            self.assertEqual(told, (400, "malformed_link"))

    def test_ranges_and_conditions(self) -> None:
        """They are forwarded as those of a download are."""
        part = b"Content-Range: bytes 1-2/5"
        given = [b"Range: bytes=1-2", b'If-None-Match: "x"']
        answered = response(b"206 Partial Content", part, body=b"el")
        sent, answer = self.exchange(get(self.make(), *given), answered)
        for line in given:
            self.assertIn(line, self.lines(sent))
        self.assertEqual((answer.status, answer.body), (206, b"el"))
        _, answer = self.exchange(get(self.make(), given[1]), response(b"304 Not Modified"))
        self.assertEqual(answer.status, 304)

    def test_changed_secret(self) -> None:
        """The request is sent again if the secret of the workspace has changed."""
        caller, wire = self.begin(get(self.make(version='"v1"')))
        self.patch(self.registry._rows[FIRST], "workspace", self._with_secret("new"))
        wire.send(response(b"401 Unauthorized", b"Connection: close"))
        wire = self.accept()
        sent = wire.sent()
        self.assertIn(b"Authorization: Bearer new", self.lines(sent))
        self.assertIn(b'If-Match: "v1"', self.lines(sent))
        wire.send(response(b"200 OK", b"ETag: " + ETAG))
        caller.settle()
        self.assertEqual(caller.answer().status, 200)

    def _with_secret(self, secret: str) -> Any:
        return replace(self.registry._rows[FIRST].workspace, inbound_secret=secret)

    def test_removed_workspace(self) -> None:
        """A link of the administrator to a workspace that was removed is not found."""
        link = self.make(b"Authorization: Bearer admin")
        self.successResultOf(begun(self.registry.remove_workspace(FIRST)))
        self.assertEqual(self.told(get(link)), (404, "workspace_not_found"))

    def test_no_cors(self) -> None:
        """No header lets the pages of other sites read the file."""
        _, answer = self.exchange(get(self.make(), b"Origin: https://evil.example"), response())
        self.assertFalse([name for name in answer.fields if name.startswith("access-control")])


class VersionTests(OpenedCase):
    """Links to one version of a file."""

    def link(self) -> bytes:
        return self.make(version=ETAG.decode())

    def test_version(self) -> None:
        """The workspace is asked for this version only."""
        answered = response(b"200 OK", b"ETag: " + ETAG)
        for given in ((), (b"If-Match: *",), (b'If-Match: "x", "v1"',), (b"If-Match: " + ETAG,)):
            sent, answer = self.exchange(get(self.link(), *given), answered)
            conditions = [line for line in self.lines(sent) if b"If-Match" in line]
            self.assertEqual(conditions, [b"If-Match: " + ETAG])
            self.assertEqual(answer.status, 200)

    def test_another_version(self) -> None:
        """A workspace that has another version says so; a third-party one may ignore it."""
        _, answer = self.exchange(get(self.link()), response(b"412 Precondition Failed"))
        self.assertEqual(answer.status, 412)
        for answered in (
            response(b"200 OK", b"ETag: " + OTHER_ETAG),
            response(b"200 OK", b"ETag: W/" + ETAG),
            response(b"200 OK"),
            response(b"200 OK", b"ETag: " + ETAG, b"ETag: " + ETAG),
        ):
            _, answer = self.exchange(get(self.link()), answered)
            told = (answer.status, answer.json["code"])
            self.assertEqual(told, (412, "precondition_failed"))
        _, answer = self.exchange(get(self.link()), response(b"404 Not Found", body=ERROR))
        self.assertEqual(answer.status, 404)

    def test_unmodified_since(self) -> None:
        """
        The workspace checks ``If-Unmodified-Since``, which would be ignored beside ``If-Match``,
        and the platform checks the version.
        """
        since = b"If-Unmodified-Since: Mon, 01 Jan 2001 00:00:00 GMT"
        for version, status in ((ETAG, 200), (OTHER_ETAG, 412)):
            answered = response(b"200 OK", b"ETag: " + version)
            sent, answer = self.exchange(get(self.link(), since), answered)
            self.assertIn(since, self.lines(sent))
            self.assertNotIn(b"If-Match", sent)
            self.assertEqual(answer.status, status)

    def test_clients_condition(self) -> None:
        """A client that wants another version gets none."""
        for condition in (b'"v2"', b'W/"v1"', b"v1", b""):
            told = self.told(get(self.link(), b"If-Match: " + condition))
            self.assertEqual(told, (412, "precondition_failed"))


class ArchiveTests(OpenedCase):
    """``/links/archive``."""

    def test_archive(self) -> None:
        """The workspace receives the request for an archive."""
        zipped = b"Content-Type: application/zip"
        for form, path, media_type in (
            (None, b"format=zip", zipped),
            ("zip", b"format=zip", zipped),
            ("tar.gz", b"format=tar.gz", b"Content-Type: application/gzip"),
        ):
            request = get(self.make(operation="archive", format=form))
            answered = stream(media_type, chunks=chunked(b"zip"))
            sent, answer = self.exchange(request, answered)
            target = b"/internal/fs/archive?path=/home/a%20b.png&" + path
            self.assertEqual(self.lines(sent)[0].split()[1], target)
            self.assertEqual((answer.status, answer.body), (200, b"zip"))
            self.assertEqual(answer.fields["referrer-policy"], "no-referrer")

    def test_unsupported(self) -> None:
        """A workspace without archives is no missing file."""
        request = get(self.make(operation="archive"))
        _, answer = self.exchange(request, response(b"404 Not Found"))
        self.assertEqual((answer.status, answer.json["code"]), (501, "operation_unsupported"))


class UploadTests(OpenedCase):
    """``/links/upload``."""

    def upload(self, link: bytes, body: bytes, *lines: bytes) -> tuple[bytes, Received]:
        """:return: what the workspace received, and what the client received."""
        caller, wire = self.begin(post(body, FORM, *lines, path=link))
        sent = wire.sent()
        wire.send(response(b"200 OK", b"Content-Type: application/json", body=STORED))
        wire.lose(ConnectionLost())
        caller.settle()
        return sent, caller.answer()

    def refused_upload(self, link: bytes, body: bytes) -> tuple[int, str, str]:
        """:return: the status, the code and the text of a refusal."""
        caller = self.caller().send(post(body, FORM, path=link))
        answer = caller.answer().json
        return caller.answer().status, answer["code"], answer["error"]

    def test_upload(self) -> None:
        """The workspace receives the form as it was sent; a link may be used again."""
        link = self.upload_link()
        for _ in range(2):
            sent, answer = self.upload(link, form("a", "b"))
            self.assertEqual(self.lines(sent)[0], b"POST /internal/chat/uploads/ingest HTTP/1.1")
            self.assertTrue(sent.endswith(form("a", "b")))
            self.assertEqual((answer.status, answer.body), (200, STORED))
            self.assertEqual(answer.fields["x-robots-tag"], "noindex")

    def test_limits(self) -> None:
        """What is within the limits of a link is forwarded."""
        body = form("a", "b", "c")
        for given in ({"max_files": 3}, {"max_bytes": len(body)}, {"max_files": 64}):
            sent, answer = self.upload(self.upload_link(**given), body)
            self.assertTrue(sent.endswith(body))
            self.assertEqual(answer.status, 200)

    def test_too_many_bytes(self) -> None:
        """A declared length over the limit is refused before the workspace is asked."""
        body = form("a", content=b"x" * 100)
        refusal = self.refused_upload(self.upload_link(max_bytes=len(body) - 1), body)
        text = f"request body exceeds total limit ({len(body) - 1} bytes)"
        self.assertEqual(refusal, (413, "request_too_large", text))
        self.assertEqual(self.connections, 0)

    def test_too_many_bytes_in_chunks(self) -> None:
        """A body of unknown length ends when it is over the limit."""
        link = self.upload_link(max_bytes=1000)
        request = get(link, FORM, CHUNKED, method=b"POST")
        caller, wire = self.begin(request + chunked(form("a", content=b"x" * 1000)))
        caller.settle()
        answer = caller.answer()
        self.assertEqual((answer.status, answer.json["code"]), (413, "request_too_large"))
        self.assertIn("1000 bytes", answer.json["error"])
        self.assertNotIn(b"x" * 1000, wire.sent())

    def test_too_many_files(self) -> None:
        """The file that is too much does not reach the workspace, so it stores none of them."""
        link = self.upload_link(max_files=2)
        caller, wire = self.begin(post(form("a", "b", "c"), FORM, path=link))
        answer = caller.answer()
        told = (answer.status, answer.json["code"], answer.json["error"])
        self.assertEqual(told, (413, "too_many_files", "too many files (limit 2)"))
        self.assertNotIn(b"--B--", wire.sent())

    def test_too_many_files_for_the_platform(self) -> None:
        """Without a limit of the link, and over it, the platform's limit holds."""
        link, more = self.upload_link(), self.upload_link(max_files=3)
        self.context = replace(self.context, limits=UploadLimits(10_000, 10_000, 2))
        for each in (link, more):
            caller, _ = self.begin(post(form("a", "b", "c"), FORM, path=each))
            answer = caller.answer()
            told = (answer.status, answer.json["code"], answer.json["error"])
            self.assertEqual(told, (413, "too_many_files", "too many files (limit 2)"))

    def test_lower_limit_of_the_platform(self) -> None:
        """The limit of the platform holds for links that were made before it was lowered."""
        link = self.upload_link(max_bytes=10_000)
        self.context = replace(self.context, limits=UploadLimits(100, 100))
        refusal = self.refused_upload(link, form("a", content=b"x" * 100))
        self.assertEqual(refusal[:2], (413, "request_too_large"))

    def test_no_form(self) -> None:
        """Only forms are accepted, as for every upload."""
        request = post(b"x", b"Content-Type: text/plain", path=self.upload_link())
        self.assertEqual(self.told(request), (415, "unsupported_media_type"))

    def test_malformed_form(self) -> None:
        """A form whose files cannot be counted is refused."""
        body = form("a").replace(b"filename", b"\x00\r\nfilename")
        caller, _ = self.begin(post(body, FORM, path=self.upload_link(max_files=2)))
        answer = caller.answer()
        self.assertEqual((answer.status, answer.json["code"]), (400, "invalid_multipart"))


class HostileTests(OpenedCase):
    """A workspace that sends pages of its own: the browser saves what is no file, and no error."""

    def test_page_of_a_workspace(self) -> None:
        """No status makes a browser show its HTML."""
        html, plain = b"Content-Type: text/html", b"Content-Type: application/json"
        for status in (b"200 OK", b"203 Other", b"299 Odd", b"404 Not Found"):
            answered = response(status, html)
            for request in (get(self.make()), post(form("a"), FORM, path=self.upload_link())):
                _, answer = self.exchange(request, answered)
                self.assertRegex(answer.fields["content-disposition"], r"\Aattachment\b")
            _, answer = self.exchange(request, response(status, plain, body=STORED))
            self.assertNotIn("content-disposition", answer.fields)
        for status in (b"204 No Content", b"304 Not Modified"):
            _, answer = self.exchange(get(self.make()), b"HTTP/1.1 %b\r\n\r\n" % status)
            self.assertNotIn("content-disposition", answer.fields)


class RefusedTests(OpenedCase):
    """What is refused, and in which order."""

    def test_table(self) -> None:
        """Each fault has its response, also with a method that does not fit."""
        reader = self.add_token("reader", Scope.READ)
        bearer = b"Authorization: Bearer reader"
        gone = self.make(bearer)
        self.successResultOf(begun(self.registry.revoke_token(FIRST, reader)))
        short, good = self.make(expires_in=1), self.make(expires_in=604800)
        self.moment += timedelta(seconds=2)
        repeated = good + b"&e=" + re.findall(rb"&e=(\d+)", good)[0]
        wrong = good.replace(b"/home/a", b"/home/b")
        for link, status, code in (
            (b"/links/file", 400, "malformed_link"),
            (b"/links/file?", 400, "malformed_link"),
            (repeated, 400, "malformed_link"),
            (good[:-1], 400, "malformed_link"),
            (wrong, 403, "invalid_link"),
            (good.replace(b"/file", b"/archive"), 403, "invalid_link"),
            (good.replace(b"/file", b"/upload"), 403, "invalid_link"),
            (short, 403, "link_expired"),
            (gone, 403, "link_revoked"),
        ):
            for method in (b"GET", b"POST", b"DELETE", b"PUT", b"OPTIONS", b"get", b"X"):
                self.assertEqual(self.told(get(link, method=method)), (status, code), link)

    def add_token(self, name: str, *scopes: Scope) -> UUID:
        adding = self.registry.create_token(
            FIRST, digest=token_hash(name), prefix="", scopes=frozenset(scopes), name=None
        )
        token: Any = self.successResultOf(begun(adding))
        token_id: UUID = token.id
        return token_id

    def test_methods(self) -> None:
        """A valid link with another method is 405, with those that fit."""
        for link, allowed, methods in (
            (self.make(), "GET, HEAD", (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH")),
            (self.make(operation="archive"), "GET, HEAD", (b"POST", b"DELETE")),
            (self.upload_link(), "POST", (b"GET", b"PUT", b"OPTIONS")),
        ):
            for method in methods:
                answer = self.caller().send(get(link, method=method)).answer()
                self.assertEqual((answer.status, answer.fields["allow"]), (405, allowed))
        caller = self.caller().send(get(self.upload_link(), method=b"HEAD"))
        self.assertEqual(caller.answer(head=True).status, 405)

    def test_other_routes(self) -> None:
        """There are three routes."""
        for path in (b"/links", b"/links/", b"/links/x", b"/links/file/", b"/links/file/a"):
            target = path + b"?" + self.make().partition(b"?")[2]
            self.assertEqual(self.told(get(target)), (404, "no_route"))

    def test_options_of_the_future(self) -> None:
        """A link with an option that this version does not know is not opened without it."""
        self.make()
        asked = LinkRequest(LinkOperation.FILE, b"/home/a", b"x=1", 60)
        made = self.successResultOf(begun(self.context.links.make(FIRST, asked, "admin-8c6976e5")))
        self.assertEqual(self.told(get(made.url.encode())), (403, "invalid_link"))

    def signed(self, operation: LinkOperation, **values: Any) -> bytes:
        """:return: the target of a link that another program has signed with the key."""
        self.make()
        (key,) = self.successResultOf(begun(self.registry.link_keys()))
        parsed = parse_link(operation, self.make(operation=operation).partition(b"?")[2])
        return link_target(replace(parsed.link, **values), key.id, key.key).encode()

    def test_values_that_are_not_ours(self) -> None:
        """Values that this platform does not sign are refused, and not logged."""
        for token_id in (b"\xff", b"admin-\xff", b"a\0", b"a\nb", b"", b"?", b"x" * 400):
            link = self.signed(LinkOperation.FILE, token_id=token_id)
            self.events()
            self.assertEqual(self.told(get(link)), (403, "link_revoked"))
            actors = [
                (each.actor.kind, each.actor.token_id) for each in self.events() if each.actor
            ]
            self.assertEqual(actors, [("link", "?")])
        file, upload = LinkOperation.FILE, LinkOperation.UPLOAD
        for operation, options in (
            (file, b"v=\xff"),
            (file, b"v=a\0b"),
            (file, b"d=x"),
            (LinkOperation.ARCHIVE, b"f=\xff"),
            *((upload, b"mb=" + text) for text in (b"1e3", b"", b"-1", "５".encode(), b"9" * 5000)),
        ):
            link = self.signed(operation, options=options)
            request = get(link, method=b"POST" if operation is upload else b"GET")
            self.assertEqual(self.told(request), (403, "invalid_link"), options)

    def test_headers_of_refusals(self) -> None:
        """Errors have the headers of links, too, and no challenge."""
        for link in (b"/links/file", self.make().replace(b"home", b"hame")):
            answer = self.caller().send(get(link)).answer()
            self.assertEqual(answer.fields["referrer-policy"], "no-referrer")
            self.assertEqual(answer.fields["x-robots-tag"], "noindex")
            self.assertEqual(answer.fields["cache-control"], "no-store")
            self.assertNotIn("www-authenticate", answer.fields)

    def test_outage(self) -> None:
        """Without the registry it is not known whether a link is valid."""
        link = self.make()
        self.registry.failing = True
        self.assertEqual(self.told(get(link)), (503, "platform_unavailable"))


class PageTests(OpenedCase):
    """Errors for people."""

    def page(self, request: bytes, *pieces: bytes) -> Received:
        if pieces:
            _, answer = self.exchange(request, *pieces)
        else:
            answer = self.caller().send(request).answer()
        self.assertEqual(answer.fields["content-type"], "text/html; charset=utf-8")
        self.assertEqual(answer.fields["cache-control"], "no-store")
        self.assertEqual(answer.fields["x-content-type-options"], "nosniff")
        policy = answer.fields["content-security-policy"]
        self.assertIn("default-src 'none'; style-src 'sha256-", policy)
        self.assertNotIn("unsafe", policy)
        self.assertLessEqual(len(answer.body), 1024)
        self.assertNotIn(b"<script", answer.body)
        return answer

    def test_refusals(self) -> None:
        """A browser gets a page with the sentence that programs get."""
        self.context = replace(self.context, ui=False)
        for link, status, sentence in (
            (b"/links/file", 400, b"malformed link"),
            (self.make().replace(b"home", b"hame"), 403, b"link is not valid"),
            (self.upload_link(), 405, b"method not allowed"),
        ):
            answer = self.page(get(link, BROWSER))
            self.assertEqual(answer.status, status)
            self.assertIn(b"<h1>" + sentence + b"</h1>", answer.body)
            self.assertIn(b"new", answer.body)
            self.assertEqual(answer.fields["referrer-policy"], "no-referrer")
        self.assertEqual(answer.fields["allow"], "POST")

    def test_programs(self) -> None:
        """Others get JSON."""
        for accept in (b"*/*", b"application/json", b"text/html;q=0.5, application/json", b""):
            answer = self.caller().send(get(b"/links/file", b"Accept: " + accept)).answer()
            self.assertEqual(answer.json["code"], "malformed_link")

    def test_no_route(self) -> None:
        """So is a link whose path was changed."""
        for path in (b"/links", b"/links/", b"/links/fil", b"/links/file/", b"/links/file/a?w=x"):
            answer = self.page(get(path, BROWSER))
            self.assertEqual(answer.status, 404)
            self.assertIn(b"Copy all of it", answer.body)
            self.assertEqual(answer.fields["referrer-policy"], "no-referrer")
        for path in (b"/link/file", b"/x/links/file"):
            answer = self.caller().send(get(path, BROWSER)).answer()
            self.assertEqual(answer.json["code"], "no_route")
            self.assertNotIn("x-robots-tag", answer.fields)

    def test_only_for_links(self) -> None:
        """The errors of other routes are JSON."""
        answer = self.caller().send(get(f"/workspaces/{FIRST}".encode(), BROWSER)).answer()
        self.assertEqual(answer.json["code"], "missing_token")

    def test_relayed(self) -> None:
        """An error of the workspace is a page, too."""
        for body, sentence in (
            (ERROR, b"file not found"),
            (b"", b"Not Found"),
            (b"<h1>x</h1>", b"Not Found"),
            (b'{"detail":"Not Found"}', b"Not Found"),
            (b'{"error":"<img src=x>","code":"<b>"}', b"&lt;img src=x&gt;"),
        ):
            answer = self.page(get(self.make(), BROWSER), response(b"404 Not Found", body=body))
            self.assertEqual(answer.status, 404)
            self.assertIn(b"<h1>" + sentence + b"</h1>", answer.body)

    def test_relayed_headers(self) -> None:
        """A page has the headers that its status needs."""
        part = response(b"416 Range Not Satisfiable", b"Content-Range: bytes */5", body=ERROR)
        answer = self.page(get(self.make(), BROWSER, b"Range: bytes=9-"), part)
        self.assertEqual((answer.status, answer.fields["content-range"]), (416, "bytes */5"))
        busy = b'{"error":"busy","code":"unavailable","retry_after_seconds":7}'
        given = response(b"503 Service Unavailable", b"Content-Range: bytes */5", body=busy)
        answer = self.page(get(self.make(), BROWSER), given)
        self.assertEqual(answer.fields["retry-after"], "7")
        self.assertNotIn("content-range", answer.fields)

    def test_relayed_values_of_a_hostile_workspace(self) -> None:
        """A page shows no control or bidirectional characters, and waits a day at most."""
        body = json.dumps(
            {"error": "a\u202eb\x1b\x85\u2066c d", "retry_after_seconds": 10**30}
        ).encode()
        answer = self.page(get(self.make(), BROWSER), response(b"503 Busy", body=body))
        self.assertIn(b"<h1>abc d</h1>", answer.body)
        self.assertEqual(answer.fields["retry-after"], "86400")

    def test_relayed_upload(self) -> None:
        """So is the refusal of an upload."""
        error = b'{"error":"no space left","code":"no_space"}'
        request = post(form("a"), FORM, BROWSER, path=self.upload_link())
        answer = self.page(request, response(b"507 Insufficient Storage", body=error))
        self.assertEqual(answer.status, 507)
        self.assertIn(b"no space left", answer.body)

    def test_relayed_archive(self) -> None:
        """So is an archive that cannot be made."""
        request = get(self.make(operation="archive"), BROWSER)
        answer = self.page(request, response(b"404 Not Found", body=ERROR))
        self.assertIn(b"file not found", answer.body)

    def test_relayed_to_programs(self) -> None:
        """Programs get the workspace's error as it is."""
        _, answer = self.exchange(get(self.make()), response(b"404 Not Found", body=ERROR))
        self.assertEqual(answer.body, ERROR)

    def test_interrupted(self) -> None:
        """An error that does not arrive is an error of the connection."""
        caller, wire = self.begin(get(self.make(), BROWSER))
        wire.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nx")
        wire.lose(ConnectionLost())
        caller.settle()
        self.assertEqual(caller.answer().status, 502)

    def test_success(self) -> None:
        """A browser gets the file."""
        _, answer = self.exchange(get(self.make(), BROWSER), response(body=b"hello"))
        self.assertEqual((answer.status, answer.body), (200, b"hello"))

    def test_head(self) -> None:
        """``HEAD`` has the headers of the page."""
        caller = self.caller().send(get(b"/links/file", BROWSER, method=b"HEAD"))
        answer = caller.answer(head=True)
        self.assertEqual(answer.fields["content-type"], "text/html; charset=utf-8")

    def test_relayed_head(self) -> None:
        """``HEAD`` does not announce the length of a page whose text only ``GET`` receives."""
        request = get(self.make(), BROWSER, method=b"HEAD")
        _, answer = self.exchange(request, b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n")
        self.assertEqual((answer.status, answer.body), (404, b""))
        self.assertNotIn("content-length", answer.fields)
        self.assertNotIn("transfer-encoding", answer.fields)


class LogTests(OpenedCase):
    """What observers are notified of."""

    def test_credential(self) -> None:
        """A request names the token of its link, and the operation as ever."""
        (token,) = self.successResultOf(begun(self.registry.tokens(FIRST)))
        link, upload = self.make(), self.upload_link()
        self.events()
        self.exchange(get(link), response())
        self.exchange(post(form("a"), FORM, path=upload), response(body=STORED))
        told = [(each.workspace, each.operation, _credential(each)) for each in self.events()]
        by = f"link {token.id}"
        self.assertEqual(told, [(str(FIRST), "download", by), (str(FIRST), "upload", by)])

    def test_refused(self) -> None:
        """A link that is not valid names nothing: anyone can write such a link."""
        link = self.make().replace(b"home", b"hame")
        self.events()
        self.told(get(link))
        (event,) = self.events()
        told = (event.workspace, event.operation, event.outcome, _credential(event))
        self.assertEqual(told, ("-", "download", "invalid_link", ""))

    def test_expired(self) -> None:
        """A link that has expired names its workspace and token: its signature is right."""
        link = self.make(expires_in=1)
        self.moment += timedelta(seconds=2)
        self.events()
        self.assertEqual(self.told(get(link)), (403, "link_expired"))
        (event,) = self.events()
        self.assertEqual((event.outcome, event.workspace), ("link_expired", str(FIRST)))
        self.assertTrue(_credential(event).startswith("link "))

    def test_revoked(self) -> None:
        """A link that was revoked names its token."""
        link = self.make()
        self.successResultOf(begun(self.registry.revoke_links(FIRST)))
        self.events()
        self.told(get(link))
        (event,) = self.events()
        self.assertEqual((event.outcome, event.workspace), ("link_revoked", str(FIRST)))
        self.assertTrue(_credential(event).startswith("link "))

    def test_bearer(self) -> None:
        """A request with a bearer token names no link."""
        self.exchange(self.get("roots"), response(body=b"{}"))
        self.assertEqual([_credential(each) for each in self.events()], ["token"])


def _credential(event: TransferEnded) -> str:
    """:return: the kind of the credential, and the id of the token that made a link."""
    actor = event.actor
    if actor is None:
        return ""
    return f"{actor.kind} {actor.token_id}" if actor.kind == "link" else actor.kind


class OtherWorkspaceTests(OpenedCase):
    """Links and other workspaces."""

    def test_token_that_moved(self) -> None:
        """A link ends when its token opens another workspace."""
        link = self.make()
        (token,) = self.successResultOf(begun(self.registry.tokens(FIRST)))
        self.registry._entries[token.id].token = replace(token, workspace_id=SECOND)
        self.assertEqual(self.told(get(link)), (403, "link_revoked"))


class DropPageTests(OpenedCase):
    """What people see who open an upload link."""

    def test_page(self) -> None:
        """A browser gets the document of the web page, with its headers; nothing is logged."""
        link = self.upload_link()
        for method in (b"GET", b"HEAD"):
            answer = self.caller().send(get(link, BROWSER, method=method)).answer()
            self.assertEqual(answer.status, 200)
            document = self.caller().send(get(b"/ui/", method=method)).answer()
            self.assertEqual(answer.body, document.body)
            fields = {"x-robots-tag": "noindex", "vary": "Accept"}
            self.assertEqual(answer.fields, document.fields | fields)

    def test_refused(self) -> None:
        """A link that is not valid has no such page."""
        link = self.upload_link(expires_in=60)
        self.moment += timedelta(seconds=60)
        answer = self.caller().send(get(link, BROWSER)).answer()
        self.assertEqual(answer.status, 403)
        self.assertNotIn(b"<script", answer.body)

    def test_others(self) -> None:
        """Programs, and other links, have no such page; methods that remain are named."""
        link = self.upload_link()
        for request, allowed in (
            (get(link), "POST"),
            (get(link, b"Accept: */*"), "POST"),
            (get(link, BROWSER, method=b"PUT"), "GET, HEAD, POST"),
            (get(self.make(), BROWSER, method=b"PUT"), "GET, HEAD"),
        ):
            answer = self.caller().send(request).answer()
            self.assertEqual((answer.status, answer.fields["allow"]), (405, allowed))
