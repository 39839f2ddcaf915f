"""
Tests for `chatfiles.platform.state_directory`: the admin token's file.
"""

from __future__ import annotations

import os
import stat
from typing import Any
from unittest import mock

from twisted.logger import capturedLogs, eventAsText
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.platform.state_directory import (
    check_state_directory,
    known_admin_token,
    make_state_directory,
    new_admin_token,
    sweep_admin_token,
)

TOKEN, OTHER = "a-token-of-this-test", "a-token-of-another"


class StateCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        make_state_directory(self.directory)
        self.path = os.path.join(self.directory, "admin-token")

    def write(self, name: str, text: str, mode: int = 0o600) -> None:
        path = os.path.join(self.directory, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)

    def files(self) -> list[str]:
        return sorted(os.listdir(self.directory))


class KnownTokenTests(StateCase):
    """A token that is there."""

    def test_where_from(self) -> None:
        """A token would not be found, or made anew at every start."""
        self.assertIsNone(known_admin_token(self.path, None))
        self.write("admin-token", f" {TOKEN}\n")
        self.assertEqual(known_admin_token(self.path, None), TOKEN)
        self.assertEqual(known_admin_token(self.path, OTHER), OTHER)

    def test_wrong(self) -> None:
        """Somebody could guess it, or nobody present it."""
        for text in ("", "short", "two words in a line", "ümlaut-are-not-ascii"):
            self.write("admin-token", text)
            self.assertRaises(ValueError, known_admin_token, self.path, None)
            self.assertRaises(ValueError, known_admin_token, self.path, text)

    def test_link_to_nothing(self) -> None:
        """A platform would end in a traceback: the file is not there, and cannot be made."""
        os.symlink("nowhere", self.path)
        for look in (
            lambda: known_admin_token(self.path, None),
            lambda: new_admin_token(self.path),
        ):
            self.assertRaisesRegex(ValueError, "a link to a file that is not there", look)
        self.assertEqual(self.files(), ["admin-token"])
        self.write("nowhere", TOKEN)
        self.assertEqual(known_admin_token(self.path, None), TOKEN)

    def test_no_regular_file(self) -> None:
        """A device would be read for ever."""
        self.assertRaisesRegex(ValueError, "not a regular", known_admin_token, "/dev/null", None)

    def test_others_can_read_it(self) -> None:
        """Nobody would notice that every user of the machine has it."""
        for mode, warned in ((0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1), (0o620, 1)):
            self.write("admin-token", TOKEN, mode)
            with capturedLogs() as logged:
                self.assertEqual(known_admin_token(self.path, None), TOKEN)
            texts = [eventAsText(event) for event in logged]
            self.assertEqual(len(texts), warned, mode)
            for text in texts:
                self.assertIn(f"admin token file {self.path} may be read or written", text)
                self.assertNotIn(TOKEN, text)


class NewTokenTests(StateCase):
    """A token that has to be made."""

    def new(self, **more: Any) -> str:
        return new_admin_token(self.path, make_secret=lambda: TOKEN, **more)

    def test_made(self) -> None:
        """It would be another one at the next start, or for others to read."""
        self.assertEqual(self.new(), TOKEN)
        self.assertEqual(known_admin_token(self.path, None), TOKEN)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(self.files(), ["admin-token"])

    def test_given_away(self) -> None:
        """Whom ``twistd`` becomes could not read what root has made."""
        with mock.patch("os.fchown") as fchown, mock.patch("os.chown") as chown:
            self.new(owner=(7, 8))
            make_state_directory(self.directory, (7, 8))
            self.assertEqual(chown.call_count, 0)
            make_state_directory(self.directory + "/new", (7, 8))
        fchown.assert_called_once_with(mock.ANY, 7, 8)
        chown.assert_called_once_with(self.directory + "/new", 7, 8)

    def test_two_at_once(self) -> None:
        """Of two that start at once, one would have a token that is not in the file."""
        link = os.link

        def faster(*names: Any, **directories: Any) -> None:
            self.write("admin-token", OTHER)
            link(*names, **directories)

        self.patch(os, "link", faster)
        self.assertEqual(self.new(), OTHER)
        self.assertEqual(self.files(), ["admin-token"])

    def test_swept_by_another(self) -> None:
        """One that starts would die of the other's sweep."""
        link = os.link

        def swept(*names: Any, **directories: Any) -> None:
            self.patch(os, "link", link)
            sweep_admin_token(self.path)
            link(*names, **directories)

        self.patch(os, "link", swept)
        self.assertEqual(self.new(), TOKEN)
        self.assertEqual(self.files(), ["admin-token"])


class DirectoryTests(StateCase):
    """Where a state directory may be."""

    def test_judged(self) -> None:
        """What is in the way would be told as the fault of the token's file, or a directory that is
        still to be made refused."""
        check_state_directory(self.directory)
        check_state_directory(os.path.join(self.directory, "new", "state"))
        self.write("file", "")
        for name in ("file", "file/state"):
            path = os.path.join(self.directory, name)
            self.assertRaises(NotADirectoryError, check_state_directory, path)


class SweepTests(StateCase):
    """What a killed process has left."""

    def test_sweep(self) -> None:
        """Tokens that nobody knows of would lie about for ever; or something else be removed."""
        left = "admin-token.tmp-0123456789abcdef"
        kept = ["admin-token", "admin-token.tmp", "other.tmp-0123456789abcdef"]
        for name in (left, *kept):
            self.write(name, TOKEN)
        sweep_admin_token(self.path)
        self.assertEqual(self.files(), sorted(kept))

    def test_nowhere(self) -> None:
        """Where nothing can be swept, a platform would not start."""
        sweep_admin_token(os.path.join(self.directory, "no", "admin-token"))
