"""
An admin token that an operator changes while the platform runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.model import token_hash
from chatfiles.platform.admin_token import SETTLED_NS, AdminToken
from chatfiles.platform.state_directory import reread_admin_token

ONE, TWO = "admin-token-number-one", "admin-token-number-two"


def texts(events: Sequence[LogEvent]) -> list[str]:
    return [formatEvent(event) for event in events]


class AdminTokenTests(SynchronousTestCase):
    """`AdminToken`."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.later_ns = 10 * SETTLED_NS
        self.put(ONE)
        self.token = AdminToken(
            ONE, self.path, reread_admin_token, lambda: time.time_ns() + self.later_ns
        )

    def put(self, text: str) -> None:
        """Replace the file, as an editor does."""
        with open(os.open(self.path + ".new", os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(text)
        os.rename(self.path + ".new", self.path)

    def assert_token(self, text: str) -> None:
        self.assertEqual((self.token.text, self.token.digest), (text, token_hash(text)))

    def test_changed(self) -> None:
        """A new content is the token from the next look on; the log says so, without the token."""
        self.token.look()
        self.assert_token(ONE)
        self.put(TWO + "\n")
        self.assert_token(ONE)
        with capturedLogs() as events:
            self.token.look()
            self.token.look()
        self.assert_token(TWO)
        self.assertEqual(texts(events), [f"the admin token was changed in {self.path}"])

    def test_unchanged(self) -> None:
        """A file that is unchanged is not read again, unless it has just changed."""
        for later_ns, still in ((SETTLED_NS // 2, False), (10 * SETTLED_NS, True)):
            self.later_ns = later_ns
            self.put(ONE)
            self.token.look()
            self.assertIs(self.token._version is not None, still)

    def test_wrong(self) -> None:
        """While the file is missing or wrong, the last token remains valid; this is logged once."""
        with capturedLogs() as events:
            for text in ("", "short", "two words in the file", None):
                if text is None:
                    os.unlink(self.path)
                else:
                    self.put(text)
                for _ in range(2):
                    self.token.look()
                self.assert_token(ONE)
        said = texts(events)
        self.assertEqual(len(said), 3)  # the first two are wrong for the same reason
        for text in said:
            self.assertIn("the last token remains valid", text)
            self.assertNotIn("two words", text)
        self.put(TWO)
        self.token.look()
        self.assert_token(TWO)

    def test_environment(self) -> None:
        """A token from the environment is fixed."""
        self.token = AdminToken(TWO)
        self.token.look()
        self.assert_token(TWO)
