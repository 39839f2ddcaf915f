"""The script in the manual that resumes a download with curl, with a stand-in for curl."""

from __future__ import annotations

import os
import subprocess
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.download_examples import resume_script
from tests.support.patience import PATIENCE

#: Takes one line of the file ``results`` at each call: exit status and HTTP status.
_CURL = """\
#!/bin/sh
read -r status http <results
sed -i 1d results
printf %s "$http"
exit "$status"
"""


class ResumeScriptTests(SynchronousTestCase):
    """Its exit status, and how often it runs curl."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="chatfiles-docs-")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.write("tag", '"abc"\n')
        self.write("curl", _CURL)
        self.write("sleep", "#!/bin/sh\n")

    def write(self, name: str, content: str) -> None:
        """Create a file that may be a program."""
        with open(os.path.join(self.directory, name), "w") as file:
            file.write(content)
        os.chmod(file.name, 0o755)

    def resume(self, *results: str) -> tuple[int, int]:
        """
        :param results: exit status and HTTP status of each call of curl.
        :return: the exit status of the script, and how many results it did not need.
        """
        self.write("results", "".join(f"{result}\n" for result in results))
        ended = subprocess.run(
            ["sh", "-c", resume_script()],
            cwd=self.directory,
            env={**os.environ, "PATH": f"{self.directory}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
        with open(os.path.join(self.directory, "results")) as file:
            return ended.returncode, len(file.readlines())

    def test_resumes(self) -> None:
        """It continues after an interruption, and while a role is unavailable."""
        passing = ("18 206", "56 206", "28 206", "7 000", "52 000", "55 000")
        for result in (*passing, *(f"22 {http}" for http in (408, 429, 502, 503, 504))):
            self.assertEqual(self.resume(result, result, "0 206"), (0, 0), result)

    def test_complete(self) -> None:
        """A file that is complete already is a success."""
        self.assertEqual(self.resume("22 416", "0 206"), (0, 1))
        self.assertEqual(self.resume("0 416", "0 206"), (0, 1))

    def test_gives_up(self) -> None:
        """It ends with 1 if another request does not help: a changed file, a full disk."""
        for result in ("22 412", "22 401", "22 404", "23 206", "26 000", "33 200", "60 000"):
            self.assertEqual(self.resume(result, "0 206"), (1, 1), result)

    def test_no_tag(self) -> None:
        """Without an ETag it sends nothing: curl would send no condition."""
        self.write("tag", "")
        self.assertEqual(self.resume("0 200"), (1, 1))
