"""
Listings on real processes, directly and through the platform (reference/listing).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.contract.file_store import NAMES
from tests.live.processes import SOAK, LiveCase, Pair, canary, quoted
from tests.live.rawhttp import Answer, Connection, Incomplete, Response, fetch
from tests.live.role import Role
from tests.live.test_workspace_hostile import NOBODY, SWAPPER

PLAIN: Mapping[str, str] = {}
NDJSON: Mapping[str, str] = {"Accept": "application/x-ndjson"}
SECRET = canary().encode()
#: Names of the large directory, and those that come and go in it.
STABLE, CHANGING = (100_000, 500) if SOAK else (30_000, 200)
LISTINGS = 10_000 if SOAK else 150


class _ListingCase(LiveCase):
    def hops(self, query: str) -> list[tuple[str, Role, str, dict[str, str]]]:
        """:return: both ways to a listing: a name for it, whom to ask, for what, the credential."""
        pair = self.pair
        return [
            ("direct", pair.workspace, f"/internal/fs/{query}", pair.inbound),
            ("through", pair.platform, f"/workspaces/{pair.id}/fs/{query}", pair.bearer),
        ]

    def both(
        self, query: str, fields: Mapping[str, str] = PLAIN, method: str = "GET"
    ) -> dict[str, Response]:
        """:return: the responses of both ways."""
        return {
            name: fetch(role.url, target, {**credential, **fields}, method=method)
            for name, role, target, credential in self.hops(query)
        }

    def one(self, query: str) -> Any:
        """:return: the JSON of the response, which is the same for both ways."""
        direct, through = self.both(query).values()
        self.assertEqual((direct.status, through.status), (200, 200), direct.body)
        self.assertEqual(direct.json, through.json)
        return direct.json

    def lines(self, query: str) -> list[Any]:
        """:return: the lines of the stream, which are the same for both ways."""
        direct, through = self.both(query, NDJSON).values()
        self.assertEqual((direct.status, direct.body), (200, through.body))
        return [json.loads(line) for line in direct.body.splitlines()]


class ListingTests(_ListingCase):
    """A workspace with everything that a directory can have in it."""

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        for number, name in enumerate(NAMES):
            pair.write(b"workspace/listing/names/" + name, b"%d" % number)
        pair.write("workspace/listing/tree/a/b/c.txt", b"c")
        pair.write("workspace/listing/tree/d.key", b"denied")
        pair.write("workspace/listing/tree/.chatfiles-part-1", b"denied")
        kinds = pair.at("workspace", "listing", "kinds")
        pair.write("workspace/listing/kinds/file.tar.gz", b"12345")
        os.mkdir(f"{kinds}/directory")
        os.mkfifo(f"{kinds}/fifo")
        os.symlink("/etc/passwd", f"{kinds}/link")
        with socket.socket(socket.AF_UNIX) as listening:
            here = os.open(kinds, os.O_PATH)
            listening.bind(f"/proc/self/fd/{here}/socket")
            os.close(here)

    def test_names(self) -> None:
        """Every name is listed once, sorted by its bytes, and its ref leads to the file."""
        found = self.one("entries?path=/workspace/listing/names")["entries"]
        names = [
            base64.b64decode(each["name_base64"])
            if "name_base64" in each
            else each["name"].encode()
            for each in found
        ]
        self.assertEqual(names, sorted(NAMES))
        for each, name in zip(found, names, strict=True):
            for answer in self.pair.get(f"path={each['ref']}").values():
                self.assertEqual(answer.body, b"%d" % NAMES.index(name))
                self.assertEqual(answer["etag"], each["etag"])
                self.assertEqual(answer["content-type"], each["media_type"])
            self.assertEqual(self.one(f"entries?path={each['ref']}&depth=0")["entry"], each)

    def test_kinds(self) -> None:
        """Each kind is shown as what it is; a FIFO does not hang, and no link is followed."""
        found = self.one("entries?path=/workspace/listing/kinds")["entries"]
        kinds = {each["name"]: each["type"] for each in found}
        self.assertEqual(
            kinds,
            {
                "directory": "directory",
                "fifo": "other",
                "file.tar.gz": "file",
                "link": "symlink",
                "socket": "other",
            },
        )
        (file,) = [each for each in found if each["type"] == "file"]
        self.assertEqual((file["size"], file["mode"]), (5, "0644"))
        self.assertEqual(file["mtime"], "2020-09-13T12:26:40.000000000Z")
        self.assertEqual(file["media_type"], "application/gzip")
        for each in found:
            self.assertEqual(self.one(f"entries?path={each['ref']}&depth=0")["entry"], each)
            self.assertNotIn("passwd", json.dumps(each))

    def test_pages(self) -> None:
        """Pages of any size have the same entries."""
        whole = self.one("entries?path=/workspace/listing/names")["entries"]
        for limit in (1, 3, len(NAMES)):
            got, after = [], ""
            while True:
                page = self.one(f"entries?path=/workspace/listing/names&limit={limit}{after}")
                got += page["entries"]
                if "next" not in page:
                    break
                after = f"&after={page['next']}"
            self.assertEqual(got, whole)

    def test_tree(self) -> None:
        """A stream has everything below, and not what is denied; the end line counts."""
        *found, end = self.lines("entries?path=/workspace/listing/tree&depth=infinity")
        top = "/workspace/listing/tree"
        self.assertEqual(
            {(each["parent"], each["name"]) for each in found},
            {(top, "a"), (f"{top}/a", "b"), (f"{top}/a/b", "c.txt")},
        )
        self.assertEqual(end, {"end": True, "entries": 3, "complete": True})
        *found, end = self.lines("entries?path=/workspace/listing/tree&depth=2")
        self.assertEqual((len(found), end["complete"]), (2, True))

    def test_roots(self) -> None:
        """All roots of the workspace."""
        self.assertEqual(
            self.one("roots"),
            {
                "roots": [
                    {"path": f"/{name}", "available": True, "writable": []}
                    for name in ("configs", "workspace", "home", "plugins")
                ]
            },
        )

    def test_configs(self) -> None:
        """The role's own files are not there."""
        self.pair.write("configs/plain", b"p")
        self.pair.write("configs/.hermes/x", b"x")
        names = [each["name"] for each in self.one("entries?path=/configs")["entries"]]
        self.assertEqual(names, [".hermes", "plain"])
        self.assertEqual(self.one("entries?path=/configs/.hermes")["entries"], [])
        link = self.pair.at("workspace", "listing", "innocent")
        os.link(self.pair.secret_file, link)
        self.addCleanup(os.unlink, link)
        found = self.one("entries?path=/workspace/listing")["entries"]
        self.assertNotIn("innocent", [each["name"] for each in found])

    def test_refusals(self) -> None:
        """The table of what is found, for pages, streams and single paths."""
        top = "entries?path=/workspace/listing"
        for name, page, one in (
            ("/none", "file not found", "file not found"),
            ("/kinds/file.tar.gz/x", "file not found", "file not found"),
            ("/tree/d.key", "file not found", "file not found"),
            ("/tree/.chatfiles-part-1", "file not found", "file not found"),
            ("/kinds/file.tar.gz", "path is not a directory", None),
            ("/kinds/fifo", "path is not a directory", None),
            ("/kinds/link", "path is not a directory", None),
            ("/kinds/link/x", "path is not a directory", "path is not a regular file"),
        ):
            status = 404 if "found" in page else 400
            for fields in (PLAIN, NDJSON):
                for answer in self.both(top + name, fields).values():
                    self.assert_error(answer, status, page, name)
                if one is not None:
                    for answer in self.both(f"{top}{name}&depth=0", fields).values():
                        self.assert_error(answer, status, one, name)

    def test_parameters(self) -> None:
        """Malformed parameters are 400 at both roles."""
        for query, text, code in (
            ("", "path query required", "path_required"),
            ("?path=/workspace&depth=65", "invalid depth", "invalid_depth"),
            (
                "?path=/workspace&depth=infinity",
                "depth over 1 needs Accept: application/x-ndjson",
                "stream_required",
            ),
            ("?path=/workspace&limit=0", "invalid limit", "invalid_limit"),
            ("?path=/workspace&limit=10001", "invalid limit", "invalid_limit"),
            ("?path=/workspace&after=YS9i", "invalid after", "invalid_after"),
            ("?path=/workspace&after=", "invalid after", "invalid_after"),
            ("?path=/workspace&depth=0&depth=0", "depth must be given once", "parameter_repeated"),
        ):
            for answer in self.both(f"entries{query}").values():
                self.assert_error(answer, 400, text, query, code)

    def test_head(self) -> None:
        """HEAD has the headers of GET."""
        for fields in (PLAIN, NDJSON):
            for query in ("entries?path=/workspace/listing/tree", "roots"):
                got, head = self.both(query, fields), self.both(query, fields, "HEAD")
                for name in ("direct", "through"):
                    self.assertEqual((head[name].status, head[name].body), (200, b""))
                    for header in ("content-type", "cache-control", "x-content-type-options"):
                        self.assertEqual(head[name][header], got[name][header])
                    self.assertIsNone(got[name].get("etag"))

    def test_old_http(self) -> None:
        """HTTP/1.0 gets pages, and no streams."""
        for fields, status in (("", b"200"), ("Accept: application/x-ndjson\r\n", b"505")):
            for _, role, target, credential in self.hops("entries?path=/workspace/listing/tree"):
                connection = self.connect(role)
                lines = "".join(f"{name}: {value}\r\n" for name, value in credential.items())
                request = f"GET {target} HTTP/1.0\r\n{lines}{fields}\r\n"
                connection.send(request.encode())
                self.assertEqual(connection.until_closed().split()[1], status)


