"""
``chatfiles ls`` and ``chatfiles stat``: what they ask for, what they print, and when they fail.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from click.testing import Result

from tests.cli.cli_stub import WORKSPACE, StubCase, answer, said
from tests.cli.listing.test_entry import described

ROUTE = f"/workspaces/{WORKSPACE}/fs/"
ODD = b"b\n\xff"
#: When the entries of these tests were modified, as a table shows it.
LOCAL_TIME = datetime.fromtimestamp(1795946523).isoformat(" ")  # noqa: DTZ006 - local


def page(*entries: dict[str, Any], **more: Any) -> bytes:
    """:return: a page of a listing."""
    return said("200 OK", {"path": "/workspace", "ref": "/workspace", "entries": entries, **more})


def lines(*values: object, status: str = "200 OK", whole: bool = True) -> bytes:
    """:return: a stream of JSON objects; without its last chunk unless it is *whole*."""
    body = b"".join(json.dumps(value).encode() + b"\n" for value in values)
    chunks = b"%x\r\n%s\r\n" % (len(body), body) + (b"0\r\n\r\n" if whole else b"")
    headers = ("Transfer-Encoding: chunked", "Content-Type: application/x-ndjson")
    return answer(status, *headers, body=chunks)


def end(count: int, **more: Any) -> dict[str, Any]:
    """:return: the last line of a stream."""
    return {"end": True, "entries": count, "complete": True, **more}


class ListCase(StubCase):
    def ls(self, *words: str, **more: Any) -> Result:
        """Run ``chatfiles ls`` with the test's token."""
        return self.invoke("ls", "--token-file", "token", WORKSPACE, *words, **more)


class DirectoryTests(ListCase):
    """A directory, page by page."""

    def test_names(self) -> None:
        """In a pipe it is one name on a line, in bytes, in the order in which they are sent."""
        self.play(page(described(b"a"), described(ODD)))
        result = self.ls("/workspace/")
        self.ended(result, 0)
        self.assertEqual(result.stdout_bytes, b"a\n" + ODD + b"\n")
        self.assertEqual(self.asked[0].target, f"{ROUTE}entries?path=/workspace&limit=10000")

    def test_pages(self) -> None:
        """Every page is asked for where the last one ended."""
        self.play(page(described(b"a"), next="YQ"), page(next="Yg"), page(described(b"c")))
        result = self.ls("/workspace/d")
        self.assertEqual(result.stdout, "a\nc\n")
        targets = [asked.target.partition("limit=10000")[2] for asked in self.asked]
        self.assertEqual(targets, ["", "&after=YQ", "&after=Yg"])

    def test_endless(self) -> None:
        """A page that points to itself ends the command."""
        for behind in ("YQ", 7):
            self.play(page(described(b"a"), next="YQ"), page(next=behind))
            self.ended(self.ls("/workspace"), 7, "that more comes, but not where")

    def test_long_path(self) -> None:
        """A page of a directory with a long path has fewer entries, because each repeats it."""
        self.play(page())
        self.ls("/workspace/" + "ä" * 2000)
        self.assertEqual(self.asked[0].target.rpartition("&limit=")[2], "4185")

    def test_null(self) -> None:
        """``-0`` writes the bytes of each name and a NUL."""
        self.play(page(described(b"a"), described(ODD)))
        self.assertEqual(self.ls("/workspace", "-0").stdout_bytes, b"a\0" + ODD + b"\0")

    def test_json(self) -> None:
        """``--json`` prints each entry as it was sent, with members that are not known."""
        entries = [described(b"a", colour="red"), described(ODD)]
        self.play(page(*entries))
        result = self.ls("/workspace", "--json")
        self.assertEqual([json.loads(line) for line in result.stdout.splitlines()], entries)
        self.assertTrue(result.stdout.isascii())

    def test_long(self) -> None:
        """``-l`` is a table of mode, type, size, time and name, also in a pipe."""
        self.play(
            page(described(b"a", size=12), {"name": "p", "ref": "/workspace/p", "type": "other"})
        )
        result = self.ls("/workspace", "-l")
        self.assertEqual(
            result.stdout,
            f"0644  file                 12  {LOCAL_TIME}  a\n"
            "   -  other                 -  -                    p\n",
        )

    def test_long_names(self) -> None:
        """In a table control characters are escaped, also in a pipe: a line is one entry."""
        self.play(page(described(ODD), described(b"\x1b[2Jx\r")))
        names = [line[52:] for line in self.ls("/workspace", "-l").stdout_bytes.split(b"\n")]
        self.assertEqual(names, [b"b\\n\\xff", b"\\x1b[2Jx\\r", b""])

    def test_file(self) -> None:
        """Of a path that is no directory, its own entry is listed."""
        wrong = {"error": "path is not a directory", "code": "not_a_directory"}
        entry = {"path": "/workspace/a", "ref": "/workspace/a", "entry": described(b"a")}
        self.play(said("400 Bad Request", wrong), said("200 OK", entry))
        result = self.ls("/workspace/a")
        self.assertEqual((result.exit_code, result.stdout), (0, "a\n"))
        self.assertEqual(self.asked[1].target, f"{ROUTE}entries?path=/workspace/a&depth=0")

    def test_not_looked_at(self) -> None:
        """An entry that the workspace could not look at is listed; a warning says so, status 1."""
        value = {"name": "a", "ref": "/workspace/a", "type": "file", "error": "permission denied"}
        self.play(page(value, described(b"b")))
        result = self.ls("/workspace")
        self.ended(result, 1, "warning: a: permission denied")
        self.assertEqual(result.stdout, "a\nb\n")

    def test_refused(self) -> None:
        """Errors have their statuses and hints."""
        for status, code, expected, hint in (
            ("404 Not Found", "file_not_found", 3, "names are taken exactly"),
            ("404 Not Found", "file_not_found", 3, "`chatfiles ls WORKSPACE` lists the"),
            ("404 Not Found", "no_route", 3, "is the platform older than this command"),
            ("403 Forbidden", "permission_denied", 4, "may not read it"),
            ("501 Not Implemented", "operation_unsupported", 5, "the workspace is older than"),
            ("503 Service Unavailable", "platform_unavailable", 6, "try again"),
        ):
            self.play(said(status, {"error": "x", "code": code}))
            self.ended(self.ls("/workspace"), expected, hint)

    def test_untrusted(self) -> None:
        """A response that is no listing is refused."""
        pages: tuple[object, ...] = ({}, {"entries": {}}, {"entries": [1]}, {"entries": [{}]})
        for value in ([], *pages):
            self.play(said("200 OK", value))
            self.ended(self.ls("/workspace"), 7, "cannot be trusted")


