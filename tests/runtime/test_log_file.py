"""
The log file of ``twistd``: which it is, and what the signals of log rotation do.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

from twisted.logger import eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.log_file import LogSignals, ReopenableLogFile, open_log_file


class Reactor:
    """A reactor that runs what a signal handler requests only when the test says so."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []

    def callFromThread(self, function: Callable[..., None], *words: object) -> None:
        self._calls.append(lambda: function(*words))

    def run(self) -> None:
        """Run what was requested."""
        while self._calls:
            self._calls.pop(0)()


class FileCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        self.path = os.path.abspath(os.path.join(self.directory, "role.log"))

    def content(self, name: str = "") -> str:
        """:return: the content of a file: the log, or one beside it."""
        with open(self.path + name) as file:
            return file.read()

    def open(self) -> ReopenableLogFile:
        """:return: the log file, open, with one line."""
        file = open_log_file({"logfile": self.path})
        assert file is not None
        self.addCleanup(file.close)
        file.write("first\n")
        return file


class WhichTests(FileCase):
    """Which file ``twistd`` would write."""

    def test_none(self) -> None:
        """There is no file if the log goes to standard output, syslog or another observer."""
        elsewhere: tuple[Mapping[str, Any], ...] = (
            {"nodaemon": 1},
            {"nodaemon": 1, "logfile": "-"},
            {"logfile": "-"},
            {"logfile": self.path, "syslog": 1},
            {"logfile": self.path, "logger": "a.factory"},
        )
        for options in elsewhere:
            self.assertIsNone(open_log_file(options), options)
        self.assertEqual(os.listdir(self.directory), [])

    def test_file(self) -> None:
        """A named file is used in the foreground too; in the background there is a default."""
        for options, name in (
            ({"logfile": self.path, "nodaemon": 1}, self.path),
            ({"logfile": None, "nodaemon": 0}, os.path.abspath("twistd.log")),
        ):
            file = open_log_file(options)
            assert file is not None
            self.addCleanup(file.close)
            self.assertEqual(file.path, name)


class ReopenTests(FileCase):
    """`ReopenableLogFile.reopen`."""

    def test_moved(self) -> None:
        """The next line is in a new file, and the old one is complete."""
        file = self.open()
        os.rename(self.path, self.path + ".old")
        file.reopen()
        file.write("second\n")
        self.assertEqual((self.content(".old"), self.content()), ("first\n", "second\n"))

    def test_created(self) -> None:
        """A file that the rotation has created is continued; its mode stays."""
        file = self.open()
        os.rename(self.path, self.path + ".old")
        with open(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as created:
            created.write("created\n")
        file.reopen()
        file.write("second\n")
        self.assertEqual(self.content(), "created\nsecond\n")
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)

    def test_impossible(self) -> None:
        """If no file can be opened, the old one is still in use."""
        file = self.open()
        os.rename(self.path, self.path + ".old")
        os.mkdir(self.path)
        self.assertRaises(IsADirectoryError, file.reopen)
        file.write("second\n")
        self.assertEqual(self.content(".old"), "first\nsecond\n")


class SignalTests(FileCase):
    """What a role does and logs after SIGHUP and SIGUSR1."""

    def receive(self, number: int, file: ReopenableLogFile | None) -> list[str]:
        """:return: what is logged after a signal."""
        for each in (signal.SIGHUP, signal.SIGUSR1):
            self.addCleanup(signal.signal, each, signal.getsignal(each))
        logged: list[str] = []

        def observe(event: Any) -> None:
            if event["log_namespace"] == "chatfiles.runtime.log_file":
                logged.append(eventAsText(event, includeTimestamp=False, includeSystem=False))

        observer: Any = observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        reactor = Reactor()
        self.reloads: list[int] = []
        LogSignals(reactor, "chatfiles workspace", file, lambda: self.reloads.append(number))
        signal.raise_signal(number)
        self.assertEqual(logged, [], "a signal handler may interrupt a write to the log")
        reactor.run()
        return logged

    def test_no_file(self) -> None:
        """Without a file the role only says that it continues."""
        for number in (signal.SIGHUP, signal.SIGUSR1):
            logged = self.receive(number, None)
            self.assertEqual(logged, [f"chatfiles workspace continues after {number.name}"])

    def test_sighup(self) -> None:
        """SIGHUP opens the file again."""
        file = self.open()
        os.rename(self.path, self.path + ".old")
        logged = self.receive(signal.SIGHUP, file)
        self.assertEqual(logged, [f"chatfiles workspace reopened {self.path} after SIGHUP"])
        self.assertEqual(self.content(), "")

    def test_sighup_in_vain(self) -> None:
        """If the file cannot be opened, the log names it and the reason."""
        file = self.open()
        os.rename(self.path, self.path + ".old")
        os.mkdir(self.path)
        [line] = self.receive(signal.SIGHUP, file)
        self.assertIn(f"cannot open {self.path}: Is a directory", line)

    def test_sigusr1(self) -> None:
        """SIGUSR1 rotates the file."""
        file = self.open()
        logged = self.receive(signal.SIGUSR1, file)
        self.assertEqual(logged, [f"chatfiles workspace rotated {self.path} after SIGUSR1"])
        self.assertEqual((self.content(".1"), self.content()), ("first\n", ""))

    def test_reload(self) -> None:
        """Only SIGHUP is for more than the log file."""
        for number, reloads in ((signal.SIGHUP, [signal.SIGHUP]), (signal.SIGUSR1, [])):
            self.receive(number, self.open())
            self.assertEqual(self.reloads, reloads)
