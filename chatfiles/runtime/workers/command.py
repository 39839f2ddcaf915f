"""
The command that starts a worker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["WorkerCommand", "worker_command"]

#: ``twistd``, wherever its script is.
_PROGRAM: Final = "from twisted.scripts.twistd import run; run()"


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """
    What a worker executes.

    :ivar arguments: the program, and its arguments.
    :ivar environment: its environment, without the variable of workers.
    :ivar directory: its current directory; ``None`` for that of the first process.
    """

    arguments: Sequence[str]
    environment: MutableMapping[str, str]
    directory: str | None


def worker_command(
    twistd: Mapping[str, Any], arguments: Sequence[str], environment: Mapping[str, str]
) -> WorkerCommand:
    """
    The arguments of the role stay the same.  Those of ``twistd`` itself concern only the first
    process, such as its PID file and its user.

    :param twistd: the options of ``twistd`` itself.
    :param arguments: those after ``chatfiles``.
    :param environment: of this process.
    :return: the command of a worker, which logs to its standard output or to the system log.
    :raise ValueError: ``--chroot`` is among the options.
    """
    if twistd.get("chroot"):
        raise ValueError("--workers: twistd --chroot is not supported with several processes")
    words = [sys.executable, "-P", "-c", _PROGRAM, "-n", "--pidfile=", *_log_options(twistd)]
    directory = None
    if twistd.get("rundir", ".") != ".":  # relative paths are relative to the directory of now
        directory = os.getcwd()
        words.append(f"--rundir={twistd['rundir']}")
    return WorkerCommand([*words, "chatfiles", *arguments], dict(environment), directory)


def _log_options(twistd: Mapping[str, Any]) -> list[str]:
    if twistd.get("logger"):
        return [f"--logger={twistd['logger']}"]
    if twistd.get("syslog"):
        return ["--syslog", f"--prefix={twistd.get('prefix', '')}"]
    return ["--logfile=-"]