class RootsTests(ListCase):
    """Without a path."""

    ROOTS = (
        {"path": "/configs", "available": True, "writable": []},
        {"path": "/workspace", "available": False, "writable": ["/workspace"]},
    )

    def test_names(self) -> None:
        """The roots are listed, one on a line."""
        for words, expected in (
            ([], b"/configs\n/workspace\n"),
            (["-0"], b"/configs\0/workspace\0"),
            (
                ["-l"],
                b"available    /configs\nunavailable  /workspace\nwritable     /workspace\n",
            ),
        ):
            self.play(said("200 OK", {"roots": self.ROOTS}))
            self.assertEqual(self.ls(*words).stdout_bytes, expected)
        self.assertEqual(self.asked[0].target, f"{ROUTE}roots")

    def test_json(self) -> None:
        """``--json`` prints them as they were sent."""
        self.play(said("200 OK", {"roots": self.ROOTS}))
        printed = [json.loads(line) for line in self.ls("--json").stdout.splitlines()]
        self.assertEqual(printed, list(self.ROOTS))

    def test_untrusted(self) -> None:
        """A root without a path is refused."""
        self.play(said("200 OK", {"roots": [{"available": True}]}))
        self.ended(self.ls(), 7, "a root has no path")


class TreeTests(ListCase):
    """``-R``: a stream."""

    TREE = (
        described(b"d", type="directory", size=None),
        described(b"f", ref="/workspace/d/f", parent="/workspace/d"),
        described(ODD, ref="/workspace/d/b%0A%FF", parent="/workspace/d"),
    )

    def test_names(self) -> None:
        """Names are paths below PATH, in bytes."""
        self.play(lines(*self.TREE, end(3)))
        result = self.ls("/workspace", "-R", "-0")
        self.ended(result, 0)
        self.assertEqual(result.stdout_bytes, b"d\0d/f\0d/" + ODD + b"\0")
        [asked] = self.asked
        self.assertEqual(asked.target, f"{ROUTE}entries?path=/workspace&depth=infinity")
        self.assertEqual(asked.headers["Accept"], "application/x-ndjson")

    def test_json(self) -> None:
        """``--json`` prints the entries as they were sent, without the last line."""
        self.play(lines(*self.TREE, end(3)))
        printed = self.ls("/workspace", "-R", "--json").stdout.splitlines()
        self.assertEqual([json.loads(line) for line in printed], list(self.TREE))

    def test_interrupted(self) -> None:
        """A stream without its last line is incomplete, however it ended."""
        for wire in (
            lines(*self.TREE),
            lines(*self.TREE, whole=False),
            lines(*self.TREE, end(3), whole=False),
        ):
            self.play(wire)
            result = self.ls("/workspace", "-R")
            self.ended(result, 7, "the listing was interrupted after 3 entries")
            self.assertIn(b"d\nd/f\n", result.stdout_bytes)

    def test_not_all(self) -> None:
        """A listing that the workspace has limited is reported with a status of its own."""
        for reason, text in (("too_many_entries", "too many entries"), ("too_deep", "too deep")):
            self.play(lines(*self.TREE, end(3, complete=False, reason=reason)))
            result = self.ls("/workspace", "-R")
            self.ended(result, 5, f"the listing is not complete: {text}", "--max-list-entries")
            self.assertIn(b"d\nd/f\n", result.stdout_bytes)
        self.play(lines(end(0, complete=False)))
        self.ended(self.ls("/workspace", "-R"), 5, "not complete: unknown")

    def test_untrusted(self) -> None:
        """A stream that contradicts itself, or leads out of PATH, is refused."""
        for wire in (
            lines(*self.TREE, end(4)),
            lines(end(0), *self.TREE),
            lines(end(0), end(0)),
            lines(described(b"a", ref="/home/a"), end(1)),
            lines(described(b"a", ref="/workspace/../a"), end(1)),
            lines([], end(1)),
            lines("x" * 300_000),
            answer("200 OK", "Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
            page(*self.TREE),
        ):
            self.play(wire)
            self.ended(self.ls("/workspace", "-R"), 7, "cannot be trusted")
        body = answer(
            "200 OK",
            "Content-Type: application/x-ndjson",
            "Transfer-Encoding: chunked",
            body=b"3\r\n{\x00}\r\n0\r\n\r\n",
        )
        self.play(body)
        self.ended(self.ls("/workspace", "-R"), 7, "one of its lines is not JSON")

    def test_refused(self) -> None:
        """An error is reported as such."""
        self.play(said("404 Not Found", {"error": "file not found", "code": "file_not_found"}))
        self.ended(self.ls("/workspace/x", "-R"), 3, "file not found")

    def test_wrong_words(self) -> None:
        """Options that exclude each other are refused before a request."""
        self.ended(self.ls("-R"), 2, "-R needs PATH")
        self.ended(self.ls("/workspace", "-0", "--json"), 2, "exclude each other")
        self.assertEqual(self.asked, [])


class StatTests(StubCase):
    """``chatfiles stat``."""

    def stat(self, *words: str) -> Result:
        """Run ``chatfiles stat`` with the test's token."""
        entry = described(b"a\x1b", etag='"e"')
        self.play(said("200 OK", {"path": "x", "ref": "x", "entry": entry}))
        return self.invoke("stat", "--token-file", "token", WORKSPACE, *words)

    def test_table(self) -> None:
        """The members that were sent are printed, with control characters escaped."""
        result = self.stat("/workspace/a\x1b")
        self.assertEqual(
            result.stdout,
            "name   a\\x1b\nref    /workspace/a%1B\ntype   file\nsize   3\n"
            'mtime  2026-11-29T10:02:03.123456789Z\nmode   0644\netag   "e"\n',
        )
        self.assertEqual(self.asked[0].target, f"{ROUTE}entries?path=/workspace/a%1B&depth=0")

    def test_json(self) -> None:
        """``--json`` prints the entry as it was sent."""
        result = self.stat("/workspace/a", "--json")
        self.assertEqual(json.loads(result.stdout), described(b"a\x1b", etag='"e"'))

    def test_untrusted(self) -> None:
        """A response without an entry is refused."""
        self.play(said("200 OK", {"entries": []}))
        result = self.invoke("stat", "--token-file", "token", WORKSPACE, "/workspace")
        self.ended(result, 7, "cannot be trusted")
