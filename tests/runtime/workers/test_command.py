"""
The command of a worker, from the options of ``twistd``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.workers.command import worker_command

ROLE = ["--role=workspace", "--workers=2"]


class CommandTests(SynchronousTestCase):
    """What a worker executes."""

    def words(self, twistd: Mapping[str, Any]) -> list[str]:
        """:return: the options of ``twistd`` for the worker."""
        words = list(worker_command(twistd, ROLE, {}).arguments)
        self.assertEqual(words[-3:], ["chatfiles", *ROLE])
        return words[4:-3]

    def test_log(self) -> None:
        """A worker logs to its pipe, unless all processes can log to the same place."""
        for twistd, log in (
            ({}, ["--logfile=-"]),
            ({"logfile": "/var/log/a", "nodaemon": 1}, ["--logfile=-"]),
            ({"syslog": 1, "prefix": "files"}, ["--syslog", "--prefix=files"]),
            ({"logger": "a.b"}, ["--logger=a.b"]),
        ):
            self.assertEqual(self.words(twistd), ["-n", "--pidfile=", *log])

    def test_only_the_first(self) -> None:
        """The user, the PID file and the umask concern only the first process."""
        twistd = {"uid": 1, "gid": 1, "pidfile": "/run/a", "umask": 0o77, "rundir": "."}
        self.assertEqual(self.words(twistd), ["-n", "--pidfile=", "--logfile=-"])

    def test_directory(self) -> None:
        """With ``--rundir``, a worker begins in the directory in which the first process began."""
        command = worker_command({"rundir": "run"}, ROLE, {"A": "b"})
        self.assertEqual((command.directory, command.environment), (os.getcwd(), {"A": "b"}))
        self.assertIn("--rundir=run", command.arguments)
        self.assertIsNone(worker_command({"rundir": "."}, ROLE, {}).directory)

    def test_chroot(self) -> None:
        """``--chroot`` is refused: there might be no Python."""
        with self.assertRaisesRegex(ValueError, "--workers: twistd --chroot is not supported"):
            worker_command({"chroot": "/tmp"}, ROLE, {})
