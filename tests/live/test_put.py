"""
``chatfiles put`` and ``get`` as processes, against both roles as processes (reference/uploads,
"Response").
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

from tests.live.processes import LiveCase, Pair, environment
from tests.support.fork_server import run
from tests.support.patience import PATIENCE

__all__ = ["PutTests"]

MIB = 1 << 20
#: So far above the limit of a file that bytes in transit between the roles do not reach it.
LIMIT = 16 * MIB
UPLOADS = "/workspace/.molecule/chat-uploads/"


class PutTests(LiveCase):
    """What is put can be downloaded, or nothing is stored."""

    @classmethod
    def make_pair(cls) -> Pair:
        """:return: roles that accept at most 16 MiB at once, and 6 MiB of a file."""
        limits = [f"--max-request-bytes={LIMIT}", f"--max-file-bytes={6 * MIB}"]
        return Pair(both=limits)

    def setUp(self) -> None:
        super().setUp()
        self.here = tempfile.mkdtemp(prefix="chatfiles-put-")
        self.addCleanup(shutil.rmtree, self.here)
        shutil.rmtree(self.pair.at("workspace", ".molecule"), ignore_errors=True)

    def run_command(
        self,
        *words: str,
        given: bytes = b"",
        platform: str | None = None,
        token: str | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run ``chatfiles`` with *words* and *given* as its standard input."""
        told = {
            "CHATFILES_PLATFORM": platform or self.pair.platform.url,
            "CHATFILES_TOKEN": token or self.pair.token,
        }
        done = run(
            ["chatfiles", *words],
            cwd=self.here,
            env=environment(told),
            stdin=given,
            timeout=PATIENCE,
        )
        self.assertNotIn(self.pair.token.encode(), done.stdout + done.stderr)
        return done

    def put(self, *words: str, given: bytes = b"") -> list[str]:
        """:return: the paths that ``chatfiles put`` prints."""
        done = self.run_command("put", *words, self.pair.id, given=given)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        paths = done.stdout.decode().splitlines()
        self.assertTrue(all(path.startswith(UPLOADS) for path in paths), paths)
        return paths

    def got(self, path: str) -> bytes:
        """:return: what ``chatfiles get`` writes."""
        done = self.run_command("get", self.pair.id, path, "-o", "-")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout

    def served(self, path: str) -> bytes:
        """
        :return: the content that the platform serves, without a process of its own for the request.
        """
        return self.pair.file(path)["through"].body

    def fill(self, name: str | bytes, content: bytes) -> bytes:
        """Make a file.  :return: its content."""
        with open(os.path.join(os.fsencode(self.here), os.fsencode(name)), "wb") as file:
            file.write(content)
        return content

    def refused(self, done: subprocess.CompletedProcess[bytes], status: int, *texts: str) -> None:
        """The command ended with *status* and wrote *texts*, and nothing is stored."""
        said = done.stderr.decode()
        self.assertEqual((done.returncode, done.stdout), (status, b""), said)
        for text in texts:
            self.assertIn(text, said)
        self.assertNotIn("roken pipe", said)
        self.assertEqual(self.stored(), [])

    def stored(self) -> Sequence[str]:
        """:return: what is in the directory of uploads."""
        try:
            return os.listdir(self.pair.at("workspace", *UPLOADS.split("/")[2:]))
        except FileNotFoundError:
            return []

    def test_round_trip(self) -> None:
        """An empty file, one of a byte, and one of 5 MiB are unchanged after a round trip."""
        for size in (0, 1, 5 * MIB):
            content = self.fill("a.bin", os.urandom(size))
            [path] = self.put("a.bin")
            self.assertTrue(path.endswith("-a.bin"))
            self.assertEqual(self.got(path), content)

    def test_together(self) -> None:
        """Several files at once keep their order and contents, whatever they are called."""
        names = [
            "empty",
            "spaces and é.txt",
            'quote".tar.gz',
            "back\\slash",
            "line\r\nend",
            "\udcff",
        ]
        contents = [self.fill(name, os.urandom(index * 70_000)) for index, name in enumerate(names)]
        paths = self.put(*names)
        self.assertEqual([self.served(path) for path in paths], contents)
        self.assertEqual(len(self.stored()), len(names))
        self.assertTrue(paths[1].endswith("-spaces_and__.txt"), paths[1])

    def test_pipe(self) -> None:
        """Standard input can be put under a name, beside a file."""
        content = os.urandom(3 * MIB)
        one = self.fill("one", b"1")
        first, second = self.put("-", "one", "--name", "piped.bin", given=content)
        self.assertTrue(first.endswith("-piped.bin"))
        self.assertEqual((self.served(first), self.served(second)), (content, one))

    def test_json(self) -> None:
        """``--json`` prints the platform's whole response, with the original names."""
        self.fill("données.csv", b"a,b\n")
        done = self.run_command("put", "--json", "données.csv", self.pair.id)
        self.assertEqual(done.returncode, 0, done.stderr)
        [entry] = json.loads(done.stdout)["files"]
        self.assertEqual(entry["originalName"], "données.csv")
        self.assertEqual((entry["size"], entry["mimeType"]), (4, "text/csv"))

    def test_too_large(self) -> None:
        """
        Over a limit, by its length or while it is sent, an upload is refused with the platform's
        message, and nothing is stored.
        """
        self.fill("large", bytes(LIMIT))
        self.fill("medium", bytes(7 * MIB))
        whole = "request body exceeds total limit (16 MB) (request_too_large, request "
        self.refused(self.run_command("put", "large", self.pair.id), 5, whole, "/uploads/limits")
        # Over one limit only: which of two is noticed first depends on what is in transit.
        piped = self.run_command("put", "-", self.pair.id, given=bytes(7 * MIB))
        self.refused(piped, 5, "-file limit (6 MB) (file_too_large, request ")
        one = self.run_command("put", "medium", self.pair.id)
        self.refused(one, 5, "medium exceeds per-file limit (6 MB) (file_too_large, request ")

    def test_too_many(self) -> None:
        """65 files are one too many."""
        names = [f"f{index}" for index in range(65)]
        for name in names:
            self.fill(name, b"x")
        self.refused(self.run_command("put", *names, self.pair.id), 5, "too many files (limit 64)")
        self.assertEqual(len(self.put(*names[1:])), 64)

    def test_credentials(self) -> None:
        """A wrong token and a read-only token are refused, for a large file too."""
        self.fill("large", bytes(LIMIT))
        self.fill("small", b"x")
        made = self.pair.as_admin(
            "POST", f"/workspaces/{self.pair.id}/tokens", json.dumps({"scopes": ["read"]}).encode()
        )
        reader = made.json["token"]
        self.pair.hide(reader)
        for name in ("large", "small"):
            wrong = self.run_command("put", name, self.pair.id, token="wrong")
            self.refused(wrong, 4, "invalid workspace auth token (", "hint: is it for this")
            reading = self.run_command("put", name, self.pair.id, token=reader)
            self.refused(reading, 4, "token does not allow this", "token create --scope")

    def test_unreachable(self) -> None:
        """
        An unreachable platform, an unreachable workspace, and an unknown id have different
        messages.
        """
        self.fill("large", bytes(5 * MIB))
        nowhere = self.run_command("put", "large", self.pair.id, platform="http://127.0.0.1:1")
        self.refused(nowhere, 6, "cannot reach the platform at http://127.0.0.1:1")
        gone, token = self.pair.add("http://127.0.0.1:1")
        gone_workspace = self.run_command("put", "large", gone, token=token)
        self.refused(gone_workspace, 6, "workspace", "hint: ")
        unknown = "3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d"
        nobody = self.run_command("put", "large", unknown, token=self.pair.admin)
        self.refused(nobody, 3, "workspace not found")

    def test_changes(self) -> None:
        """If a file that seems empty is not, the command fails and nothing is stored."""
        self.fill("f", b"x")
        changing = self.run_command("put", "f", "/proc/version", self.pair.id)
        self.refused(changing, 8, "/proc/version changed while it was being sent")
