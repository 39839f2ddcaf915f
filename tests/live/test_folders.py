"""
``chatfiles ls``, ``stat``, ``digest``, ``get -r`` and ``get --archive`` as processes, against both
roles as processes; and the examples of howto/folders.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile

from tests.docs.folder_examples import folder_script
from tests.live.cutting import BadLine
from tests.live.processes import LONG_AGO, LiveCase, Pair, environment
from tests.support.fork_server import run
from tests.support.patience import PATIENCE

ODD = b"odd \xff\n\x1b%\\"
LARGE = 3_000_000
NOBODY = 65534


class FolderTests(LiveCase):
    """A project with odd names, modes, empty directories, a symlink and a FIFO."""

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        """Make the project."""
        for name, content, mode in (
            ("src/main.py", b"print()\n" * 500, 0o755),
            ("src/lib/util.py", b"", 0o640),
            ("docs/read me.txt", "ä\n".encode() * 100, 0o644),
            (b"docs/" + ODD, b"odd", 0o600),
            ("data.bin", os.urandom(LARGE), 0o644),
        ):
            path = pair.write(os.path.join(b"workspace/project", os.fsencode(name)), content)
            os.chmod(path, mode)
        project = pair.at("workspace", "project")
        os.mkdir(os.path.join(project, "empty"))
        os.chmod(os.path.join(project, "empty"), 0o711)
        os.symlink("/etc/passwd", os.path.join(project, "link"))
        os.mkfifo(os.path.join(project, "docs", "pipe"))
        for name in ("empty", "docs", "src/lib", "src"):
            os.utime(os.path.join(project, name), (LONG_AGO, LONG_AGO))

    def setUp(self) -> None:
        super().setUp()
        self.project = self.pair.at("workspace", "project")
        self.here = tempfile.mkdtemp(prefix="chatfiles-folders-")
        self.addCleanup(shutil.rmtree, self.here)

    def run_command(
        self, *words: str, url: str | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run ``chatfiles`` with *words*; WORKSPACE is ``ID`` in them."""
        told = {
            "CHATFILES_PLATFORM": url or self.pair.platform.url,
            "CHATFILES_TOKEN": self.pair.token,
        }
        words = tuple(self.pair.id if word == "ID" else word for word in words)
        return run(["chatfiles", *words], cwd=self.here, env=environment(told), timeout=PATIENCE)

    def succeed(self, *words: str) -> bytes:
        """:return: the output of ``chatfiles`` with *words*."""
        done = self.run_command(*words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def described(self, top: str) -> dict[bytes, tuple[object, ...]]:
        """:return: mode, time and digest of everything below *top* but symlinks and FIFOs."""
        found: dict[bytes, tuple[object, ...]] = {}
        for directory, directories, files in os.walk(os.fsencode(top)):
            for name in directories + files:
                path = os.path.join(directory, name)
                status = os.lstat(path)
                digest = None
                if stat.S_ISREG(status.st_mode):
                    with open(path, "rb") as file:
                        digest = hashlib.file_digest(file, "sha256").hexdigest()
                elif not stat.S_ISDIR(status.st_mode):
                    continue
                key = os.path.relpath(path, os.fsencode(top))
                found[key] = (oct(status.st_mode), status.st_mtime_ns, digest)
        return found

    def assert_same(self, out: str) -> None:
        """Assert that *out* is the project."""
        self.assertEqual(self.described(os.path.join(self.here, out)), self.described(self.project))

    def test_list(self) -> None:
        """Names are sorted bytes; ``-R`` has everything; JSON has what a program needs."""
        names = self.succeed("ls", "-0", "ID", "/workspace/project/docs").split(b"\0")
        self.assertEqual(names, [ODD, b"pipe", b"read me.txt", b""])
        everything = self.succeed("ls", "-R", "-0", "ID", "/workspace/project").split(b"\0")
        found = subprocess.run(
            ["find", ".", "-mindepth", "1", "-printf", "%P\\0"],
            cwd=self.project,
            capture_output=True,
            check=True,
        )
        self.assertEqual(sorted(everything), sorted(found.stdout.split(b"\0")))
        line = self.succeed("ls", "--json", "ID", "/workspace/project/data.bin")
        self.assertEqual(json.loads(line)["size"], LARGE)
        self.assertIn(b"/workspace\n", self.succeed("ls", "ID"))
        entry = json.loads(self.succeed("stat", "--json", "ID", "/workspace/project/link"))
        self.assertEqual(entry["type"], "symlink")

    def test_digest(self) -> None:
        """``digest`` prints what ``sha256sum`` prints."""
        paths = [f"/workspace/project/{name}" for name in ("data.bin", "docs/read me.txt")]
        paths.append("/workspace/project/docs/" + os.fsdecode(ODD))
        printed = self.succeed("digest", "ID", *paths)
        local = [os.fsencode(self.pair.base + path) for path in paths]
        expected = subprocess.run(["sha256sum", *local], capture_output=True, check=True).stdout
        self.assertEqual(printed, expected.replace(os.fsencode(self.pair.base), b""))

    def test_tree(self) -> None:
        """A folder arrives as it is, verified, and a second run fetches nothing."""
        done = self.run_command("get", "-r", "--verify", "ID", "/workspace/project", "-o", "out")
        self.assertEqual(done.returncode, 0, done.stderr)
        skipped = sorted(done.stderr.splitlines())
        self.assertEqual(skipped, [b"skipped docs/pipe (special)", b"skipped link (symlink)"])
        self.assert_same("out")
        self.succeed("get", "-r", "-q", "ID", "/workspace/project", "-o", "out")
        self.succeed("get", "-r", "-q", "--verify", "ID", "/workspace/project", "-o", "out")
        self.assert_same("out")

    def use(self, pair: Pair) -> None:
        """Make the project in *pair*, which this test uses."""
        self.addCleanup(pair.discard)
        self.prepare(pair)
        self.pair = pair
        self.project = pair.at("workspace", "project")

    def test_too_many(self) -> None:
        """A folder with more entries than the workspace lists at once arrives completely."""
        self.use(Pair(workspace=["--max-list-entries=5"]))
        done = self.run_command("get", "-r", "ID", "/workspace/project", "-o", "out")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"listing directory by directory", done.stderr)
        self.assert_same("out")

    def test_unreadable(self) -> None:
        """A file that the workspace may not read gives both commands the status 4."""
        self.use(Pair(uid=None if os.geteuid() else NOBODY))
        path = os.path.join(self.project, "src", "main.py")
        os.chmod(path, 0)
        for words in (["-r"], ["--archive", "zip"], ["--archive", "tar", "-q"]):
            done = self.run_command("get", *words, "ID", "/workspace/project")
            self.assertEqual(done.returncode, 4, done.stderr)
            self.assertIn(b"src/main.py", done.stderr)

    def test_interrupted_tree(self) -> None:
        """A transfer that is interrupted anywhere is completed by the same command."""
        words = ("get", "-r", "-q", "-j", "1", "--retries", "0", "ID", "/workspace/project")
        for number, cut in enumerate((100, 2_000, 6_000, 500_000, LARGE // 2, LARGE)):
            out = f"out{number}"
            with BadLine(self.pair.platform.port, [cut]) as line:
                done = self.run_command(*words, "-o", out, url=line.url)
                self.assertIn(done.returncode, (0, 6, 7), (cut, done.stderr))
                done = self.run_command(*words, "-o", out, url=line.url)
            self.assertEqual(done.returncode, 0, (cut, done.stderr))
            self.assert_same(out)

    def test_archives(self) -> None:
        """Archives of each form have the files; what was skipped is printed."""
        for form in ("zip", "tar", "tar.gz"):
            done = self.run_command("get", "--archive", form, "ID", "/workspace/project")
            self.assertEqual(done.returncode, 0, done.stderr)
            skipped = (b"docs/pipe (special)\n", b"link (symlink)\n")
            for line in skipped:
                self.assertIn(b"skipped /workspace/project/" + line, done.stderr)
        with zipfile.ZipFile(os.path.join(self.here, "project.zip")) as archive:
            self.assertIsNone(archive.testzip())
            self.assertEqual(len(archive.read("project/data.bin")), LARGE)
        for form in ("tar", "tar.gz"):
            with tarfile.open(os.path.join(self.here, f"project.{form}")) as packed:
                self.assertIn("project/src/lib/util.py", packed.getnames())

    def test_interrupted_archive(self) -> None:
        """An archive that is interrupted leaves no file."""
        for form in ("zip", "tar", "tar.gz"):
            for cut in (100, 10_000, LARGE // 2):
                with BadLine(self.pair.platform.port, [cut]) as line:
                    words = ("get", "--archive", form, "ID", "/workspace/project")
                    done = self.run_command(*words, url=line.url)
                self.assertIn(done.returncode, (6, 7), done.stderr)
                self.assertEqual(os.listdir(self.here), [])

    def test_directory(self) -> None:
        """``get`` of a directory says how to get it."""
        done = self.run_command("get", "ID", "/workspace/project")
        self.assertEqual(done.returncode, 5)
        self.assertIn(b"it is a directory", done.stderr)
        self.assertIn(b"-r, or all of it as one file with --archive zip", done.stderr)

    def test_manual(self) -> None:
        """The examples of the manual work as they are."""
        with open(os.path.join(self.here, "ws.token"), "w") as file:
            os.chmod(file.name, 0o600)
            file.write(self.pair.token)
        script = folder_script().replace("https://files.example.org", self.pair.platform.url)
        script = script.replace("3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d", self.pair.id)
        script = script.replace("limit=100", "limit=1")
        if shutil.which("jq") is None:
            script = "\n".join(line for line in script.split("\n") if "jq" not in line)
        programs = os.path.dirname(sys.executable)
        told = {"PATH": f"{programs}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.here,
            env=environment(told),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        made = {"page.json", "project", "project.zip", "sources.tar.gz", "parts.tar"}
        self.assertLessEqual(made, set(os.listdir(self.here)))
        self.assertIn(b"/workspace/project/data.bin\n", done.stdout)
        if shutil.which("jq") is not None:
            self.assertIn(b"/workspace/project/empty\n/workspace/project/link\n", done.stdout)
        with tarfile.open(os.path.join(self.here, "parts.tar")) as packed:
            self.assertIn("project/src/main.py", packed.getnames())
