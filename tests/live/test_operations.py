"""
Operations on files through both roles: the platform relays what the workspace responds.
"""

from __future__ import annotations

import hashlib
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

    def operate(
        self, operation: str, fields: Mapping[str, str] = {}, method: str = "GET"
    ) -> Response:
        """:return: the response of both roles, which is the same."""
        more = {**fields, "X-Request-Id": "same"}
        direct = fetch(
            self.pair.workspace.url,
            "/internal/fs/" + operation,
            {**self.pair.inbound, **more},
            method=method,
        )
        through = fetch(
            self.pair.platform.url,
            f"/workspaces/{self.pair.id}/fs/{operation}",
            {**self.pair.bearer, **more},
            method=method,
        )
        self.assertEqual((direct.status, direct.body), (through.status, through.body), operation)
        self.assertEqual(self.shared(direct), self.shared(through), operation)
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
        for operation in ("file", "digest"):
            for path, status, code in (
                ("/workspace/operations/missing", 404, "file_not_found"),
                ("/workspace/operations", 400, "not_a_regular_file"),
                ("/workspace/operations/", 400, "invalid_path"),
            ):
                query = f"{operation}?path={path}"
                answer = self.operate(query)
                self.assertEqual((answer.status, answer.json["code"]), (status, code), query)
                self.assertEqual(self.operate(query, method="HEAD").status, status)

    def test_log(self) -> None:
        """Each role logs an operation by its own name."""
        self.operate("file?path=/workspace/operations/a.txt")
        self.pair.platform.logged(r"same .* download 200 8 bytes .* complete")
        self.operate("digest?path=/workspace/operations/a.txt")
        self.pair.platform.logged(r"same .* digest 200 [0-9]+ bytes .* complete")
