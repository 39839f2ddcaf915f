"""
Cases for third-party clients (curl, wget and aria2c), for both ways to a file.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile

from twisted.trial.unittest import SkipTest

from tests.live.cutting import BadLine
from tests.live.transfers import MIB, Way
from tests.support.patience import PATIENCE

__all__ = ["ClientCases"]

#: The size of the file.
SIZE = 6 * MIB + 4321
#: Exit statuses of curl and wget.
CURL_PARTIAL, CURL_HTTP, CURL_RANGE = 18, 22, 33
WGET_NETWORK, WGET_SERVER = 4, 8


class ClientCases(Way):
    """Downloads that are interrupted and resumed, also of a file that changes in between."""

    def setUp(self) -> None:
        super().setUp()
        self.chance = random.Random(os.urandom(4).hex())
        self.seed = self.chance.randrange(2**32)
        self.chance.seed(self.seed)
        self.content = random.Random(self.seed).randbytes(SIZE)
        self.pair.write("workspace/client.bin", self.content)
        self.directory = tempfile.mkdtemp(prefix="chatfiles-clients-")
        self.addCleanup(shutil.rmtree, self.directory)
        target, credential = self.target("/workspace/client.bin")
        self.route = target.decode()
        [(name, value)] = credential.items()
        self.credential = f"{name}: {value}"
        with open(os.path.join(self.directory, "header"), "w") as file:
            file.write(self.credential + "\n")

    @property
    def about(self) -> str:
        """What is needed to reproduce a failure."""
        return f"seed {self.seed}"

    def line(self, *cuts: int, together: bool = False) -> BadLine:
        """:return: a line to the role that is interrupted at these offsets; see `BadLine`."""
        return BadLine(self.role.port, list(cuts), together=together)

    def run_program(self, program: str, *words: str) -> int:
        """:return: the exit status."""
        if shutil.which(program) is None:
            raise SkipTest(f"{program} is not installed")
        environment = {**os.environ, "HOME": self.directory, "LC_ALL": "C"}
        for name in ("http_proxy", "all_proxy", "ALL_PROXY"):
            environment.pop(name, None)
        ended = subprocess.run(
            [program, *words],
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
        self.output = ended.stdout.decode(errors="replace")
        return ended.returncode

    def curl(self, url: str, *words: str) -> int:
        """:return: the exit status of curl, which writes to ``out``."""
        return self.run_program(
            "curl", "-q", "-sS", "-H", "@header", "-o", "out", *words, url + self.route
        )

    def wget(self, url: str, *words: str) -> int:
        """:return: the exit status of wget, which tries once and writes to ``out``."""
        timeout = f"-T{PATIENCE:.0f}"
        options = ("--no-config", "-nv", "-t1", timeout, "--header", self.credential, "-O", "out")
        return self.run_program("wget", *options, *words, url + self.route)

    def aria2c(self, url: str, *words: str) -> int:
        """:return: the exit status of aria2c, which uses four connections and writes to ``out``."""
        options = ("--no-conf", "-q", "-x4", "-s4", "-k1M", "--retry-wait=0", "-o", "out")
        return self.run_program(
            "aria2c", *options, "--header", self.credential, *words, url + self.route
        )

    def saved(self) -> bytes:
        """:return: the content of ``out``."""
        with open(os.path.join(self.directory, "out"), "rb") as file:
            return file.read()

    def offsets(self, count: int) -> list[int]:
        """:return: where to interrupt: in the headers, in the middle, near the end, anywhere."""
        edges = [500, SIZE // 2, SIZE]
        return edges + [self.chance.randrange(2000, SIZE) for _ in range(count)]

    def rewrite(self) -> bytes:
        """:return: the new content of the file, of the same size and date."""
        content = random.Random(self.seed + 1).randbytes(SIZE)
        self.pair.write("workspace/client.bin", content)
        return content

    def etag(self) -> str:
        """:return: the entity tag of the file as it is now."""
        return self.get("/workspace/client.bin", method="HEAD")["etag"]

    # -- curl

    def test_curl_goes_on(self) -> None:
        """``curl -C -`` resumes a download, wherever it was interrupted; the result is the file."""
        for cut in self.offsets(5):
            with self.line(cut) as line:
                first = self.curl(line.url)
                self.assertNotEqual(first, 0, (cut, self.about))
                if cut > 2000:
                    self.assertEqual(first, CURL_PARTIAL, (cut, self.output, self.about))
                    self.assertLess(len(self.saved()), SIZE)
                mark = self.role.mark()
                again = self.curl(line.url, "-C", "-")
                self.assertEqual(again, 0, (cut, self.output, self.about))
                self.assertTrue(self.saved() == self.content, (cut, self.about))
                if cut > 2000:
                    self.role.logged(r" 206 \d+ bytes .* complete", since=mark)
            os.unlink(os.path.join(self.directory, "out"))

    def test_curl_retries(self) -> None:
        """``curl --retry`` completes an interrupted download, from the start or by resuming it."""
        with self.line(*self.offsets(2)[1:]) as line:
            status = self.curl(line.url, "--retry", "9", "--retry-all-errors", "--retry-delay", "1",
                               "-C", "-")  # fmt: skip
            self.assertEqual(status, 0, (self.output, self.about))
            self.assertTrue(self.saved() == self.content, self.about)
            self.assertGreater(line.connections, 1)

    def test_curl_rewritten(self) -> None:
        """With ``If-Range`` or ``If-Match``, curl does not resume if the file has changed."""
        for condition, status in (("If-Range", CURL_RANGE), ("If-Match", CURL_HTTP)):
            tag = self.etag()
            cut = self.chance.randrange(2000, SIZE)
            with self.line(cut) as line:
                self.assertEqual(self.curl(line.url), CURL_PARTIAL, (cut, self.about))
                part = self.saved()
                content = self.rewrite()
                again = self.curl(line.url, "-f", "-C", "-", "-H", f"{condition}: {tag}")
                self.assertEqual(again, status, (condition, self.output, self.about))
                self.assertTrue(self.saved() == part, "nothing was mixed in")
                self.assertEqual(self.curl(line.url), 0)
                self.assertTrue(self.saved() == content)
            self.pair.write("workspace/client.bin", self.content)

    def test_curl_not_rewritten(self) -> None:
        """With the same conditions, curl resumes if the file has not changed."""
        for condition in ("If-Range", "If-Match"):
            with self.line(self.chance.randrange(2000, SIZE)) as line:
                self.assertEqual(self.curl(line.url), CURL_PARTIAL, self.about)
                again = self.curl(line.url, "-f", "-C", "-", "-H", f"{condition}: {self.etag()}")
                self.assertEqual(again, 0, (condition, self.output, self.about))
                self.assertTrue(self.saved() == self.content, self.about)
            os.unlink(os.path.join(self.directory, "out"))

    def test_curl_if_range_by_hand(self) -> None:
        """If the file has changed, the response to ``If-Range`` is 200 and the whole new file."""
        tag, content = self.etag(), self.rewrite()
        words = ("-r", "1000-", "-H", f"If-Range: {tag}", "-w", "%{http_code}")
        self.assertEqual(self.curl(self.role.url, *words), 0)
        self.assertEqual(self.output, "200")
        self.assertTrue(self.saved() == content)

    def test_curl_etags(self) -> None:
        """``--etag-save`` and ``--etag-compare`` fetch a file only if it has changed."""
        self.assertEqual(self.curl(self.role.url, "--etag-save", "tag"), 0, self.output)
        words = ("--etag-compare", "tag", "-w", "%{http_code}")
        self.assertEqual((self.curl(self.role.url, *words), self.output), (0, "304"))
        self.assertTrue(self.saved() == self.content)
        content = self.rewrite()
        self.assertEqual((self.curl(self.role.url, *words), self.output), (0, "200"))
        self.assertTrue(self.saved() == content)

    def test_curl_old(self) -> None:
        """``curl -0`` fetches the file; ``curl -C -`` does not fetch a complete file again."""
        self.assertEqual(self.curl(self.role.url, "-0"), 0, self.output)
        self.assertTrue(self.saved() == self.content)
        words = ("-C", "-", "-w", "%{http_code}")
        self.assertEqual((self.curl(self.role.url, *words), self.output), (0, "416"))
        self.assertTrue(self.saved() == self.content)

    # -- wget

    def test_wget_goes_on(self) -> None:
        """``wget -c`` resumes a download, wherever it was interrupted; the result is the file."""
        for cut in self.offsets(2)[1:]:
            with self.line(cut) as line:
                self.assertEqual(self.wget(line.url), WGET_NETWORK, (cut, self.output, self.about))
                self.assertEqual(self.wget(line.url, "-c"), 0, (cut, self.output, self.about))
                self.assertTrue(self.saved() == self.content, (cut, self.about))
                self.assertEqual(self.wget(line.url, "-c"), 0, "it is whole already")
            os.unlink(os.path.join(self.directory, "out"))

    def test_wget_rewritten(self) -> None:
        """With ``If-Match``, wget does not resume if the file has changed."""
        tag = self.etag()
        with self.line(self.chance.randrange(2000, SIZE)) as line:
            self.assertEqual(self.wget(line.url), WGET_NETWORK, self.about)
            part, content = self.saved(), self.rewrite()
            again = self.wget(line.url, "-c", "--header", f"If-Match: {tag}")
            self.assertEqual(again, WGET_SERVER, (self.output, self.about))
            self.assertTrue(self.saved() == part, "nothing was mixed in")
            self.assertEqual(self.wget(line.url), 0)
            self.assertTrue(self.saved() == content)

    def test_wget_names(self) -> None:
        """``wget --content-disposition`` saves the file under its name."""
        status = self.run_program(
            "wget", "--no-config", "-q", "--content-disposition", "--header", self.credential,
            self.role.url + self.route,
        )  # fmt: skip
        self.assertEqual(status, 0, self.output)
        self.assertIn("client.bin", os.listdir(self.directory))

    # -- aria2c

    def test_aria2c(self) -> None:
        """Parts that are fetched concurrently make up the file, also if they are interrupted."""
        for cuts in ((), self.offsets(3)[1:]):
            mark = self.role.mark()
            with self.line(*cuts, together=True) as line:
                self.assertEqual(self.aria2c(line.url), 0, (self.output, self.about))
                self.assertTrue(self.saved() == self.content, (cuts, self.about))
                self.assertGreater(line.connections, 1, "one after the other")
            self.role.logged(r" 206 \d+ bytes", since=mark)
            os.unlink(os.path.join(self.directory, "out"))

    def test_aria2c_rewritten(self) -> None:
        """With ``If-Match``, parts of two versions are not combined."""
        tag = self.etag()
        words = ("-m1", "--header", f"If-Match: {tag}")
        with self.line(*[MIB // 8] * 100) as line:
            self.assertNotEqual(self.aria2c(line.url, *words), 0, "every line was cut")
        self.rewrite()
        self.assertNotEqual(self.aria2c(self.role.url, "-c", *words), 0, self.output)
        self.assertIn("out.aria2", os.listdir(self.directory), "it knows that more is missing")
