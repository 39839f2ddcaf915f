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
    """An admin token that exists."""

    def test_where_from(self) -> None:
        """
        The token is the given value, else the content of the file without surrounding whitespace.
        """
        self.assertIsNone(known_admin_token(self.path, None))
        self.write("admin-token", f" {TOKEN}\n")
        self.assertEqual(known_admin_token(self.path, None), TOKEN)
        self.assertEqual(known_admin_token(self.path, OTHER), OTHER)

    def test_wrong(self) -> None:
        """A token that can be guessed, or that cannot be sent in a header, is refused."""
        for text in ("", "short", "two words in a line", "ümlaut-are-not-ascii"):
            self.write("admin-token", text)
            self.assertRaises(ValueError, known_admin_token, self.path, None)
            self.assertRaises(ValueError, known_admin_token, self.path, text)

    def test_link_to_nothing(self) -> None:
        """A link to a missing file is reported as such; a link to a token's file is followed."""
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
        """A file that is not a regular one is refused, as a device can be read without end."""
        self.assertRaisesRegex(ValueError, "not a regular", known_admin_token, "/dev/null", None)

    def test_others_can_read_it(self) -> None:
        """A warning is logged if other users can read or write the token's file."""
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
    """An admin token that has to be created."""

    def new(self, **more: Any) -> str:
        return new_admin_token(self.path, make_secret=lambda: TOKEN, **more)

    def test_made(self) -> None:
        """A new token is written to the file, which only its owner can read."""
        self.assertEqual(self.new(), TOKEN)
        self.assertEqual(known_admin_token(self.path, None), TOKEN)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(self.files(), ["admin-token"])

    def test_given_away(self) -> None:
        """
        What root creates is given to the user that ``twistd`` switches to; an existing directory is
        not.
        """
        with mock.patch("os.fchown") as fchown, mock.patch("os.chown") as chown:
            self.new(owner=(7, 8))
            make_state_directory(self.directory, (7, 8))
            self.assertEqual(chown.call_count, 0)
            make_state_directory(self.directory + "/new", (7, 8))
        fchown.assert_called_once_with(mock.ANY, 7, 8)
        chown.assert_called_once_with(self.directory + "/new", 7, 8)

    def test_two_at_once(self) -> None:
        """Another process that creates the file first wins; its token is returned."""
        link = os.link

        def faster(*names: Any, **directories: Any) -> None:
            self.write("admin-token", OTHER)
            link(*names, **directories)

        self.patch(os, "link", faster)
        self.assertEqual(self.new(), OTHER)
        self.assertEqual(self.files(), ["admin-token"])

    def test_swept_by_another(self) -> None:
        """If another process sweeps the temporary file, the token is written again."""
        link = os.link

        def swept(*names: Any, **directories: Any) -> None:
            self.patch(os, "link", link)
            sweep_admin_token(self.path)
            link(*names, **directories)

        self.patch(os, "link", swept)
        self.assertEqual(self.new(), TOKEN)
        self.assertEqual(self.files(), ["admin-token"])


class DirectoryTests(StateCase):
    """The location of a state directory."""

    def test_judged(self) -> None:
        """
        A file in the place of the directory, or of one of its parents, is refused; a directory that
        does not exist yet is accepted.
        """
        check_state_directory(self.directory)
        check_state_directory(os.path.join(self.directory, "new", "state"))
        self.write("file", "")
        for name in ("file", "file/state"):
            path = os.path.join(self.directory, name)
            self.assertRaises(NotADirectoryError, check_state_directory, path)


class SweepTests(StateCase):
    """Temporary files that a killed process has left."""

    def test_sweep(self) -> None:
        """Temporary files of the token are removed, and nothing else."""
        left = "admin-token.tmp-0123456789abcdef"
        kept = ["admin-token", "admin-token.tmp", "other.tmp-0123456789abcdef", left + ".old"]
        for name in (left, *kept):
            self.write(name, TOKEN)
        sweep_admin_token(self.path)
        self.assertEqual(self.files(), sorted(kept))

    def test_nowhere(self) -> None:
        """A missing directory is no error, so that the platform can start."""
        sweep_admin_token(os.path.join(self.directory, "no", "admin-token"))
