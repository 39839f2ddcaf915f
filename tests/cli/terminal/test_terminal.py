"""
The console script as a process on a terminal: progress, questions, and signals.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from typing import Any

import chatfiles
from chatfiles.cli.terminal.progress_bar import is_ascii_locale
from tests.cli.cli_stub import TOKEN, WORKSPACE, StubCase, answer, counted, said
from tests.support.fork_server import Forked
from tests.support.patience import PATIENCE

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(chatfiles.__file__)))


class TerminalCase(StubCase):
    """
    Processes of ``chatfiles``.

    :cvar first: Python that those on a terminal execute first.
    """

    first = ""

    def setUp(self) -> None:
        super().setUp()
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.addCleanup(self.go_on.set)

    def start(self, *words: str, **streams: Any) -> subprocess.Popen[bytes]:
        """:return: the process of ``chatfiles`` with *words*."""
        command = [sys.executable, "-m", "chatfiles.cli", *words]
        return subprocess.Popen(command, cwd=self.directory, env=self.environment(), **streams)

    def environment(self) -> dict[str, str]:
        """:return: the environment of ``chatfiles``."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CHATFILES_")}
        return {**kept, "PYTHONPATH": ROOT, "CHATFILES_PLATFORM": self.url, "TERM": "xterm"}

    def run_on_terminal(
        self,
        *words: str,
        typed: bytes = b"",
        signum: int | None = None,
        size: tuple[int, int] = (24, 80),
        **variables: str,
    ) -> tuple[int, str]:
        """
        Run ``chatfiles`` with *words* on a terminal.

        :param signum: the signal that is sent once the stub has set ``begun``.
        :param size: rows and columns of the terminal.
        :param variables: further environment variables.
        :return: its exit status and all that it wrote.
        """
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(ours, size)
        process = Forked(
            ["chatfiles", *words],
            cwd=self.directory,
            env=self.environment() | variables,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            first=self.first,
        )
        os.close(theirs)
        os.write(ours, typed)
        if signum is not None:
            self.assertTrue(self.begun.wait(PATIENCE), "the transfer did not begin")
            process.send_signal(signum)
        written = bytearray()
        try:
            while piece := os.read(ours, 4096):
                written += piece
        except OSError:  # EIO: the other end of the terminal is closed
            pass
        os.close(ours)
        return process.wait(), written.decode().replace("\r\n", "\n")


