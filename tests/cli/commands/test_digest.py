"""
``chatfiles digest``, ``get --verify`` and ``put --verify``: bytes are compared with a SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import time

from click.testing import Result

from tests.cli.cli_stub import WORKSPACE, StubCase, counted, said

BODY = bytes(range(256)) * 4
SHA256 = hashlib.sha256(BODY).hexdigest()
OTHER = hashlib.sha256(b"").hexdigest()
ETAG = 'ETag: "v1"'
MISSING = said("404 Not Found", {"error": "file not found", "code": "file_not_found"})


def field(digest: str) -> str:
    """:return: the header with *digest*."""
    return f"Repr-Digest: sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:"


def known(digest: str) -> bytes:
    """:return: the response of a workspace that knows *digest*."""
    return said("200 OK", {"ref": "/workspace/f", "size": 1024, "etag": '"v1"', "sha256": digest})


def computing(done: int, *headers: str) -> bytes:
    """:return: the response of a workspace that has read *done* bytes."""
    return said("202 Accepted", {"status": "computing", "done": done, "size": 1024}, *headers)


class DigestCase(StubCase):
    def setUp(self) -> None:
        super().setUp()
        self.pauses: list[float] = []
        self.patch(time, "sleep", self.pauses.append)


class DigestTests(DigestCase):
    """``chatfiles digest``."""

    def digest(self, *paths: str) -> Result:
        """Run ``chatfiles digest`` with the test's token."""
        return self.invoke("digest", "--token-file", "token", WORKSPACE, *paths)

    def test_lines(self) -> None:
        """Digests are printed as sha256sum prints them, with its escapes."""
        self.play(known(SHA256), known(OTHER))
        result = self.digest("/workspace/f", "/workspace/a\\\nb\udcff")
        self.ended(result, 0)
        expected = f"{SHA256}  /workspace/f\n\\{OTHER}  /workspace/a\\\\\\nb".encode() + b"\xff\n"
        self.assertEqual(result.stdout_bytes, expected)
        route = f"/workspaces/{WORKSPACE}/fs/digest?path=/workspace/"
        self.assertEqual(
            [asked.target for asked in self.asked], [route + "f", route + "a%5C%0Ab%FF"]
        )

    def test_computing(self) -> None:
        """While the workspace computes, the command asks again when it is told to."""
        self.play(
            computing(0, "Retry-After: 7"),
            computing(512, "Retry-After: 86400"),
            computing(256),
            computing(1024, "Retry-After: soon"),
            known(SHA256),
        )
        self.ended(self.digest("/workspace/f"), 0)
        self.assertEqual(self.pauses, [7, 30, 2, 2])

    def test_directory(self) -> None:
        """A directory has no digest; the hint leads to those of its files."""
        self.play(said("400 X", {"error": "path is not a regular file"}))
        result = self.digest("/workspace/d")
        self.ended(result, 5, "`chatfiles ls -R` lists the files below a directory")
        self.assertNotIn("--archive", result.stderr)

    def test_failures(self) -> None:
        """A file that fails does not hide the others; its status is that of the command."""
        self.play(MISSING, known(SHA256), said("403 Forbidden", {"error": "permission denied"}))
        result = self.digest("/workspace/a", "/workspace/f", "/workspace/b")
        self.ended(result, 3, "chatfiles: /workspace/a: file not found", "/workspace/b: permission")
        self.assertEqual(result.stdout, f"{SHA256}  /workspace/f\n")

    def test_workspace_fails(self) -> None:
        """A workspace that fails for one file is asked for the others."""
        for status, code, expected in (
            ("502 Bad Gateway", "workspace_unreachable", 6),
            ("503 Service Unavailable", "unavailable", 6),
            ("200 OK", "", 7),
        ):
            self.play(said(status, {"error": "x", "code": code}), known(SHA256))
            result = self.digest("/workspace/a", "/workspace/f")
            self.ended(result, expected, "chatfiles: /workspace/a: ")
            self.assertEqual(result.stdout, f"{SHA256}  /workspace/f\n")

    def test_platform_is_gone(self) -> None:
        """Without a platform, one attempt is enough."""
        self.play(b"", b"")
        self.ended(self.digest("/workspace/a", "/workspace/b"), 6)
        self.assertEqual(len(self.asked), 1)

    def test_stops(self) -> None:
        """An error that is not that of one file ends the command."""
        self.play(said("404 Not Found", {"error": "workspace not found"}))
        self.ended(self.digest("/workspace/a", "/workspace/b"), 3, "workspace not found")
        self.play(said("401 Unauthorized", {"error": "invalid", "code": "invalid_token"}))
        self.ended(self.digest("/workspace/a", "/workspace/b"), 4)
        self.assertEqual(len(self.asked), 2)

    def test_changing(self) -> None:
        """A file that changes all the time has no digest."""
        changing = {"error": "file is changing", "code": "file_changing"}
        self.play(said("409 Conflict", changing))
        self.ended(self.digest("/workspace/f"), 5, "file is changing", "a program writes to it")

    def test_untrusted(self) -> None:
        """What is no digest is refused."""
        digests: tuple[object, ...] = (None, 1, SHA256.upper(), SHA256 + "0")
        for value in ([], *({"sha256": digest} for digest in digests)):
            self.play(said("200 OK", value))
            self.ended(self.digest("/workspace/f"), 7, "cannot be trusted")
        self.play(said("202 Accepted", {"status": "computing", "done": "1"}))
        self.ended(self.digest("/workspace/f"), 7, "cannot be trusted")


