"""
A workspace directory whose owner is malicious (reference/paths, "What is found"): its contents are
laid out to make the role serve another file, hang, or wake a process.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator

from twisted.trial.unittest import SkipTest

from tests.live.processes import SOAK, LiveCase, Pair, canary, quoted
from tests.live.rawhttp import Connection, Response, fetch
from tests.support.patience import PATIENCE

IRREGULAR = "path is not a regular file"
MISSING = "file not found"
SECRET = canary().encode()
NOBODY = 65534
#: Requests during one race, after the first thousand swaps.
ROUNDS = 500

# Exchanges what two names stand for (RENAME_EXCHANGE), so often, or until its standard input ends.
SWAPPER = """
import ctypes, os, sys, threading
number, one, other = int(sys.argv[1]), *map(os.fsencode, sys.argv[2:])
enough = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), enough.set()), daemon=True).start()
exchange = ctypes.CDLL(None, use_errno=True).renameat2
count = 0
while count < number if number else not enough.is_set():
    if exchange(-100, one, -100, other, 2):
        sys.exit(os.strerror(ctypes.get_errno()))
    count += 1
    if count == 1000:
        print("1000 swaps", flush=True)
print(count)
"""


class HostileTests(LiveCase):
    """Every kind of thing that is not a regular file, at the end of a path and on the way."""

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.hide(SECRET.decode())
        pair.write("workspace/a.txt", b"hello a\n")
        pair.write("workspace/sub/b.txt", b"hello b\n")
        pair.write("outside/secret.txt", SECRET)
        pair.write("outside/deep/secret.txt", SECRET)

    def link(self, name: str, target: str | bytes) -> str:
        """Make a symlink in the workspace."""
        path = self.pair.at("workspace", name)
        os.symlink(os.fsencode(target), os.fsencode(path))
        return name

    def irregular(self, *paths: str) -> None:
        """Each path is refused, directly and through the platform, without any of its content."""
        for path in paths:
            for name, answer in self.pair.file(path).items():
                self.assertNotIn(SECRET, answer.body, (name, path))
                self.assert_error(answer, 400, IRREGULAR, (name, path))

    def test_symlinks_at_the_end(self) -> None:
        """A symlink is refused wherever it leads, even to a file that can be read directly."""
        base = self.pair.base
        targets: tuple[str | bytes, ...] = (
            "a.txt",
            "./a.txt",
            "sub/b.txt",
            "sub",
            ".",
            "..",
            "/",
            f"{base}/workspace/a.txt",
            "/workspace/a.txt",
            "../outside/secret.txt",
            f"{base}/outside/secret.txt",
            f"{base}/outside",
            "/etc/passwd",
            "../configs/.platform_inbound_secret",
            self.pair.secret_file,
            "missing",
            "missing/missing",
            "/dev/null",
            "/dev/zero",
            "/dev/stdin",
            "/dev/fd/0",
            "/proc/self/environ",
            "/proc/self/exe",
            "/proc/self/cwd/etc/passwd",
            "/proc/self/root/etc/passwd",
            "/proc/self/fd/0",
            "/proc/1/environ",
            "/sys/kernel/notes",
            "x" * 4000,
            b"\xff\xfe",
        )
        for number, target in enumerate(targets):
            self.irregular(f"/workspace/{self.link(f'end-{number}', target)}")

    def test_symlinks_on_the_way(self) -> None:
        """A symlink in place of a directory is refused, whether or not it leads back inside."""
        base = self.pair.base
        for number, (target, rest) in enumerate(
            (
                ("sub", "b.txt"),
                (f"{base}/workspace/sub", "b.txt"),
                (".", "a.txt"),
                (".", "sub/b.txt"),
                ("..", "outside/secret.txt"),
                ("../outside", "secret.txt"),
                (f"{base}/outside", "secret.txt"),
                (f"{base}/outside", "deep/secret.txt"),
                (f"{base}/outside", "missing"),
                ("/", "etc/passwd"),
                ("/proc/self/root", "etc/passwd"),
                ("/proc/self/cwd", "etc/passwd"),
                ("/proc/self", "environ"),
                ("/proc/self/fd", "0"),
                ("/dev", "zero"),
                (f"{base}/configs", ".platform_inbound_secret"),
                ("missing", "x"),
                ("a.txt", "x"),
            )
        ):
            self.irregular(f"/workspace/{self.link(f'way-{number}', target)}/{rest}")
        self.link("sub/inner", "..")
        self.irregular("/workspace/sub/inner/a.txt", "/workspace/sub/inner/inner/a.txt")

    def test_loops(self) -> None:
        """Symlinks in a loop are refused, quickly."""
        self.link("self", "self")
        self.link("loop-a", "loop-b")
        self.link("loop-b", "loop-a")
        self.irregular("/workspace/self", "/workspace/loop-a", "/workspace/loop-b")
        self.irregular("/workspace/self/x", "/workspace/loop-a/x", "/workspace/loop-a/x/y")

    def test_slash_behind_a_link(self) -> None:
        """A slash after a symlink does not open its target: the path is invalid."""
        self.link("slashed", "../outside")
        for answer in self.pair.get("path=/workspace/slashed/").values():
            self.assert_error(answer, 400, "invalid path")

    def test_root_within_another(self) -> None:
        """A symlink from one root into another is refused, in either direction."""
        self.link("to-configs", "../configs/agent.yaml")
        self.pair.write("configs/agent.yaml", b"a: 1\n")
        os.symlink("../workspace/a.txt", self.pair.at("plugins", "to-workspace"))
        self.irregular("/workspace/to-configs", "/plugins/to-workspace")

    def test_hard_link_outside(self) -> None:
        """A hard link is served like any other file; only those to credentials are not."""
        os.link(self.pair.write("outside/plain.txt", b"plain"), self.pair.at("workspace", "hard"))
        for answer in self.pair.file("/workspace/hard").values():
            self.assertEqual((answer.status, answer.body), (200, b"plain"))

    def test_fifo(self) -> None:
        """A FIFO is refused at once, and a process that waits to write to it is not woken."""
        fifo = self.pair.at("workspace", "fifo")
        os.mkfifo(fifo)
        woken = threading.Event()

        def write() -> None:
            fd = os.open(fifo, os.O_WRONLY)
            woken.set()
            os.close(fd)

        writer = threading.Thread(target=write, daemon=True)
        self.irregular("/workspace/fifo")  # no process at the other end
        writer.start()
        for _ in range(20):
            self.irregular("/workspace/fifo")
        self.assertFalse(woken.is_set(), "the writer was woken")
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        writer.join(PATIENCE)
        os.close(reader)
        self.assertTrue(woken.is_set(), "the writer did not wait at all")
        for answer in self.pair.file("/workspace/fifo/x").values():
            self.assert_error(answer, 404, MISSING, "below a FIFO")

    def test_socket(self) -> None:
        """A socket is refused, whether or not a process listens."""
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        here = os.open(self.pair.at("workspace"), os.O_RDONLY)
        self.addCleanup(os.close, here)
        listener.bind(f"/proc/self/fd/{here}/socket")
        self.irregular("/workspace/socket")
        listener.listen()
        listener.setblocking(False)
        self.irregular("/workspace/socket")
        self.assertRaises(BlockingIOError, listener.accept)

    def test_devices(self) -> None:
        """A device is refused, not read."""
        if os.geteuid():
            raise SkipTest("only root can make devices")
        try:
            for name, kind, number in (
                ("zero", stat.S_IFCHR, (1, 5)),
                ("null", stat.S_IFCHR, (1, 3)),
                ("tty", stat.S_IFCHR, (5, 0)),
                ("no-driver", stat.S_IFCHR, (250, 250)),
                ("block", stat.S_IFBLK, (250, 250)),
            ):
                path = self.pair.at("workspace", name)
                os.mknod(path, kind | 0o666, os.makedev(*number))
                self.irregular(f"/workspace/{name}")
        except PermissionError as error:
            raise SkipTest(f"devices cannot be made here: {error}") from error

    def test_many_at_once(self) -> None:
        """Refused requests for such things do not delay other requests."""
        os.mkfifo(self.pair.at("workspace", "held-up"))
        target = "/internal/file/read?path=/workspace/held-up"
        waiting = [self.connect(self.pair.workspace) for _ in range(64)]
        for connection in waiting:
            connection.ask("GET", target, self.pair.inbound)
        for answer in self.pair.file("/workspace/a.txt").values():
            self.assertEqual(answer.body, b"hello a\n")
        for connection in waiting:
            self.assert_error(connection.response(), 400, IRREGULAR)

    def test_root_gone(self) -> None:
        """A missing root directory is an error of the server (500), not a missing file."""
        away = self.pair.at("plugins.away")
        os.rename(self.pair.at("plugins"), away)
        try:
            for answer in self.pair.file("/plugins/x").values():
                self.assert_error(answer, 500, "read failed")
            os.symlink(self.pair.at("outside"), self.pair.at("plugins"))
            for answer in self.pair.file("/plugins/secret.txt").values():
                self.assertNotEqual(answer.status, 200, "a root was turned into a symlink")
            os.unlink(self.pair.at("plugins"))
        finally:
            os.rename(away, self.pair.at("plugins"))
        self.pair.write("plugins/x", b"back")
        for answer in self.pair.file("/plugins/x").values():
            self.assertEqual((answer.status, answer.body), (200, b"back"))


class UnprivilegedTests(LiveCase):
    """A workspace whose process may not read everything."""

    @classmethod
    def make_pair(cls) -> Pair:
        pair = Pair(uid=None if os.geteuid() else NOBODY)
        pair.hide(SECRET.decode())
        for name in ("none", "write-only", "closed/inside.txt", "listed/inside.txt"):
            pair.write(f"workspace/{name}", SECRET)
        pair.write("workspace/readable.txt", b"readable")
        os.chmod(pair.at("workspace", "none"), 0)
        os.chmod(pair.at("workspace", "write-only"), 0o222)
        os.chmod(pair.at("workspace", "closed"), 0)
        os.chmod(pair.at("workspace", "listed"), 0o644)
        os.mkfifo(pair.at("workspace", "fifo"), 0)
        os.mkdir(pair.at("workspace", "directory"), 0)
        return pair

    def test_no_permission(self) -> None:
        """A file that the role may not read is 403, also if a directory on the way is closed."""
        for path in (
            "none",
            "write-only",
            "closed/inside.txt",
            "closed/missing",
            "listed/inside.txt",
        ):
            for name, answer in self.pair.file(f"/workspace/{path}").items():
                self.assert_error(answer, 403, "permission denied", (name, path))

    def test_others(self) -> None:
        """
        What is not a regular file is reported as such, readable or not; readable files are served.
        """
        for path in ("fifo", "directory"):
            for name, answer in self.pair.file(f"/workspace/{path}").items():
                self.assert_error(answer, 400, IRREGULAR, (name, path))
        for answer in self.pair.file("/workspace/readable.txt").values():
            self.assertEqual((answer.status, answer.body), (200, b"readable"))

    def test_unreadable_secret(self) -> None:
        """A secret that the role may not read opens nothing, not even for an empty credential."""
        path = self.pair.secret_file
        os.chmod(path, 0)
        self.addCleanup(os.chmod, path, 0o600)
        for fields in (self.pair.inbound, {"Authorization": "Bearer "}, {}):
            answer = fetch(
                self.pair.workspace.url,
                "/internal/file/read?path=/workspace/readable.txt",
                fields,
            )
            self.assert_error(answer, 401, "unauthorized", fields)


class RaceTests(LiveCase):
    """There is no time between a check and its use in which to change what a path names."""

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.hide(SECRET.decode())
        pair.write("outside/secret.txt", SECRET)

    @contextlib.contextmanager
    def swapping(self, one: str, other: str) -> Iterator[subprocess.Popen[str]]:
        """A context in which another process exchanges the two names all the time."""
        names = [self.pair.at("workspace", name) for name in (one, other)]
        process = subprocess.Popen(
            [sys.executable, "-c", SWAPPER, "100000" if SOAK else "0", *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        yield process
        process.communicate(timeout=600)
        self.assertEqual(process.returncode, 0)

    def race(self, name: str, other: str, below: str = "") -> set[int]:
        """:return: the statuses of the responses for the path, none of which has the secret."""
        target = "/internal/file/read?path=" + quoted(f"/workspace/{name}{below}")
        seen: set[int] = set()
        with (
            self.swapping(name, other) as process,
            Connection(self.pair.workspace.url) as connection,
        ):
            rounds, swaps = 0, process.stdout
            while rounds < ROUNDS or (SOAK and process.poll() is None):
                answer = connection.exchange("GET", target, self.pair.inbound)
                self.check(answer)
                seen.add(answer.status)
                if swaps is not None and select.select([swaps], [], [], 0)[0]:
                    self.assertEqual(swaps.readline(), "1000 swaps\n")
                    swaps = None
                rounds += swaps is None  # those before prove little
        return seen

    def check(self, answer: Response) -> None:
        """The response is the file inside, or a refusal."""
        self.assertNotIn(SECRET, answer.body)
        self.assertNotIn(self.pair.secret.encode(), answer.body)
        if answer.status == 200:
            self.assertEqual(answer.body, b"inside")

    def test_file_and_symlink(self) -> None:
        """A file that turns into a symlink to a secret and back."""
        os.symlink("../outside/secret.txt", self.pair.at("workspace", "leaf-link"))
        self.pair.write("workspace/leaf", b"inside")
        self.assertEqual(self.race("leaf", "leaf-link"), {200, 400}, "no race took place")

    def test_directory_and_symlink(self) -> None:
        """A directory on the way that turns into a symlink to one with a secret and back."""
        os.symlink("../outside", self.pair.at("workspace", "way-link"))
        self.pair.write("workspace/way/secret.txt", b"inside")
        seen = self.race("way", "way-link", below="/secret.txt")
        self.assertEqual(seen, {200, 400}, "no race took place")

    def test_file_and_credential(self) -> None:
        """A file that turns into a hard link to the role's own credential and back."""
        os.link(self.pair.secret_file, self.pair.at("workspace", "hard-secret"))
        self.pair.write("workspace/hard", b"inside")
        self.assertEqual(self.race("hard", "hard-secret"), {200, 404}, "no race took place")

    def test_file_and_fifo(self) -> None:
        """
        A file that turns into a FIFO and back: the role does not wait for a process that writes to
        it.
        """
        os.mkfifo(self.pair.at("workspace", "pipe"))
        self.pair.write("workspace/turning", b"inside")
        self.assertEqual(self.race("turning", "pipe"), {200, 400}, "no race took place")