class UnprivilegedListingTests(_ListingCase):
    """A workspace whose process may not read everything."""

    @classmethod
    def make_pair(cls) -> Pair:
        pair = Pair(uid=None if os.geteuid() else NOBODY)
        for name in ("closed", "searched", "named", "open"):
            pair.write(f"workspace/{name}/f", b"f")
        pair.write("workspace/secret", b"s")
        os.chmod(pair.at("workspace", "secret"), 0o200)
        for name, mode in (("closed", 0), ("searched", 0o111), ("named", 0o444)):
            os.chmod(pair.at("workspace", name), mode)
        return pair

    def test_pages(self) -> None:
        """What may not be read is told; a directory that may not be listed is 403."""
        found = self.one("entries?path=/workspace")["entries"]
        readable = {each["name"]: each.get("readable", True) for each in found}
        expected = {"closed": False, "named": True, "open": True}
        self.assertEqual(readable, expected | {"searched": False, "secret": False})
        for each in found:
            self.assertEqual(self.one(f"entries?path={each['ref']}&depth=0")["entry"], each)
        for name in ("closed", "searched"):
            for answer in self.both(f"entries?path=/workspace/{name}").values():
                self.assert_error(answer, 403, "permission denied", name)
        self.assertEqual(
            self.one("entries?path=/workspace/named")["entries"],
            [
                {
                    "name": "f",
                    "ref": "/workspace/named/f",
                    "type": "other",
                    "error": "permission denied",
                }
            ],
        )
        self.assertEqual(self.one("entries?path=/workspace/searched/f&depth=0")["entry"]["size"], 1)

    def test_stream(self) -> None:
        """A directory that may not be listed has an error in its line, and the rest follows."""
        *found, end = self.lines("entries?path=/workspace&depth=infinity")
        errors = {each["ref"]: each["error"] for each in found if "error" in each}
        denied = "permission denied"
        self.assertEqual(
            errors,
            {
                "/workspace/closed": denied,
                "/workspace/searched": denied,
                "/workspace/named/f": denied,
            },
        )
        self.assertEqual(end, {"end": True, "entries": 7, "complete": True})