class GetTests(DigestCase):
    """``chatfiles get --verify``."""

    def refused(self, result: Result, expected: str) -> None:
        self.ended(result, 7, f"downloaded bytes do not match sha256 {expected}", SHA256)
        self.assertEqual(self.files(), [])

    def test_asks(self) -> None:
        """The digest is asked for with ``--verify`` only."""
        self.play(counted(BODY), counted(BODY, field(SHA256)))
        self.ended(self.get("/workspace/a"), 0)
        self.ended(self.get("/workspace/b", "--verify"), 0)
        wanted = [asked.headers["Want-Repr-Digest"] for asked in self.asked]
        self.assertEqual(wanted, [None, "sha-256=10"])
        self.assertEqual(self.read("b"), BODY)

    def test_differs(self) -> None:
        """Bytes that do not have the announced digest are not saved."""
        self.play(counted(BODY, field(OTHER)))
        self.refused(self.get("/workspace/f", "--verify"), OTHER)

    def test_asked_afterwards(self) -> None:
        """Without the header, the digest of this version is asked for."""
        for etag, condition in (('"v1"', '"v1"'), ('W/"v1"', None)):
            self.play(counted(BODY, f"ETag: {etag}"), computing(1), known(SHA256))
            self.ended(self.get("/workspace/f", "--verify", "-f"), 0)
            self.assertEqual(self.asked[-1].headers["If-Match"], condition)
            self.assertTrue(self.asked[-1].target.endswith("/fs/digest?path=/workspace/f"))

    def test_differs_afterwards(self) -> None:
        """Bytes that do not have the digest that was asked for are not saved."""
        for malformed in ("", "x", field(OTHER) + ", sha-256=1", field(OTHER)[:-2]):
            headers = [malformed] if malformed.startswith("Repr") else []
            self.play(counted(BODY, ETAG, *headers), known(OTHER))
            self.refused(self.get("/workspace/f", "--verify"), OTHER)

    def test_changed(self) -> None:
        """A file that has changed meanwhile cannot be verified."""
        self.play(counted(BODY, ETAG), said("412 Precondition Failed", {"error": "x"}))
        self.ended(self.get("/workspace/f", "--verify"), 7, "changed since it was downloaded")
        self.assertEqual(self.files(), [])

    def test_not_known(self) -> None:
        """A workspace without digests is named as the reason."""
        missing = {"error": "x", "code": "operation_unsupported"}
        self.play(counted(BODY, ETAG), said("501 Not Implemented", missing))
        self.ended(self.get("/workspace/f", "--verify"), 5, "the workspace is older")
        self.assertEqual(self.files(), [])

    def test_resumed(self) -> None:
        """The digest covers the part of the file that an earlier command has received."""
        rest = counted(
            BODY[1000:],
            ETAG,
            "Content-Range: bytes 1000-1023/1024",
            field(SHA256),
            status="206 Partial Content",
        )
        self.play(counted(BODY, ETAG, short=24), rest)
        self.ended(self.get("/workspace/f", "--verify", "--retries", "0"), 7)
        self.ended(self.get("/workspace/f", "--verify"), 0)
        self.assertEqual((self.read("f"), self.files()), (BODY, ["f"]))

    def test_standard_output(self) -> None:
        """Bytes that were written to standard output are verified too."""
        self.play(counted(BODY, field(SHA256)), counted(BODY, field(OTHER)))
        self.ended(self.get("/workspace/f", "--verify", "-o", "-"), 0)
        result = self.get("/workspace/f", "--verify", "-o", "-")
        self.ended(result, 7, f"downloaded bytes do not match sha256 {OTHER}")


class PutTests(StubCase):
    """``chatfiles put --verify``."""

    def put(self, sha256: str | None, *words: str) -> Result:
        """Send a file to a platform that reports *sha256*."""
        self.write("f", "content")
        stored = {"uri": "workspace:/workspace/x-f", "name": "x-f", "size": 7}
        if sha256 is not None:
            stored["sha256"] = sha256
        self.play(said("200 OK", {"files": [stored]}))
        return self.invoke("put", "--token-file", "token", "f", WORKSPACE, *words)

    def test_compared(self) -> None:
        """A digest that comes back is compared, with the option and without it."""
        sha256 = hashlib.sha256(b"content").hexdigest()
        for words in ([], ["--verify"]):
            self.ended(self.put(sha256, *words), 0)
            self.ended(self.put(OTHER, *words), 7, "was not stored as it was sent")

    def test_none(self) -> None:
        """Without a digest it is a warning, and an error with the option."""
        self.ended(self.put(None), 0, "warning: no SHA-256 came back")
        result = self.put(None, "--verify")
        self.ended(result, 7, "no SHA-256 came back", "stored as /workspace/x-f")
        self.assertEqual(result.stdout, "")
