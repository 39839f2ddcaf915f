"""
``chatfiles put`` with a path, ``rm``, ``mkdir`` and ``mv`` against a stub of the platform.
"""

from __future__ import annotations

import hashlib

from click.testing import Result

from tests.cli.cli_stub import WORKSPACE, StubCase, answer, said

CONTENT = "content"
SHA256 = hashlib.sha256(CONTENT.encode()).hexdigest()
WRITTEN = {"ref": "/workspace/out/a", "size": 7, "etag": '"v"', "sha256": SHA256}
FILE = f"/workspaces/{WORKSPACE}/fs/file?path=/workspace/out/a"
PLACE = f"{WORKSPACE}:/workspace/out/a"
GONE = answer("204 No Content")


class WriteCase(StubCase):
    """Runs commands with the test's token."""

    def setUp(self) -> None:
        super().setUp()
        self.write("a", CONTENT)

    def command(self, name: str, *words: str) -> Result:
        """Run a command."""
        return self.invoke(name, "--token-file", "token", *words)


class PutTests(WriteCase):
    """``chatfiles put FILE WORKSPACE:/path``."""

    def test_request(self) -> None:
        """The file is the body; each option is a parameter or a header."""
        for words, target, header in (
            ((), FILE, None),
            (("--parents", "--mode", "640"), FILE + "&parents=1&mode=640", None),
            (("--if-absent",), FILE, ("If-None-Match", "*")),
            (("--if-match", "v"), FILE, ("If-Match", '"v"')),
            (("--if-match", '"v"'), FILE, ("If-Match", '"v"')),
            (("--if-match", "*"), FILE, ("If-Match", "*")),
        ):
            self.play(said("201 Created", WRITTEN))
            result = self.command("put", "a", PLACE, *words)
            self.ended(result, 0)
            self.assertEqual(result.stdout, "/workspace/out/a\n")
            asked = self.asked[-1]
            self.assertEqual((asked.method, asked.target), ("PUT", target))
            self.assertEqual(asked.body, CONTENT.encode())
            if header is not None:
                self.assertEqual(asked.headers[header[0]], header[1])

    def test_into_a_directory(self) -> None:
        """A path that ends with a slash is completed with the name of the file."""
        self.play(said("200 OK", WRITTEN))
        self.ended(self.command("put", "./a", f"{WORKSPACE}:/workspace/out/"), 0)
        self.assertEqual(self.asked[-1].target, FILE)
        self.play(said("200 OK", WRITTEN))
        self.ended(self.command("put", "./a", "--name", "b", f"{WORKSPACE}:/workspace/out/"), 0)
        self.assertEqual(self.asked[-1].target, FILE[:-1] + "b")
        for words, text in (
            (("-", f"{WORKSPACE}:/workspace/out/"), "standard input has no name"),
            (("a", "--name", "b", f"{WORKSPACE}:/workspace/out"), "PATH has the name"),
            (("a", "a", f"{WORKSPACE}:/workspace/out"), "one FILE"),
        ):
            self.ended(self.command("put", *words), 2, text)

    def test_json(self) -> None:
        """``--json`` prints the platform's response."""
        self.play(said("200 OK", WRITTEN))
        self.assertIn(SHA256, self.command("put", "a", PLACE, "--json").stdout)

    def test_refused(self) -> None:
        """Refusals have their exit statuses and hints."""
        for status, code, expected, hint in (
            ("412 Precondition Failed", "precondition_failed", 5, "`chatfiles stat`"),
            ("403 Forbidden", "not_writable", 5, "--writable"),
            ("404 Not Found", "parent_not_found", 3, "--parents"),
            ("422 Unprocessable Content", "digest_mismatch", 5, "send it again"),
            ("413 Content Too Large", "file_too_large", 5, "/uploads/limits"),
            ("400 Bad Request", "invalid_mode", 5, "three octal digits"),
            ("429 Too Many Requests", "too_many_transfers", 6, "--max-transfers"),
            ("429 Too Many Requests", "too_many_refusals", 6, "wrong tokens"),
            ("503 Service Unavailable", "audit_unavailable", 6, "audit log"),
            ("501 Not Implemented", "operation_unsupported", 5, "older"),
            ("507 Insufficient Storage", "no_space", 6, "free some space"),
        ):
            self.play(said(status, {"error": "x", "code": code}))
            self.ended(self.command("put", "a", PLACE), expected, hint)

    def test_later(self) -> None:
        """A time to wait and a hint are both shown."""
        error = {"error": "x", "code": "too_many_transfers", "retry_after_seconds": 5}
        self.play(said("429 Too Many Requests", error))
        hint = "hint: try again in 5 seconds; other transfers must end first"
        self.ended(self.command("put", "a", PLACE), 6, hint)

    def test_stored_wrongly(self) -> None:
        """A response that differs from what was sent is not believed."""
        for wrong in ({"size": 6}, {"sha256": "0" * 64}, {"sha256": None}):
            self.play(said("201 Created", {**WRITTEN, **wrong}))
            result = self.command("put", "a", PLACE)
            self.ended(result, 7, "was not stored as it was sent", "send the file again")

    def test_usage(self) -> None:
        """Contradictions are refused before anything is sent."""
        for words, text in (
            (("a", PLACE, "--if-absent", "--if-match", "x"), "exclude each other"),
            (("a", "a", PLACE), "there is one FILE"),
            (("a", PLACE, "--name", "b"), "PATH has the name"),
            (("a", WORKSPACE, "--if-absent"), "need a PATH"),
            (("a", WORKSPACE, "--mode", "644"), "need a PATH"),
        ):
            self.ended(self.command("put", *words), 2, text)
        self.assertEqual(self.asked, [])