class ChangingListingTests(_ListingCase):
    """Directories that change while they are listed."""

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.hide(SECRET.decode())
        pair.write(b"outside/" + SECRET, b"s")

    def test_paging(self) -> None:
        """
        Of a large directory in which names come and go, every name that stays is in one page, and
        no name in two.
        """
        top = self.pair.at("workspace", "large")
        os.mkdir(top)
        stable = {f"stable-{number * 7919 % STABLE:06d}" for number in range(STABLE)}
        directory = os.open(top, os.O_RDONLY)
        self.addCleanup(os.close, directory)
        for name in stable:
            os.mknod(name, dir_fd=directory)
        ended = threading.Event()

        def change() -> None:
            number = 0
            while not ended.wait(0.0005):
                number = (number + 7) % CHANGING
                name = f"{'az'[number % 2]}-{number:04d}"
                with contextlib.suppress(FileExistsError):
                    os.mknod(name, dir_fd=directory)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{'az'[number // 3 % 2]}-{number // 3:04d}", dir_fd=directory)

        changing = threading.Thread(target=change)
        changing.start()
        try:
            seen, pages = self.walk_pages("/workspace/large", min(10_000, STABLE // 9))
        finally:
            ended.set()
            changing.join()
        self.assertGreaterEqual(pages, 9)
        self.assertEqual(seen, sorted(set(seen)))
        self.assertEqual({name for name in seen if name.startswith("stable")}, stable)

    def walk_pages(self, path: str, limit: int) -> tuple[list[str], int]:
        """:return: the names of all pages, of each way in turn, and the number of pages."""
        seen: list[str] = []
        after, pages = "", 0
        while True:
            hops = self.hops(f"entries?path={path}&limit={limit}{after}")
            _, role, target, credential = hops[pages % 2]
            page = fetch(role.url, target, credential).json
            pages += 1
            seen += [each["name"] for each in page["entries"]]
            if "next" not in page:
                return seen, pages
            after = f"&after={page['next']}"

    @contextlib.contextmanager
    def swapping(self, one: str, other: str) -> Iterator[None]:
        """A context in which another process exchanges the two names all the time."""
        names = [self.pair.at("workspace", name) for name in (one, other)]
        process = subprocess.Popen(
            [sys.executable, "-c", SWAPPER, "0", *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SkipTest("names cannot be exchanged here")
        yield
        process.communicate(timeout=600)
        self.assertEqual(process.returncode, 0)

    def test_swaps(self) -> None:
        """
        While a directory and a symlink that leads outside are exchanged, no listing shows what is
        outside.
        """
        self.pair.write("workspace/swaps/one/inside/f", b"f")
        os.symlink(self.pair.at("outside"), self.pair.at("workspace", "swaps", "other"))
        statuses: set[int] = set()
        with self.swapping("swaps/one", "swaps/other"):
            for number in range(LISTINGS):
                stream = number % 3
                query = "entries?path=/workspace/swaps/one"
                if stream == 2:
                    query = "entries?path=/workspace/swaps&depth=3"
                fields = NDJSON if stream else PLAIN
                _, role, target, credential = self.hops(query)[number % 2]
                answer = fetch(role.url, target, {**credential, **fields})
                statuses.add(answer.status)
                self.assertNotIn(SECRET, answer.body)
                if answer.status != 200:
                    self.assertIn(answer.status, (400, 503))
        self.assertIn(200, statuses)
        self.assertIn(400, statuses)


class InterruptedListingTests(_ListingCase):
    """Streams that do not reach their end."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair()

    def test_killed(self) -> None:
        """A stream whose workspace is killed has neither an end line nor a last chunk."""
        top = self.pair.at("workspace", "large")
        os.mkdir(top)
        for number in range(30_000):
            os.mknod(f"{top}/{'n' * 150}{number}")
        begun = []
        for _, role, target, credential in self.hops("entries?path=/workspace/large"):
            connection = Connection(role.url, receive_buffer=16 * 1024)
            self.addCleanup(connection.close)
            connection.ask("GET", target, {**credential, **NDJSON})
            answer = connection.answer()
            self.assertEqual(answer.head.status, 200)
            begun.append((answer, [answer.exactly(100_000)]))
        self.take_pair()
        self.pair.workspace.kill()
        for answer, pieces in begun:
            self.assertRaises(Incomplete, self.read_all, answer, pieces)
            self.assertNotIn(b'"end"', b"".join(pieces))

    def read_all(self, answer: Answer, pieces: list[bytes]) -> None:
        """Append the rest of the body to *pieces*."""
        while piece := answer.read():
            pieces.append(piece)

    def test_too_many(self) -> None:
        """The limit of the workspace ends a stream that says so."""
        pair = Pair(workspace=["--max-list-entries=2"])
        self.addCleanup(pair.stop)
        for name in "abc":
            pair.write(f"workspace/{name}")
        answer = fetch(
            pair.platform.url,
            f"/workspaces/{pair.id}/fs/entries?path={quoted('/workspace')}",
            {**pair.bearer, **NDJSON},
        )
        *found, end = [json.loads(line) for line in answer.body.splitlines()]
        self.assertEqual(len(found), 2)
        self.assertEqual(
            end, {"end": True, "entries": 2, "complete": False, "reason": "too_many_entries"}
        )
