"""
Processes under test: start them, wait until they listen, and read what they cost.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress

import psutil

__all__ = ["Server", "free_port", "listens", "start", "until"]

#: Seconds in which a server has to start.
_START = 60.0


class Server:
    """
    A process and its children.

    :param pid: the process that was started.
    """

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)

    def _all(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """
        :return: the CPU time that they have taken, in user and kernel mode; that of children that
            have ended, too.
        """
        times = [process.cpu_times() for process in self._all()]
        ended = sum(time.children_user + time.children_system for time in times)
        return float(sum(time.user + time.system for time in times) + ended)

    def memory(self) -> int:
        """:return: bytes that are resident, summed over the processes."""
        return sum(int(process.memory_info().rss) for process in self._all())


def free_port() -> int:
    """:return: a port of 127.0.0.1 on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def until(holds: Callable[[], bool], what: str, seconds: float = _START) -> None:
    """
    Wait for another process.

    :raise TimeoutError: *what* did not happen in time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def listens(port: int) -> bool:
    """:return: whether a connection to the port of 127.0.0.1 is accepted."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def start(
    command: Sequence[str],
    log: str,
    stack: ExitStack,
    ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
) -> Server:
    """
    Start a server; it ends with *stack*.

    :param log: the file for its output.
    :param ready: whether it serves now.
    :raise RuntimeError: it ended instead; the text has its output.
    :raise TimeoutError: it was not ready within a minute.
    """
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=os.path.dirname(log),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    stack.callback(process.wait)
    stack.callback(process.terminate)

    def serves() -> bool:
        if process.poll() is not None:
            with open(log, encoding="utf-8", errors="replace") as file:
                raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{file.read()}")
        return ready()

    until(serves, f"{command[0]} is ready")
    return Server(process.pid)