class ChangeTests(WriteCase):
    """``chatfiles rm``, ``mkdir`` and ``mv``."""

    def test_rm(self) -> None:
        """A file, or with ``--dir`` an empty directory."""
        self.play(GONE, GONE)
        self.ended(self.command("rm", PLACE), 0)
        self.ended(self.command("rm", "-d", PLACE + "/", "--if-match", "v"), 0)
        self.assertEqual([a.method for a in self.asked], ["DELETE", "DELETE"])
        self.assertEqual([a.target for a in self.asked], [FILE, FILE + "&directory=1"])
        self.assertEqual(self.asked[1].headers["If-Match"], '"v"')

    def test_mkdir(self) -> None:
        """A directory that is new, or exists."""
        self.play(said("201 Created", {"ref": "x"}), said("200 OK", {"ref": "x"}))
        self.ended(self.command("mkdir", PLACE), 0)
        self.ended(self.command("mkdir", "-p", PLACE), 0)
        route = f"/workspaces/{WORKSPACE}/fs/directories?path=/workspace/out/a"
        self.assertEqual([a.target for a in self.asked], [route, route + "&parents=1"])

    def test_mv(self) -> None:
        """Paths of any bytes are named by their refs."""
        self.play(said("200 OK", {"ref": "x"}))
        other = f"{WORKSPACE}:/workspace/\udcff b"
        self.ended(self.command("mv", PLACE, other, "--overwrite", "--if-match", "v"), 0)
        asked = self.asked[-1]
        self.assertEqual(asked.target, f"/workspaces/{WORKSPACE}/fs/move")
        expected = {
            "from": {"ref": "/workspace/out/a"},
            "to": {"ref": "/workspace/%FF%20b"},
            "overwrite": True,
        }
        self.assertEqual(asked.json, expected)
        self.assertEqual(asked.headers["If-Match"], '"v"')

    def test_two_workspaces(self) -> None:
        """Nothing is moved to another workspace."""
        self.ended(self.command("mv", PLACE, "other:/workspace/a"), 2, "the same workspace")

    def test_place(self) -> None:
        """An argument names a workspace and a path."""
        for name, words in (("rm", ["/workspace/a"]), ("mkdir", [WORKSPACE]), ("mv", [PLACE, "x"])):
            self.ended(self.command(name, *words), 2)
        self.assertEqual(self.asked, [])

    def test_no_tag(self) -> None:
        """What cannot be an entity tag is a wrong command line."""
        for tag in ("é", "a\r\nX-Other: 1"):
            self.ended(self.command("rm", PLACE, "--if-match", tag), 2, "is not an entity tag")
        self.assertEqual(self.asked, [])

    def test_refused(self) -> None:
        """409 and 412 have status 5, with a hint."""
        for name, code, hint in (
            ("rm", "directory_not_empty", "nothing is removed recursively"),
            ("rm", "busy", "stays where it is"),
            ("mkdir", "exists", "`chatfiles stat`"),
        ):
            self.play(said("409 Conflict", {"error": "x", "code": code}))
            self.ended(self.command(name, PLACE), 5, hint)
        for status, code in (
            ("409 Conflict", "cross_device"),
            ("409 Conflict", "exists"),
            ("412 Precondition Failed", "precondition_failed"),
        ):
            self.play(said(status, {"error": "x", "code": code}))
            self.ended(self.command("mv", PLACE, PLACE + "2"), 5)