class ProgressTests(TerminalCase):
    """``chatfiles get`` on a terminal."""

    def fetch(self, *words: str, **more: Any) -> tuple[int, str]:
        words = ("get", "--token-file", "token", WORKSPACE, "/workspace/f\x1b.bin", *words)
        return self.run_on_terminal(*words, **more)

    def test_bar(self) -> None:
        """A progress bar is shown during the transfer, and one line at its end."""
        self.play(counted(b"x" * 2048))
        status, written = self.fetch()
        self.assertEqual(status, 0, written)
        self.assertIn("f_.bin:   0%|", written)
        self.assertRegex(written.splitlines()[-1], r"saved f_\.bin \(2\.05kB in \d+\.\d s\)$")

    def test_size_not_known(self) -> None:
        """A terminal that does not tell its size, such as a serial line, has a bar too."""
        for size in ((0, 0), (0, 80), (24, 0)):
            self.play(counted(b"x" * 2048))
            status, written = self.fetch("-f", size=size)
            self.assertEqual(status, 0, written)
            self.assertRegex(written, r"f_\.bin:   0%\|.*\| 0\.00/2\.05k .*\]")

    def test_dumb(self) -> None:
        """A terminal that cannot redraw a line has no bar, but the line at the end."""
        self.play(counted(b"x" * 2048))
        status, written = self.fetch(TERM="dumb")
        self.assertEqual(status, 0, written)
        self.assertRegex(written, r"\Asaved f_\.bin \(2\.05kB in \d+\.\d s\)\n\Z")

    def test_locale(self) -> None:
        """The bar is ASCII if the locale is C; its variables replace each other as in POSIX."""
        for environ, expected in (
            ({"LC_ALL": "C", "LANG": "de_DE.UTF-8"}, True),
            ({"LC_ALL": "", "LC_CTYPE": "POSIX", "LANG": "de_DE.UTF-8"}, True),
            ({"LANG": "C"}, True),
            ({}, True),
            ({"LC_ALL": "C.UTF-8"}, False),
            ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, False),
        ):
            self.assertEqual(is_ascii_locale(environ), expected, environ)

    def test_quiet(self) -> None:
        """``-q`` prints nothing."""
        self.play(counted(b"x" * 2048))
        self.assertEqual(self.fetch("-q"), (0, ""))

    def test_bytes_alone(self) -> None:
        """``-o -`` on a terminal prints the content without a progress bar."""
        self.play(counted(b"hello\n"))
        self.assertEqual(self.fetch("-o", "-"), (0, "hello\n"))

    def test_signals(self) -> None:
        """
        SIGINT, SIGTERM and SIGHUP end the command at once, with their own statuses, and no file is
        left.
        """
        for signum, expected in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            self.begun.clear()
            self.go_on.clear()
            self.play([counted(b"x" * 2048, short=48), self.begun.set, self.go_on.wait])
            status, written = self.fetch(signum=signum)
            self.go_on.set()
            self.assertEqual(status, expected, written)
            self.assertIn("chatfiles: interrupted", written)
            self.assertNotIn("Traceback", written)
            self.assertEqual(self.files(), [])

    def test_interrupted_archive(self) -> None:
        """Ctrl-C says that nothing was kept of an archive; SIGTERM too, but not with ``-q``."""
        head = answer("200 OK", "Transfer-Encoding: chunked", body=b"100\r\nx")
        for words, signum in (([], signal.SIGINT), ([], signal.SIGTERM), (["-q"], signal.SIGINT)):
            self.begun.clear()
            self.go_on.clear()
            self.play([head, self.begun.set, self.go_on.wait])
            _, written = self.fetch("--archive", "zip", *words, signum=signum)
            self.go_on.set()
            self.assertEqual("nothing was kept: an archive" in written, not words, written)
            self.assertEqual(self.files(), [])


class StandardOutputTests(TerminalCase):
    """Standard output that cannot be written to: exit status 8 and one line of error."""

    def told(self, *words: str, **streams: Any) -> str:
        process = self.start(*words, stderr=subprocess.PIPE, **streams)
        written = process.communicate()[1].decode()
        self.assertEqual(process.returncode, 8, written)
        return written

    def test_full(self) -> None:
        """A full disk is reported for a table, help, and a file's content."""
        content = ("get", "--token-file", "token", WORKSPACE, "/workspace/f.bin", "-o", "-")
        self.play(said("200 OK", []), counted(b"x" * 2048))
        for words in (
            ("workspace", "list", "--json", "--admin-token-file", "token"),
            ("get", "--help"),
            ("--help",),
            content,
        ):
            with open("/dev/full", "wb") as full:
                written = self.told(*words, stdout=full)
            self.assertEqual(
                written, "chatfiles: cannot write to standard output: No space left on device\n"
            )

    def test_closed(self) -> None:
        """
        Closed standard output (``>&-``) is reported before any request, so that no token is created
        and lost, and an empty list is not taken for the result.
        """
        for words in (
            ("get", "--token-file", "token", WORKSPACE, "/workspace/f.bin", "-o", "-"),
            ("get", "--token-file", "token", WORKSPACE, "/workspace/f.bin"),
            ("token", "create", "--admin-token-file", "token", WORKSPACE),
            ("workspace", "create", "--admin-token-file", "token", "--save-token", "new"),
            ("workspace", "list", "--admin-token-file", "token"),
            ("--help",),
        ):
            written = self.told(*words, preexec_fn=lambda: os.close(1))
            self.assertEqual(written, "chatfiles: standard output is closed\n")
        self.assertEqual((self.asked, self.files()), ([], []))


