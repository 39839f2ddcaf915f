"""
The parts of ``chatfiles demo`` that need no roles: its child processes, its files, its output.
`tests.live.test_demo` runs the complete demo.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import os
import re
import shlex
import signal
import socket
import struct
import sys
import tempfile
import zlib
from collections.abc import Sequence
from unittest import mock

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli import cli
from chatfiles.cli.demo import child_processes, command, roles, sample_files
from chatfiles.cli.demo.child_processes import Child, ChildProcesses, Stopped
from chatfiles.cli.demo.state_directory import StateDirectory, remove_leftovers
from chatfiles.cli.errors import CliError
from tests.cli.cli_stub import TOKEN, WORKSPACE, StubCase, counted, said

READY = "print('… chatfiles platform ready on http://127.0.0.1:7', flush=True)\n"
WAIT = "import sys\nsys.stdin.read()\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


class ChildProcessesTests(SynchronousTestCase):
    """Child processes: their readiness, their ends, and their termination."""

    def setUp(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.handler = signal.getsignal(signal.SIGINT)

    def processes(self) -> ChildProcesses:
        return ChildProcesses(os.environ, lambda role, line: self.lines.append((role, line)))

    def start(self, processes: ChildProcesses, code: str) -> Child:
        return processes.start("platform", [sys.executable, "-S", "-c", code], "/")

    def gone(self, child: Child) -> None:
        self.assertRaises(ProcessLookupError, os.kill, child.pid, 0)
        self.assertEqual(signal.getsignal(signal.SIGINT), self.handler)

    def test_ready(self) -> None:
        """The URL is the one that the child prints; the end of the block ends the child."""
        with self.processes() as c:
            child = self.start(c, READY + WAIT)
            self.assertEqual(c.ready(child, 20), "http://127.0.0.1:7")
            self.assertEqual(c.ready(child, 0), "http://127.0.0.1:7")
            self.assertIsNone(child.status)
            c.watch(0)
        self.gone(child)
        self.assertEqual(child.status, -signal.SIGTERM)
        self.assertEqual([role for role, _ in self.lines], ["platform"])

    def test_ends_before_it_is_ready(self) -> None:
        """If a child ends before it is ready, its status and last lines are reported."""
        with self.processes() as c:
            child = self.start(c, "for i in range(99): print(i)\nraise SystemExit(3)")
            error = self.assertRaises(CliError, c.ready, child, 20)
        self.assertEqual(error.exit_code, 1)
        self.assertIn("platform has ended by itself, with status 3", error.message)
        self.assertEqual(list(child.tail), [str(i) for i in range(99 - child_processes.TAIL, 99)])

    def test_ends_later(self) -> None:
        """The end of a child is noticed after it was ready too."""
        with self.processes() as c:
            child = self.start(c, READY + "input()")
            c.ready(child, 20)
            child.signal(signal.SIGKILL)
            error = self.assertRaises(CliError, c.watch, 20)
        self.assertIn("with status -9", error.message)

    def test_never_ready(self) -> None:
        """Waiting for a child ends after the timeout."""
        with self.processes() as c:
            child = self.start(c, WAIT)
            error = self.assertRaises(CliError, c.ready, child, 0.01)
        self.assertIn("platform is not ready after 0.01 s", error.message)
        self.gone(child)

    def test_signals(self) -> None:
        """SIGINT, SIGTERM and SIGHUP stop the demo, even while a child starts."""
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.processes() as c:
                child = self.start(c, WAIT)
                os.kill(os.getpid(), signum)
                self.assertRaises(Stopped, c.ready, child, 20)
                self.assertIsNone(child.status)
            self.gone(child)

    def test_stubborn(self) -> None:
        """A child that ignores SIGTERM is killed after the timeout."""
        self.patch(child_processes, "STOP_TIMEOUT", 0.01)
        with self.processes() as c:
            child = self.start(c, STUBBORN + READY + WAIT)
            c.ready(child, 20)
        self.gone(child)
        self.assertEqual(child.status, -signal.SIGKILL)

    def test_second_signal(self) -> None:
        """A second signal kills the children at once."""
        self.patch(child_processes, "STOP_TIMEOUT", 20.0)
        self.patch(child_processes, "Empty", ZeroDivisionError)  # a timeout is an error
        with self.processes() as c:
            child = self.start(c, STUBBORN + READY + WAIT)
            c.ready(child, 20)
            os.kill(os.getpid(), signal.SIGINT)
            self.assertRaises(Stopped, c.watch, 20)
            os.kill(os.getpid(), signal.SIGINT)
        self.gone(child)
        self.assertEqual(child.status, -signal.SIGKILL)

    def test_own_session(self) -> None:
        """
        Each child has its own session, so that Ctrl-C of a terminal does not reach it and the demo
        controls the order of ends.
        """
        with self.processes() as c:
            child = self.start(c, READY + WAIT)
            self.assertNotEqual(os.getsid(child.pid), os.getsid(0))

    def test_failure_inside(self) -> None:
        """The children end whatever exception ends the block."""
        children = []

        def fail() -> None:
            with self.processes() as c:
                children.append(self.start(c, WAIT))
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, fail)
        self.gone(children[0])


class FileTests(SynchronousTestCase):
    """The files that are served."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def test_made(self) -> None:
        """
        A greeting, a table with a picture and a report, and a mebibyte of random bytes are created.
        """
        names = sample_files.make_files(self.directory, lambda n: b"r" * n)
        self.assertEqual(names[0], "hello.txt")
        self.assertEqual(sorted(names), sorted(os.listdir(self.directory)))
        sizes = {name: os.path.getsize(os.path.join(self.directory, name)) for name in names}
        self.assertEqual(sizes["random.bin"], 1024 * 1024)
        with open(os.path.join(self.directory, "readings.csv"), newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), 144)
        self.assertTrue(all(8 <= float(row["celsius"]) <= 20 for row in rows))

    def test_media(self) -> None:
        """The picture shows the curve; the report is a document with its parts where it says."""
        sample_files.make_files(self.directory)
        with open(os.path.join(self.directory, "readings.png"), "rb") as file:
            picture = file.read()
        width, height, depth, kind = struct.unpack(">IIBB", picture[16:26])
        self.assertEqual((width, height, depth, kind), (576, 160, 8, 3))
        at = picture.index(b"IDAT")
        (length,) = struct.unpack(">I", picture[at - 4 : at])
        pixels = zlib.decompress(picture[at + 4 : at + 4 + length])
        lines = [pixels[start + 1 : start + 577] for start in range(0, len(pixels), 577)]
        self.assertEqual(len(lines), 160)
        # The lowest temperature is at three o'clock, the highest at three in the afternoon.
        self.assertEqual([line[3 * 24 + 1] for line in lines], [0] * 159 + [1])
        self.assertEqual([line[15 * 24 + 1] for line in lines], [1] * 160)
        with open(os.path.join(self.directory, "report.pdf"), "rb") as file:
            report = file.read()
        (table,) = re.findall(rb"startxref\n(\d+)\n%%EOF\n\Z", report)
        self.assertTrue(report[int(table) :].startswith(b"xref\n0 6\n"))
        for number, place in enumerate(re.findall(rb"(\d{10}) 00000 n ", report), 1):
            self.assertTrue(report[int(place) :].startswith(b"%d 0 obj\n" % number))
        self.assertIn(b"(highest: 20.0 degrees Celsius) Tj", report)

    def test_found(self) -> None:
        """
        Only files that are served are listed: no symlinks, no pipes, no hidden files; those of the
        top directory come first.
        """
        for name in ("d", ".git", "d/e"):
            os.mkdir(os.path.join(self.directory, name))
        for name in ("z", "d/b", "d/e/a", ".hidden", ".git/config", "line\nbreak"):
            with open(os.path.join(self.directory, name), "w"):
                pass
        os.symlink("z", os.path.join(self.directory, "link"))
        os.symlink("d", os.path.join(self.directory, "dirlink"))
        os.mkfifo(os.path.join(self.directory, "pipe"))
        self.assertEqual(sample_files.find_files(self.directory, 9), ["z", "d/b", "d/e/a"])
        self.assertEqual(sample_files.find_files(self.directory, 1), ["z"])


