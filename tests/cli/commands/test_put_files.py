"""
``chatfiles put``: the files that it accepts, and its usage.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SkipTest

from tests.cli.cli_stub import WORKSPACE
from tests.cli.upload_peer import CONTINUE, LARGE, CutShort, Peer, PutCase, stored


class LocalTests(PutCase):
    """Errors of local files: exit status 8."""

    def test_before_anything_is_sent(self) -> None:
        """If one file cannot be read, none is sent."""
        self.fill("f", b"x")
        os.mkdir(self.path("d"))
        for words, text in (
            (["f", "missing"], "cannot read missing: No such file or directory"),
            (["d", "f"], "cannot read d: Is a directory"),
            (["f/", "f"], "cannot read f/: Not a directory"),
            ([""], "cannot read '': No such file or directory"),
        ):
            self.ended(self.put(*words), 8, f"chatfiles: {text}\n")
        self.assertIn("hint: pack it: tar -cz", self.put("d").stderr)
        self.assert_not_asked()

    def test_no_permission(self) -> None:
        """A file without read permission is reported as such."""
        if os.geteuid() == 0:
            raise SkipTest("root may read everything")
        self.fill("f", b"x")
        os.chmod(self.path("f"), 0)
        self.ended(self.put("f"), 8, "cannot read f: Permission denied")
        self.assert_not_asked()

    def test_no_standard_input(self) -> None:
        """Closed standard input is reported as an error."""
        before = os.dup(0)
        os.close(0)
        try:
            result = self.put("-")
        finally:
            os.dup2(before, 0)
            os.close(before)
        self.ended(result, 8, "cannot read standard input: Bad file descriptor")

    def test_changed_meanwhile(self) -> None:
        """
        If a file changes during the upload, the server receives an incomplete body and the change
        is reported.
        """
        path = self.path("large")

        def shrink() -> None:
            os.truncate(path, LARGE - 1)

        def grow() -> None:
            os.truncate(path, LARGE + 1)

        def rewrite() -> None:
            os.utime(path, (1, 1))

        for change, how in ((shrink, "shorter"), (grow, "longer"), (rewrite, "been written to")):
            self.fill("large", bytes(LARGE))

            def script(peer: Peer) -> None:
                peer.read_head()
                change()  # noqa: B023
                peer.send(CONTINUE)
                self.assertRaises(CutShort, peer.read_body)

            result = self.against(script, "large")
            self.ended(result, 8, "large changed while it was being sent: it has ", how, "hint: ")
            self.assertEqual(result.stdout, "")

    def test_removed_meanwhile(self) -> None:
        """A file that is removed during the upload is sent completely."""
        content = self.fill("large", os.urandom(2_000_000))

        def script(peer: Peer) -> None:
            os.unlink(self.path("large"))
            self.take(stored(content))(peer)

        self.ended(self.against(script, "large"), 0)

    def test_cannot_be_read_any_more(self) -> None:
        """A read error during the upload aborts it."""

        def script(peer: Peer) -> None:
            peer.read_head()
            self.assertRaises(CutShort, peer.read_body)

        with open("/proc/self/mem", "rb") as unreadable:  # there is nothing at its address 0
            result = self.against(script, f"/dev/fd/{unreadable.fileno()}")
        self.ended(result, 8, "cannot read /dev/fd/", "Input/output error")

    def test_says_that_it_is_empty(self) -> None:
        """
        A file of ``/proc``, which has content but a size of 0, is refused and not sent as an empty
        file.
        """

        def script(peer: Peer) -> None:
            peer.read_head()
            self.assertRaises(CutShort, peer.read_body)

        result = self.against(script, "/proc/version")
        self.ended(result, 8, "/proc/version changed", "through a pipe: cat FILE | chatfiles put -")


class UsageTests(PutCase):
    """Usage errors: exit status 2, before any file is opened."""

    def test_usage(self) -> None:
        """Wrong arguments are reported, and no request is made."""
        self.fill("f", b"x")
        for words, text in (
            (("-", "f", "-"), "can be sent only once"),
            (("f", "f", "--name", "x"), "--name is for standard input"),
            (("f", "--name", ""), "--name must not be empty"),
        ):
            self.ended(self.put(*words), 2, text)
        for first, last in (("g", "f"), ("g", self.path("f")), (WORKSPACE, "f"), (WORKSPACE, "x")):
            self.ended(self.invoke("put", first, last), 2, "the workspace comes last")
        for last in ("", "/workspace/x"):
            text = f"'{last}' is neither the id nor the name of a workspace"
            self.ended(self.invoke("put", "f", last), 2, text)
        self.ended(self.invoke("put", WORKSPACE), 2, "Missing argument 'FILE...'")
        self.ended(self.invoke("put", "f", WORKSPACE), 4, "no token given")
        self.assert_not_asked()

    def test_help(self) -> None:
        """The help has examples and every exit status; the overview names the command."""
        text = self.invoke("put", "--help").output
        for part in (
            "FILE... WORKSPACE",
            "Examples:\n",
            "  chatfiles put ",
            "Exit status:",
            "--na",
        ):
            self.assertIn(part, text)
        self.assertIn("\n  put ", self.invoke("--help").output)
