"""
``chatfiles link``: what it asks for, and what it prints.
"""

from __future__ import annotations

import threading
from functools import partial
from importlib import import_module
from typing import Any

from click.testing import Result

from tests.cli.cli_stub import WORKSPACE, StubCase, counted, said

link = import_module("chatfiles.cli.commands.link")
PATH = "/links/file?w=x&p=/workspace/a&s=y"


def made(url: object) -> bytes:
    """:return: the response of a platform that made a link."""
    return said("201 Created", {"url": url, "expires_at": "x", "operation": "file", "ref": "x"})


def entry(kind: str) -> bytes:
    """:return: what a workspace tells of a path."""
    name = {"name": "a", "ref": "/workspace/a", "type": kind}
    return said("200 OK", {"entry": name})


class LinkTests(StubCase):
    """``chatfiles link``."""

    def link(self, *words: str, **more: Any) -> Result:
        """Run ``chatfiles link`` with the test's token."""
        return self.invoke("link", "--token-file", "token", WORKSPACE, *words, **more)

    def body(self, *words: str) -> Any:
        """:return: the body of the request."""
        before = len(self.asked)
        self.play(made(PATH), *([] if "--upload" in words else [entry("directory")]))
        self.ended(self.link(*words), 0)
        asked = self.asked[before]
        self.assertEqual((asked.method, asked.target), ("POST", f"/workspaces/{WORKSPACE}/links"))
        return asked.json

    def test_url(self) -> None:
        """Only the URL is printed, on one line; it is absolute also if the platform's is not."""
        absolute = "https://files.example.org" + PATH
        for url, printed in ((PATH, self.url + PATH), (absolute, absolute)):
            self.play(made(url), entry("file"))
            result = self.link("/workspace/a")
            self.assertEqual((result.stdout, result.stderr), (printed + "\n", ""))

    def test_bodies(self) -> None:
        """The options become the members of the request."""
        ref = {"ref": "/workspace/a%20b%FF"}
        path = b"/workspace/a b\xff".decode("utf-8", "surrogateescape")
        for words, body in (
            ((path,), ref | {"expires_in": 3600, "operation": "file"}),
            (
                (path, "--inline"),
                ref | {"expires_in": 3600, "operation": "file", "disposition": "inline"},
            ),
            (
                (path, "--archive", "tar.gz", "--expires", "7d"),
                ref | {"expires_in": 604800, "operation": "archive", "format": "tar.gz"},
            ),
            (("--upload", "--expires=90"), {"expires_in": 90, "operation": "upload"}),
        ):
            self.assertEqual(self.body(*words), body)

    def test_lifetimes(self) -> None:
        """Lifetimes have units."""
        for text, seconds in (("1", 1), ("30s", 30), ("10m", 600), ("2h", 7200), ("1w", 604800)):
            self.assertEqual(self.body("/home/a", "--expires", text)["expires_in"], seconds)
        for wrong in ("", "-1", "never", "1.5h", "1y", "1H", "١", "1" * 10):
            result = self.link("/home/a", f"--expires={wrong}")
            self.ended(result, 2, f"'{wrong}' is not a time like 30s")
        for wrong in ("8d", "604801", "2w", "999999999"):
            result = self.link("/home/a", f"--expires={wrong}")
            self.ended(result, 2, f"'{wrong}' is too long; the longest is 7d")
        for wrong in ("0", "0d"):
            self.ended(self.link("/home/a", f"--expires={wrong}"), 2, f"'{wrong}' is too short")

    def test_warnings(self) -> None:
        """A link that does not work now is printed, with a warning; the status is 0."""
        missing = said("404 Not Found", {"error": "file not found", "code": "file_not_found"})
        unknown = said("502 Bad Gateway", {"error": "x", "code": "workspace_unreachable"})
        zipped = ("--archive", "zip")
        for look, words, text in (
            (missing, (), "nothing is at this path"),
            (missing, zipped, "nothing is at this path"),
            (entry("directory"), (), "--archive zip"),
            (entry("directory"), zipped, ""),
            (entry("symlink"), ("--inline",), "no regular file"),
            (unknown, (), ""),
            (counted(b"no entry"), (), ""),
        ):
            self.play(made(PATH), look)
            result = self.link("/workspace/a b", *words)
            self.ended(result, 0, text)
            self.assertEqual(result.stdout, self.url + PATH + "\n")
            self.assertEqual(result.stderr.count("\n"), 1 if text else 0)
            target = f"/workspaces/{WORKSPACE}/fs/entries?path=/workspace/a%20b&depth=0"
            self.assertEqual((self.asked[-1].method, self.asked[-1].target), ("GET", target))

    def test_slow_workspace(self) -> None:
        """A workspace that does not respond delays the command for a short time only."""
        self.patch(link, "LOOK_TIMEOUT", 0.1)
        over = threading.Event()
        self.addCleanup(over.set)
        self.play(made(PATH), [partial(over.wait, 5), entry("directory")])
        result = self.link("/workspace/a")
        over.set()
        self.assertEqual((result.stdout, result.stderr), (self.url + PATH + "\n", ""))

    def test_contradictions(self) -> None:
        """What does not fit together is refused before a request is sent."""
        for words, text in (
            ((), "PATH is missing"),
            (("--inline",), "PATH is missing"),
            (("",), "PATH is missing"),
            (("report.pdf",), "PATH must be absolute: report.pdf"),
            (("/home/a", "--upload"), "no PATH"),
            (("/home/a", "--inline", "--archive=zip"), "exclude each other"),
            (("--inline", "--upload"), "exclude each other"),
            (("/home/a", "--archive=rar"), "rar"),
        ):
            self.ended(self.link(*words), 2, text)
        self.assertEqual(self.asked, [])

    def test_refused(self) -> None:
        """A refusal is shown with its code."""
        error = {"error": "token does not allow this", "code": "insufficient_scope"}
        self.play(said("403 Forbidden", error))
        self.ended(self.link("--upload"), 4, "insufficient_scope")

    def test_untrusted(self) -> None:
        """What is no URL is not printed: it could control the terminal."""
        for url in (
            None,
            "",
            1,
            "links/file",
            "javascript:x",
            "//evil",
            "/a b",
            "/a\n",
            "/\x1b[2J",
        ):
            self.play(made(url))
            result = self.link("/home/a")
            self.ended(result, 7, "no URL")
            self.assertEqual(result.stdout, "")