class OtherStreamsTests(TerminalCase):
    """Closed standard input and standard error."""

    def ends(self, status: int, *words: str, closed: tuple[int, ...], **streams: Any) -> None:
        def close() -> None:
            for descriptor in closed:
                os.close(descriptor)

        process = self.start(*words, stdout=subprocess.PIPE, preexec_fn=close, **streams)
        written = process.communicate()
        self.assertEqual((process.returncode, written[1] or b""), (status, b""), written)

    def test_no_errors(self) -> None:
        """
        Without standard error (``2>&-``) transfers succeed, and warnings are not sent to the
        platform.
        """
        self.write("token", TOKEN, mode=0o644)
        self.play(counted(b"x" * 2048), said("500 No", {}))
        self.ends(0, "get", "--token-file", "token", WORKSPACE, "/workspace/f", closed=(2,))
        self.assertEqual(self.read("f"), b"x" * 2048)
        self.ends(6, "put", "--token-file", "token", "f", WORKSPACE, closed=(0, 2))
        self.assertIn(b"x" * 2048, self.asked[1].body)
        self.assertNotIn(b"warning", self.asked[1].body)

    def test_no_input(self) -> None:
        """
        Without standard input (``<&-``) no question is asked, and ``put -`` does not send a socket.
        """
        self.play(answer("204 No Content"))
        words = ("workspace", "remove", WORKSPACE, "--admin-token-file", "token")
        self.ends(0, *words, closed=(0,), stderr=subprocess.DEVNULL)
        self.play(said("500 No", {}))
        words = ("put", "--token-file", "token", "-", WORKSPACE)
        self.ends(6, *words, closed=(0,), stderr=subprocess.DEVNULL)
        self.assertEqual([each.method for each in self.asked], ["DELETE", "POST"])


class QuestionTests(TerminalCase):
    """``chatfiles workspace remove`` asks for confirmation."""

    def remove(self, typed: bytes, *words: str) -> tuple[int, str]:
        return self.run_on_terminal(
            *("workspace", "remove", WORKSPACE, "--admin-token-file", "token"), *words, typed=typed
        )

    def test_declined(self) -> None:
        """``n``, or just Enter, removes nothing."""
        for typed in (b"n\n", b"\n"):
            status, written = self.remove(typed)
            self.assertEqual(status, 1, written)
            self.assertIn(f"Remove workspace {WORKSPACE}", written)
        self.assertEqual(self.asked, [])

    def test_confirmed(self) -> None:
        """``y`` removes the workspace; ``--yes`` removes it without a question."""
        self.play(answer("204 No Content"), answer("204 No Content"))
        status, written = self.remove(b"y\n")
        self.assertEqual(status, 0, written)
        self.assertEqual(self.asked[0].method, "DELETE")
        status, written = self.remove(b"", "--yes")
        self.assertEqual((status, written), (0, f"removed {WORKSPACE}\n"))

    def test_second_of_a_name(self) -> None:
        """A second workspace of a name is created only after ``y``."""
        there = said("200 OK", [{"id": WORKSPACE, "name": "n"}])
        words = ("workspace", "create", "--name", "n", "--admin-token-file", "token")
        for typed in (b"n\n", b"\n"):
            self.play(there)
            status, written = self.run_on_terminal(*words, typed=typed)
            self.assertEqual(status, 1, written)
            self.assertIn(f"Workspace {WORKSPACE} is named 'n' already", written)
        self.assertEqual({asked.method for asked in self.asked}, {"GET"})
        made = {"id": WORKSPACE, "name": "n", "auth_token": "abc"}
        self.play(there, said("201 Created", made))
        self.assertEqual(self.run_on_terminal(*words, typed=b"y\n")[0], 0)

    def test_new_token(self) -> None:
        """When a token is printed on a terminal, a note says that it is not shown again."""
        self.play(said("201 Created", {"id": WORKSPACE, "name": "n", "auth_token": "abc"}))
        status, written = self.run_on_terminal("workspace", "create", "--admin-token-file", "token")
        self.assertEqual(status, 0, written)
        self.assertIn("it is not shown again", written)
        self.assertNotIn(TOKEN, written)