class DemoTests(StubCase):
    """The command, with child processes that are not the roles."""

    def demo(self, launch: str, *words: str) -> Result:
        self.patch(roles, "_LAUNCH", launch)
        self.patch(tempfile, "tempdir", self.directory)
        return CliRunner().invoke(cli, ["demo", *words])

    def test_child_that_cannot_start(self) -> None:
        """
        If a child cannot start, its last lines are printed, escaped; the status is 1, and no file
        is left.
        """
        launch = "print('first\\nport is \\x1b[1mtaken'); raise SystemExit(4)"
        result = self.demo(launch)
        self.ended(
            result,
            1,
            "platform  | first\n",
            r"platform  | port is \x1b[1mtaken",
            "chatfiles: the platform has ended by itself, with status 4",
        )
        self.assertEqual(result.stdout, "")
        self.assertEqual(self.files(), [])

    def test_taken_port(self) -> None:
        """A port that another program uses is one line and a hint, before anything starts."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            taken = str(listener.getsockname()[1])
            for option in ("--port", "--workspace-port"):
                result = self.demo("", option, taken)
                self.ended(result, 1)
                self.assertEqual(
                    result.stderr,
                    f"chatfiles: port {taken} of 127.0.0.1 cannot be used: "
                    "another program listens there\n"
                    f"hint: {option} N takes another one; without {option}, the demo takes a free "
                    "one\n",
                )
                self.assertEqual(self.files(), [])
        self.ended(self.demo("", "--port", "4321", "--workspace-port", "4321"), 2, "must differ")

    def test_unusable_file(self) -> None:
        """A failed operation on a file or directory names it."""
        self.patch(tempfile, "tempdir", self.path("missing"))
        result = CliRunner().invoke(cli, ["demo"])
        place = self.path("missing")
        self.ended(result, 8, f"chatfiles: the demo cannot use {place}", "No such file")

    def test_verbose(self) -> None:
        """With ``-v`` each line is printed once, when it is written."""
        result = self.demo("print('words'); raise SystemExit(4)", "-v")
        self.assertEqual(result.stderr.count("platform  | words\n"), 1)

    def test_stopped_while_starting(self) -> None:
        """Ctrl-C during the start stops the demo with status 0."""
        result = self.demo(
            "import os, signal, sys\nos.kill(os.getppid(), signal.SIGINT)\nsys.stdin.read()"
        )
        self.ended(result, 0, "Stopped.")
        self.assertEqual(self.files(), [])

    def test_directory_without_files(self) -> None:
        """A directory without files to serve is refused."""
        empty = self.path("empty")
        os.mkdir(empty)
        self.ended(self.demo("", "--directory", empty), 8, f"no file to serve in {empty}")

    def test_directory_that_is_none(self) -> None:
        """
        An empty or missing ``--directory`` is refused; ``--directory "$UNSET"`` does not serve the
        current directory.
        """
        for text in ("", self.path("missing")):
            result = self.demo("", "--directory", text)
            self.ended(result, 2, "--directory", f"'{text}' does not exist")
            self.assertEqual(result.stdout, "")

    def test_command_of_a_role(self) -> None:
        """
        A role gets all its settings as options: loopback only, the given port, the state directory
        of this demo.
        """
        started: list[Sequence[str]] = []

        class Recorder(ChildProcesses):
            def start(self, role: str, command: Sequence[str], directory: str) -> Child:
                started.append(command)
                raise CliError("seen", 1)

        self.patch(command, "ChildProcesses", Recorder)
        self.ended(self.demo("code", "--port", "4321"), 1, "seen")
        [words] = started
        self.assertEqual(words[:4], [sys.executable, "-P", "-c", "code"])
        self.assertIn("--role=platform", words)
        self.assertIn("--listen=tcp:4321:interface=127.0.0.1", words)
        self.assertIn("--upstream-allow=127.0.0.0/8", words)
        [state] = [word for word in words if word.startswith("--state-dir=")]
        self.assertTrue(state.startswith(f"--state-dir={os.path.realpath(self.directory)}/"))

    def test_environment(self) -> None:
        """Variables that configure the user's own roles are not passed to the demo's roles."""
        ours = {
            "PATH": "/bin",
            "CHATFILES_LISTEN": "tcp:1",
            "CHATFILES_ADMIN_TOKEN": "x",
            "CONFIGS_DIR": "/configs",
            "HOME": "/root",
        }
        self.assertEqual(command._environment(ours), {"PATH": "/bin", "HOME": "/root"})


class FirstDownloadTests(StubCase):
    """The download that proves that both roles work."""

    def test_interrupted(self) -> None:
        """A connection that breaks during it is an error of the command line, with a hint."""
        os.mkdir(self.path("platform"))
        self.write("platform/admin-token", "admin")
        self.play(
            said("201 Created", {"id": WORKSPACE, "auth_token": TOKEN}), counted(b"x", short=1)
        )
        processes = mock.Mock(spec=ChildProcesses)
        processes.ready.return_value = self.url
        running = roles.DemoRoles(processes, self.directory, None)
        os.remove(self.path("token"))
        error = self.assertRaises(CliError, running.start, 0, None)
        self.assertEqual(error.message, "the transfer was interrupted after 0 of 1 bytes")


class StateDirectoryTests(SynchronousTestCase):
    """The directories of demos that live, and of those that were killed."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.parent = os.path.realpath(temporary.name)
        self.patch(tempfile, "tempdir", self.parent)

    def make(self) -> StateDirectory:
        """:return: the directory of a demo, with files in it."""
        state = StateDirectory()
        os.makedirs(os.path.join(state.path, "workspace", "below"))
        for name in ("token", "workspace/hello.txt"):
            with open(os.path.join(state.path, name), "w"):
                pass
        os.symlink("/", os.path.join(state.path, "link"))
        return state

    def test_removed(self) -> None:
        """The end of the block removes the directory; only this user can enter it before."""
        with self.make() as state:
            self.assertEqual(os.stat(state.path).st_mode & 0o777, 0o700)
        self.assertEqual(os.listdir(self.parent), [])

    def test_swept(self) -> None:
        """Directories of dead demos are removed, those of living ones are not, however old."""
        dead, living = [self.make(), self.make()], self.make()
        for state in dead:
            os.close(state.lock)
        for name in (living.path, os.path.join(living.path, ".lock")):
            os.utime(name, (0, 0))
        self.assertEqual(remove_leftovers(), 2)
        self.assertEqual(os.listdir(self.parent), [os.path.basename(living.path)])
        os.close(living.lock)
        self.assertEqual(remove_leftovers(), 1)

    def test_role_that_lives(self) -> None:
        """As long as a role of a demo that was killed runs, its directory stays."""
        state = self.make()
        with ChildProcesses(os.environ, lambda *_: None) as processes:
            processes.keep_open(state.lock)
            child = processes.start("platform", [sys.executable, "-S", "-c", READY + WAIT], "/")
            processes.ready(child, 20)
            os.close(state.lock)
            self.assertEqual(remove_leftovers(), 0)
        self.assertEqual(remove_leftovers(), 1)

    def test_left_alone(self) -> None:
        """What is not a demo's, another user's, or a symlink to one is left alone."""
        elsewhere = os.path.join(self.parent, "elsewhere")
        os.mkdir(elsewhere)
        with open(os.path.join(elsewhere, ".lock"), "w"):
            pass
        os.symlink(elsewhere, os.path.join(self.parent, "chatfiles-demo-link"))
        os.mkdir(os.path.join(self.parent, "chatfiles-demo-without-lock"))
        with open(os.path.join(self.parent, "chatfiles-demo-file"), "w"):
            pass
        other = self.make()
        os.close(other.lock)
        self.patch(os, "geteuid", lambda: os.getuid() + 1)
        self.assertEqual(remove_leftovers(), 0)
        self.assertEqual(len(os.listdir(self.parent)), 5)
        self.assertEqual(os.listdir(elsewhere), [".lock"])

    def test_interrupted_removal(self) -> None:
        """A removal that was interrupted is continued by the next demo."""
        state = self.make()
        os.close(state.lock)
        with mock.patch("shutil.rmtree", side_effect=KeyboardInterrupt):
            self.assertRaises(KeyboardInterrupt, remove_leftovers)
        self.assertEqual(remove_leftovers(), 1)
        self.assertEqual(os.listdir(self.parent), [])

    def test_without_locks(self) -> None:
        """On a file system without locks no directory is taken for that of a dead demo."""

        def flock(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        self.patch(fcntl, "flock", flock)
        with self.make():
            self.assertEqual(remove_leftovers(), 0)


class PrintedTests(SynchronousTestCase):
    """Commands that are printed for pasting into a shell."""

    def running(self, state: str) -> roles.DemoRoles:
        running = roles.DemoRoles(mock.Mock(spec=ChildProcesses), state, None)
        running.platform = "http://127.0.0.1:1"
        running.workspace_id = "3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d"
        return running

    def line(self, state: str, word: str, names: list[str]) -> str:
        running = self.running(state)
        running.names = names
        text = running.description(verbose=False)
        lines = [line for line in text.splitlines() if line.startswith("  ") and word in line]
        [line] = [line for line in lines if " -r " not in line]
        return line.strip()

    def test_token_is_not_on_the_screen(self) -> None:
        """
        The programs read the token from a file, whose name is quoted.  It is neither printed nor
        in the list of processes.
        """
        words = shlex.split(self.line("/tmp/a b", "curl ", ["x"]))
        self.assertEqual(words[words.index("-H") + 1], "@/tmp/a b/header")
        words = shlex.split(self.line("/tmp/a b", " get ", ["x"]))
        self.assertIn("/tmp/a b/token", words)

    def test_names_are_quoted(self) -> None:
        """Any file name is quoted for the shell."""
        name = "it's $(here).txt"
        words = shlex.split(self.line("/s", " get ", [name]))
        self.assertEqual(words[-1], f"/workspace/{name}")
        words = shlex.split(self.line("/s", "curl ", [name]))
        self.assertTrue(words[-1].endswith("?path=/workspace/it%27s%20%24%28here%29.txt"))

    def test_python(self) -> None:
        """The line for Python names the file of the token, and does not contain the token."""
        words = shlex.split(self.line("/tmp/a b", "from_environment", ["x"]))
        self.assertEqual(words[1], "CHATFILES_TOKEN_FILE=/tmp/a b/token")
        self.assertEqual(words[-3:-1], [sys.executable, "-c"])

    def test_proxy(self) -> None:
        """
        The ``curl`` command has ``--noproxy`` if curl uses a proxy for the loopback address
        otherwise.
        """
        for proxies, told in (({}, False), ({"http": "http://p"}, True)):
            self.patch(roles, "getproxies", lambda proxies=proxies: proxies)
            self.assertEqual("--noproxy" in shlex.split(self.line("/s", "curl ", ["x"])), told)

    def test_own_command(self) -> None:
        """
        The script is printed by its name if the shell finds it, by its path if not, else by its
        module.
        """
        with tempfile.TemporaryDirectory(prefix="a b") as directory:
            script = os.path.join(directory, "chatfiles")
            with open(script, "w"):
                os.chmod(script, 0o755)
            self.patch(sys, "argv", [script])
            self.patch(os, "environ", {"PATH": "/nowhere"})
            self.assertEqual(roles._own_command(), shlex.quote(script))
            self.patch(os, "environ", {"PATH": directory})
            self.assertEqual(roles._own_command(), "chatfiles")
        self.patch(sys, "argv", ["/somewhere/chatfiles/cli/__main__.py"])
        words = shlex.split(roles._own_command())
        self.assertEqual(words[1:], [sys.executable, "-m", "chatfiles.cli"])
