"""
Writes on real processes, directly and through the platform (reference/writes).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import NamedTuple

from tests.live.processes import SOAK, LiveCase, Pair, environment, until
from tests.live.rawhttp import Connection, Response, fetch
from tests.live.test_resumable import Way
from tests.live.test_workspace_hostile import SWAPPER
from tests.live.upload_client import is_asked, report
from tests.support.fork_server import run
from tests.support.patience import PATIENCE

#: Rounds of a race.
ROUNDS = 10_000 if SOAK else 150
PLAIN: Mapping[str, str] = {}


class Hop(NamedTuple):
    """
    A way to the workspace's operations.

    :param base: of their targets.
    """

    name: str
    url: str
    base: str
    credential: Mapping[str, str]

    def ask(
        self,
        method: str,
        operation: str,
        fields: Mapping[str, str] = PLAIN,
        body: bytes | None = None,
    ) -> Response:
        """:return: the response."""
        return fetch(
            self.url,
            f"{self.base}/fs/{operation}",
            {**self.credential, **fields},
            method=method,
            body=body,
        )

    def put(self, path: str, body: bytes, **fields: str) -> Response:
        """:return: the response; an underscore in the name of a header is a hyphen."""
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        return self.ask("PUT", f"file?path=/workspace/{path}", named, body)

    def move(self, origin: str, to: str, overwrite: bool = False) -> Response:
        """:return: the response."""
        body = {
            "from": {"path": f"/workspace/{origin}"},
            "to": {"path": f"/workspace/{to}"},
            "overwrite": overwrite,
        }
        return self.ask("POST", "move", body=json.dumps(body).encode())


class WritesCase(LiveCase):
    """A workspace with two processes; ``/workspace/out`` is writable."""

    @classmethod
    def make_pair(cls) -> Pair:
        workspace = ["--writable=/workspace/out", "--workers=2", "--max-file-bytes=1M"]
        return Pair(platform=["--max-file-bytes=1M"], workspace=workspace)

    def setUp(self) -> None:
        super().setUp()
        out = self.pair.at("workspace", "out")
        shutil.rmtree(out, ignore_errors=True)
        os.mkdir(out)

    def hops(self) -> list[Hop]:
        """:return: both ways."""
        pair = self.pair
        through = f"/workspaces/{pair.id}"
        return [
            Hop("direct", pair.workspace.url, "/internal", pair.inbound),
            Hop("through", pair.platform.url, through, pair.bearer),
        ]

    def out(self, name: str) -> str:
        """:return: a path in the writable directory."""
        return self.pair.at("workspace", "out", name)

    def read(self, name: str) -> bytes:
        """:return: the content of a file in the writable directory."""
        with open(self.out(name), "rb") as file:
            return file.read()

    def refused(self, answer: Response) -> tuple[int, str]:
        """:return: its status and code."""
        return answer.status, answer.json["code"]


class WriteTests(WritesCase):
    """What a client can do, on both ways."""

    def test_life_of_a_file(self) -> None:
        """A file is created, replaced with its tag, read, moved and deleted."""
        for hop in self.hops():
            made = hop.put("out/a", b"1", If_None_Match="*")
            self.assertEqual(made.status, 201, made.body)
            self.assertEqual(made["location"], f"{hop.base}/fs/file?path=/workspace/out/a")
            self.assertEqual(self.refused(hop.put("out/a", b"2", If_None_Match="*"))[0], 412)
            replaced = hop.put("out/a", b"two", If_Match=made["etag"])
            self.assertEqual((replaced.status, self.read("a")), (200, b"two"))
            self.assertEqual(replaced.json["sha256"], hashlib.sha256(b"two").hexdigest())
            self.assertEqual(replaced.get("location"), None)
            self.assertEqual(self.refused(hop.put("out/a", b"3", If_Match=made["etag"]))[0], 412)
            target = "file?path=/workspace/out/a"
            self.assertEqual(hop.ask("GET", target).body, b"two")
            made = hop.ask("POST", "directories?path=/workspace/out/d", body=b"")
            self.assertEqual((made.status, made.json), (201, {"ref": "/workspace/out/d"}))
            moved = hop.move("out/a", "out/d/b")
            self.assertEqual((moved.status, moved.json), (200, {"ref": "/workspace/out/d/b"}))
            self.assertEqual(self.refused(hop.ask("DELETE", target)), (404, "file_not_found"))
            directory = "file?path=/workspace/out/d&directory=1"
            self.assertEqual(self.refused(hop.ask("DELETE", directory))[1], "directory_not_empty")
            gone = hop.ask("DELETE", "file?path=/workspace/out/d/b")
            self.assertEqual((gone.status, gone.body), (204, b""))
            self.assertEqual(hop.ask("DELETE", directory).status, 204)
            self.assertEqual(os.listdir(self.out("")), [])

    def test_refused(self) -> None:
        """Both ways refuse the same, for the same reason."""
        os.symlink("/etc/passwd", self.out("link"))
        wrong = {"Repr-Digest": "sha-256=:" + "A" * 43 + "=:"}
        for hop in self.hops():
            for operation, fields, expected in (
                ("file?path=/workspace/out", {}, (400, "not_a_regular_file")),
                ("file?path=/workspace/x", {}, (403, "not_writable")),
                ("file?path=/configs/.platform_inbound_secret", {}, (403, "not_writable")),
                ("file?path=/workspace/out/a&mode=9", {}, (400, "invalid_mode")),
                ("file?path=/workspace/out/a/b", {}, (404, "parent_not_found")),
                ("file?path=/workspace/out/link", {}, (400, "not_a_regular_file")),
                ("file?path=/workspace/out/a", {"If-Match": "*"}, (412, "precondition_failed")),
                ("file?path=/workspace/out/a", wrong, (422, "digest_mismatch")),
            ):
                answer = hop.ask("PUT", operation, fields, b"new")
                self.assertEqual(self.refused(answer), expected, (hop.name, operation))
            answer = hop.put("out/a", b"x" * ((1 << 20) + 1))
            self.assertEqual(self.refused(answer), (413, "file_too_large"))
            answer = hop.ask("DELETE", "file?path=/workspace/out&directory=1")
            self.assertEqual(self.refused(answer), (403, "not_writable"))
            self.assertEqual(os.listdir(self.out("")), ["link"])

    def test_expect(self) -> None:
        """``100 Continue`` comes after the checks of the workspace, also through the platform."""
        with open(self.out("there"), "wb"):
            pass
        for hop in self.hops():
            for name, is_ready in (("there", False), (f"new-{hop.name}", True)):
                fields = {**hop.credential, "Expect": "100-continue", "If-None-Match": "*"}
                with Connection(hop.url) as connection:
                    target = f"{hop.base}/fs/file?path=/workspace/out/{name}"
                    connection.ask("PUT", target, {**fields, "Content-Length": "3"})
                    self.assertEqual(is_asked(connection.socket), is_ready)
                    if is_ready:
                        connection.send(b"new")
                    status = connection.response("PUT").status
                    self.assertEqual(status, 201 if is_ready else 412)

    def test_curl(self) -> None:
        """``curl -T`` stores a file, also one of unknown length; a refusal is its exit status."""
        content = os.urandom(900_000)
        for hop in self.hops():
            (authorization,) = hop.credential.values()
            for source, name in (("-", "chunked"), (self.out("source"), "length")):
                with open(self.out("source"), "wb") as file:
                    file.write(content)
                words = ["-sS", "-f", "-T", source, "-H", f"Authorization: {authorization}"]
                url = f"{hop.url}{hop.base}/fs/file?path=/workspace/out/{name}"
                done = self.curl(*words, url, given=content)
                self.assertEqual((done.returncode, done.stderr), (0, b""))
                self.assertEqual(self.read(name), content)
            self.assertEqual(self.curl(*words, url, "-H", "If-None-Match: *").returncode, 22)

    def curl(self, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """:return: the end of curl."""
        return subprocess.run(
            ["curl", *words], input=given, capture_output=True, timeout=PATIENCE, check=False
        )

    def directory(self) -> str:
        """:return: a directory that is removed with the test."""
        here = tempfile.mkdtemp(prefix="chatfiles-writes-")
        self.addCleanup(shutil.rmtree, here)
        return here

    def command(self, here: str, *words: str, given: bytes = b"") -> tuple[int, bytes]:
        """Run ``chatfiles`` in a directory.  :return: its exit status and output."""
        told = {
            "CHATFILES_PLATFORM": self.pair.platform.url,
            "CHATFILES_TOKEN": self.pair.token,
            "XDG_STATE_HOME": here,
        }
        env = environment(told)
        done = run(["chatfiles", *words], cwd=here, env=env, stdin=given, timeout=PATIENCE)
        return done.returncode, done.stdout

    def test_large_file(self) -> None:
        """The command line writes a file that is too large for one request, on conditions."""
        here, contents = self.directory(), [os.urandom((16 << 20) + 1), os.urandom(17 << 20)]
        for name, content in zip(("old", "new"), contents, strict=True):
            with open(os.path.join(here, name), "wb") as file:
                file.write(content)
        place, command = f"{self.pair.id}:/workspace/out/d/big", partial(self.command, here)
        status, shown = command("put", "old", place, "--parents", "--if-absent", "--json")
        self.assertEqual((status, self.read("d/big") == contents[0]), (0, True))
        tag = json.loads(shown)["etag"]
        self.assertEqual(command("put", "new", place, "--if-absent")[0], 5)
        self.assertEqual(command("put", "new", place, "--if-match", tag)[0], 0)
        self.assertTrue(self.read("d/big") == contents[1])
        self.assertEqual(command("put", "old", place, "--if-match", tag)[0], 5)
        self.assertEqual(os.listdir(self.out("d")), ["big"])
        self.assertEqual(os.listdir(os.path.join(here, "chatfiles", "uploads")), [])

    def test_commands(self) -> None:
        """The command line writes, replaces a version, moves and deletes, as the manual says."""
        here = self.directory()
        with open(os.path.join(here, "plan.md"), "w") as file:
            file.write("first")
        out, command = f"{self.pair.id}:/workspace/out", partial(self.command, here)
        self.assertEqual(command("put", "plan.md", f"{out}/"), (0, b"/workspace/out/plan.md\n"))
        self.assertEqual(command("put", "plan.md", f"{out}/plan.md", "--if-absent")[0], 5)
        shown = command("stat", "--json", self.pair.id, "/workspace/out/plan.md")[1]
        stale = json.loads(shown)["etag"].removeprefix("W/") + "x"
        self.assertEqual(command("put", "plan.md", f"{out}/plan.md", "--if-match", stale)[0], 5)
        status, shown = command("put", "-", f"{out}/a/b", "--parents", "--json", given=b"now")
        self.assertEqual(status, 0)
        tag = json.loads(shown)["etag"]
        self.assertEqual(command("put", "plan.md", f"{out}/a/b", "--if-match", tag)[0], 0)
        self.assertEqual(self.read("a/b"), b"first")
        self.assertEqual(command("mkdir", f"{out}/d")[0], 0)
        self.assertEqual(command("mv", f"{out}/a/b", f"{out}/d/c")[0], 0)
        self.assertEqual(command("rm", f"{out}/d")[0], 5)
        self.assertEqual(command("rm", f"{out}/d/c")[0], 0)
        self.assertEqual(command("rm", "--dir", f"{out}/d")[0], 0)
        self.assertEqual(command("rm", f"{self.pair.id}:/workspace/x")[0], 5)
        self.assertEqual(command("rm", f"{out}/none")[0], 3)

    def test_interrupted(self) -> None:
        """A client that disconnects in the middle leaves the old file, and nothing else."""
        for hop in self.hops():
            hop.put("out/a", b"old")
            for path in ("out/a", "out/new", "out/d/e/f&parents=1"):
                self.interrupt(hop, path)
                until(lambda: os.listdir(self.out("")) == ["a"], "only the old file is there")
                self.assertEqual(self.read("a"), b"old")

    def interrupt(self, hop: Hop, path: str) -> None:
        """Disconnect in the middle of a body, and wait until the workspace has noticed."""
        target, request_id = f"{hop.base}/fs/file?path=/workspace/{path}", os.urandom(8).hex()
        fields = {"Content-Length": "500000", "Expect": "100-continue", "X-Request-Id": request_id}
        with Connection(hop.url) as connection:
            connection.ask("PUT", target, {**hop.credential, **fields})
            self.assertTrue(is_asked(connection.socket), "the workspace has begun")
            connection.send(b"x" * 300_000)
        self.pair.workspace.logged(rf"{request_id} .* client_left")

    def test_log(self) -> None:
        """Each operation has its line in both logs."""
        self.hops()[1].put("out/a", b"1")
        self.hops()[1].move("out/a", "out/b")
        self.hops()[1].ask("DELETE", "file?path=/workspace/out/b")
        self.hops()[1].ask("POST", "directories?path=/workspace/out/d", body=b"")
        for role in (self.pair.platform, self.pair.workspace):
            for operation, status in (
                ("write", 201),
                ("move", 200),
                ("delete", 204),
                ("mkdir", 201),
            ):
                role.logged(rf" {operation} {status} \d+ bytes ")


class RaceTests(WritesCase):
    """Several writers, and an agent that changes the tree meanwhile."""

    def test_one_wins(self) -> None:
        """Of fifty writers with one ``If-Match``, on both ways and processes, one wins."""
        hops = self.hops()
        tag = hops[0].put("out/a", b"0")["etag"]
        for _ in range(100 if SOAK else 3):

            def write(number: int, tag: str = tag) -> tuple[int, Response]:
                answer = hops[number % 2].put("out/a", b"%d" % number, If_Match=tag)
                return number, answer

            with ThreadPoolExecutor(50) as pool:
                answers = list(pool.map(write, range(50)))
            winners = [(number, answer) for number, answer in answers if answer.status == 200]
            statuses = Counter(answer.status for _, answer in answers)
            self.assertEqual(statuses, {200: 1, 412: 49})
            ((number, answer),) = winners
            self.assertEqual(self.read("a"), b"%d" % number)
            tag = answer["etag"]
        self.assertEqual(os.listdir(self.out("")), ["a"])

    def test_several_directories(self) -> None:
        """Clients that change several directories, in both processes, wait for each other."""
        for number in range(3):
            os.mkdir(self.out(f"{number}"))
        hops = self.hops()

        def change(number: int) -> set[int]:
            hop, seen = hops[number % 2], set[int]()
            for turn in range(number, number + (100 if SOAK else 3)):
                there, then = (f"out/{n % 3}/{number}" for n in (turn, turn + 1))
                seen |= {hop.put(there, b"x").status, hop.move(there, then, overwrite=True).status}
            return seen

        with ThreadPoolExecutor(16) as pool:
            seen = set[int]().union(*pool.map(change, range(16)))
        self.assertEqual(seen, {200, 201})

    @contextlib.contextmanager
    def swapping(self, one: str, other: str) -> Iterator[None]:
        """Exchange two names all the time."""
        process = subprocess.Popen(
            [sys.executable, "-c", SWAPPER, "0", self.out(one), self.out(other)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            yield
        finally:
            swaps = int(process.communicate(timeout=PATIENCE)[0].split()[-1])
        report(f"{swaps} swaps of {one} and {other}")
        self.assertGreaterEqual(swaps, ROUNDS)

    def resume(self, path: str) -> set[int]:
        """:return: the statuses of an upload in two chunks to *path*, whose rest is removed."""
        way = Way("direct", self.pair.workspace.url, "/internal/uploads", self.pair.inbound)
        fields = {"Upload-Length": "6"}
        made = way.ask("POST", f"{way.base}?path=/workspace/{path}", fields, b"")
        if made.status != 201:
            return {made.status}
        target = made["location"]
        chunks = [way.patch(target, 0, b"ins").status, way.patch(target, 3, b"ide").status]
        # While its directory is a symlink, the upload does not exist.
        until(lambda: way.ask("DELETE", target).status == 204, "it can be removed")
        return {201, *chunks}

    def test_directory_and_symlink(self) -> None:
        """A directory that turns into a symlink to one outside: nothing outside is touched."""
        outside = self.pair.at("outside")
        os.makedirs(outside, exist_ok=True)
        for name in ("kept", "moved"):
            with open(os.path.join(outside, name), "wb") as file:
                file.write(b"outside")
        before = self.listed(outside)
        os.mkdir(self.out("way"))
        os.symlink(outside, self.out("link"))
        hop, seen = self.hops()[0], set[int]()
        with self.swapping("way", "link"):
            for _ in range(ROUNDS // 4):
                seen |= {
                    hop.put("out/way/kept", b"inside").status,
                    hop.ask("POST", "directories?path=/workspace/out/way/d", body=b"").status,
                    hop.move("out/way/kept", "out/way/moved", overwrite=True).status,
                    hop.ask("DELETE", "file?path=/workspace/out/way/moved").status,
                    hop.put("out/way/a/b&parents=1", b"inside").status,
                    *self.resume("out/way/kept"),
                }
        self.assertEqual(self.listed(outside), before)
        self.assertLessEqual(seen, {200, 201, 204, 400, 404, 409})
        self.assertLessEqual({200, 400}, seen, "no race took place")

    def test_file_and_symlink(self) -> None:
        """A file that turns into a symlink to one outside: that one keeps its content."""
        outside = self.pair.write("outside-file", b"outside")
        hop, seen = self.hops()[0], set[int]()
        with self.turning("leaf", os.fsdecode(outside)):
            for number in range(ROUNDS // 4):
                seen.add(hop.put("out/leaf", b"inside").status)
                seen |= self.resume("out/leaf")
                seen.add(hop.move("out/leaf", f"out/{number}").status)
                seen.add(hop.move(f"out/{number}", "out/leaf").status)
                seen.add(hop.ask("DELETE", f"file?path=/workspace/out/{number}").status)
        with open(outside, "rb") as file:
            self.assertEqual(file.read(), b"outside")
        self.assertLessEqual({200, 400}, seen, "no race took place")
        self.assertLessEqual(seen, {200, 201, 204, 400, 404, 409})

    @contextlib.contextmanager
    def turning(self, name: str, target: str) -> Iterator[None]:
        """Make a name a symlink and a file in turns, all the time."""
        enough, turns = threading.Event(), count()

        def turn() -> None:
            while not enough.is_set():
                next(turns)
                os.symlink(target, self.out(".made"))
                os.rename(self.out(".made"), self.out(name))
                with open(self.out(".made"), "wb") as file:
                    file.write(b"agent")
                os.rename(self.out(".made"), self.out(name))

        agent = threading.Thread(target=turn)
        agent.start()
        try:
            yield
        finally:
            enough.set()
            agent.join()
        report(f"{next(turns)} turns of {name}")

    def listed(self, directory: str) -> dict[str, bytes]:
        """:return: what is in a directory."""
        found = {}
        for name in os.listdir(directory):
            with open(os.path.join(directory, name), "rb") as file:
                found[name] = file.read()
        return found
