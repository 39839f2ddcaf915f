"""
Operations on files through both roles: the platform relays what the workspace responds.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping

from tests.live.processes import LiveCase, Pair
from tests.live.rawhttp import Response, fetch

CONTENT = b"hello a\n"
#: Headers that differ between the hops.
OF_ONE_HOP = ("server", "date", "x-request-id", "connection", "content-security-policy")


class OperationTests(LiveCase):
    """A workspace that has the operations, and its platform."""

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.write("workspace/operations/a.txt", CONTENT)
        pair.write(b"workspace/operations/\xff", b"x")
        os.mkfifo(pair.at("workspace", "operations", "fifo"))

    def both(
        self,
        operation: str,
        fields: Mapping[str, str] = {},
        method: str = "GET",
        body: bytes | None = None,
    ) -> tuple[Response, Response]:
        """
        :return: the responses of the workspace and of the platform, which are the same but for
            their bodies.
        """
        pair, more = self.pair, {**fields, "X-Request-Id": "same"}
        target = f"/workspaces/{pair.id}/fs/{operation}"
        ways = (
            (pair.workspace, "/internal/fs/" + operation, pair.inbound),
            (pair.platform, target, pair.bearer),
        )
        direct, through = (
            fetch(role.url, target, {**credential, **more}, method=method, body=body)
            for role, target, credential in ways
        )
        self.assertEqual(direct.status, through.status, operation)
        self.assertEqual(self.shared(direct), self.shared(through), operation)
        return direct, through

    def operate(
        self, operation: str, fields: Mapping[str, str] = {}, method: str = "GET"
    ) -> Response:
        """:return: the response of both roles, which is the same."""
        direct, through = self.both(operation, fields, method)
        self.assertEqual(direct.body, through.body, operation)
        return through

    def shared(self, answer: Response) -> list[tuple[str, str]]:
        """:return: the headers that are the same on both hops, sorted."""
        return sorted(field for field in answer.fields if field[0] not in OF_ONE_HOP)

    def test_file(self) -> None:
        """A file by its newer route, with ranges and conditions."""
        query = "file?path=/workspace/operations/a.txt"
        answer = self.operate(query)
        self.assertEqual((answer.status, answer.body), (200, CONTENT))
        etag = answer["etag"]
        for fields, status in (
            ({"Range": "bytes=1-2"}, 206),
            ({"Range": "bytes=99-"}, 416),
            ({"If-None-Match": etag}, 304),
            ({"If-Match": '"x"'}, 412),
            ({"Want-Repr-Digest": "sha-256=1"}, 200),
        ):
            answer = self.operate(query, fields)
            self.assertEqual(answer.status, status)
            self.assertEqual(self.operate(query, fields, "HEAD").status, status)
        self.assertIn("sha-256=:", answer["repr-digest"])
        self.assertEqual(self.operate("file?path=/workspace/operations/%FF").body, b"x")
        shown = self.operate(query + "&disposition=inline")
        self.assertTrue(shown["content-disposition"].startswith("inline"))

    def test_digest(self) -> None:
        """The digest of a file, and under a condition."""
        answer = self.operate("digest?path=/workspace/operations/a.txt")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json["sha256"], hashlib.sha256(CONTENT).hexdigest())
        self.assertIn("repr-digest", dict(answer.fields))
        self.assertNotIn("etag", dict(answer.fields))
        for etag, status in ((answer.json["etag"], 200), ('"x"', 412)):
            fields = {"If-Match": etag}
            answer = self.operate("digest?path=/workspace/operations/a.txt", fields)
            self.assertEqual(answer.status, status)

    def test_errors(self) -> None:
        """What is not there is 404, and not taken for an operation that is not there."""
        for operation in ("file", "digest", "archive"):
            for path, status, code in (
                ("/workspace/operations/missing", 404, "file_not_found"),
                ("/workspace/operations/a.txt/x", 404, "file_not_found"),
                ("/workspace/operations/fifo", 400, "not_a_regular_file"),
                ("/workspace/operations/", 400, "invalid_path"),
            ):
                query = f"{operation}?path={path}"
                answer = self.operate(query)
                self.assertEqual((answer.status, answer.json["code"]), (status, code), query)
                self.assertEqual(self.operate(query, method="HEAD").status, status)

    def names(self, answer: Response) -> list[str]:
        """:return: the names in a zip."""
        with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
            self.assertIsNone(archive.testzip())
            return archive.namelist()

    def test_archive(self) -> None:
        """An archive by a query and by a body; ``HEAD`` has the same headers."""
        query = "archive?path=/workspace/operations"
        for answer in self.both(query):
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer["transfer-encoding"], "chunked")
            self.assertIn("operations/a.txt", self.names(answer))
            self.assertEqual(answer["chatfiles-archive-entries"], "3")
            self.assertIn("operations.zip", answer["content-disposition"])
            self.assertEqual(answer["accept-ranges"], "none")
        head, _ = self.both(query, method="HEAD")
        self.assertEqual(head["chatfiles-archive-entries"], "3")
        paths = [{"path": "/workspace/operations/a.txt"}, {"ref": "/workspace/operations/%FF"}]
        for form in ("zip", "tar", "tar.gz"):
            body = json.dumps({"paths": paths, "format": form, "name": "a b"}).encode()
            for answer in self.both("archive", method="POST", body=body):
                self.assertEqual(answer.status, 200)
                self.assertIn(f'filename="a_b.{form}"', answer["content-disposition"])
                self.assertEqual(answer["chatfiles-archive-entries"], "3")  # the top, too

    def test_refused_bodies(self) -> None:
        """A body that is not valid is refused by both roles in the same way."""
        missing = {"path": "/workspace/operations/missing"}
        for paths, status, detail in (
            ([{"path": "/workspace/operations"}, {"path": "/etc/passwd"}], 400, "/etc/passwd"),
            ([{"path": "/workspace/operations"}, missing], 404, missing["path"]),
            ([{"path": "/workspace", "ref": "/workspace"}], 400, None),
            ([], 400, None),
        ):
            body = json.dumps({"paths": paths}).encode()
            direct, through = self.both("archive", method="POST", body=body)
            self.assertEqual(direct.body, through.body)
            self.assertEqual((through.status, through.json.get("detail")), (status, detail))

    def test_log(self) -> None:
        """Each role logs an operation by its own name."""
        self.operate("file?path=/workspace/operations/a.txt")
        self.pair.platform.logged(r"same .* download 200 8 bytes .* complete")
        self.operate("digest?path=/workspace/operations/a.txt")
        self.pair.platform.logged(r"same .* digest 200 [0-9]+ bytes .* complete")
