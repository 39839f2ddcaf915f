"""curl, wget and aria2c: they agree with us on ranges and conditions, through either way."""

from __future__ import annotations

import os
import sys

from tests.live import clients
from tests.live.clients import SIZE
from tests.live.cutting import BadLine


class DirectTests(clients.ClientCases):
    """Asking the workspace itself."""

    hop = "direct"


class ThroughTests(clients.ClientCases):
    """Asking the platform."""

    hop = "through"

    def chatfiles_get(self, url: str) -> int:
        """:return: the exit status of ``chatfiles get``, which writes to ``out``."""
        words = ("-m", "chatfiles.cli", "--platform", url, "get", "--token-file", "token", "-fq")
        token = os.path.join(self.directory, "token")
        with open(os.open(token, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(self.pair.token)
        return self.run_program(
            sys.executable, *words, "-o", "out", self.pair.id, "/workspace/client.bin"
        )

    def test_get_goes_on(self) -> None:
        """``chatfiles get`` gets the file over lines that are cut, without being told how."""
        cuts = [*self.offsets(1)[1:], self.chance.randrange(2000, SIZE)]
        with self.line(*cuts) as line:
            self.assertEqual(self.chatfiles_get(line.url), 0, (cuts, self.output, self.about))
            self.assertTrue(self.saved() == self.content, (cuts, self.about))
            self.assertGreater(line.connections, 1)

    def test_get_rewritten(self) -> None:
        """A file that has changed at the cut is fetched anew, whole."""
        cut = self.chance.randrange(2000, SIZE)
        with BadLine(self.role.port, [cut], on_cut=self.rewrite) as line:
            self.assertEqual(self.chatfiles_get(line.url), 0, (cut, self.output, self.about))
            with open(self.pair.at("workspace", "client.bin"), "rb") as file:
                self.assertTrue(self.saved() == file.read(), (cut, self.about))
            self.assertFalse(self.saved() == self.content)
            self.assertEqual(line.connections, 2)
