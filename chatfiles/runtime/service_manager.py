"""
Tells systemd what a role does (``sd_notify(3)``), with datagrams to ``$NOTIFY_SOCKET``.

The protocol is a few lines of text, so no library is used: ``systemd-python`` needs a C compiler
and the headers of systemd, and ``sdnotify`` does not know ``RELOADING``.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall

__all__ = ["ServiceManager"]

#: Variables that are not for processes that this one starts.
_VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ServiceManager:
    """
    The service manager that has started this process.

    :param send: sends one message.
    :param clock: for the watchdog.
    :param watchdog: seconds after which the manager kills a process that has not sent a sign of
        life; ``None`` if it does not.
    :param monotonic: returns the time of ``CLOCK_MONOTONIC`` in nanoseconds.
    """

    def __init__(
        self,
        send: Callable[[bytes], object],
        clock: Any,
        watchdog: float | None = None,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._send = send
        self._watchdog = watchdog
        self._monotonic = monotonic
        self._status = ""
        self._loop = LoopingCall(self._is_alive)
        self._loop.clock = clock
        self._alive: Callable[[], Awaitable[None]] = lambda: succeed(None)

    @classmethod
    def of_environment(
        cls, environment: MutableMapping[str, str], pid: int, clock: Any
    ) -> ServiceManager:
        """
        :param environment: its variables about the manager are removed.
        :param pid: of this process.
        :param clock: the reactor.
        :return: the manager; one that receives nothing if there is none.
        """
        address, period, for_pid = (environment.pop(name, "") for name in _VARIABLES)
        if not address.startswith(("/", "@")):
            return cls(lambda _: None, clock)
        watchdog = int(period) / 1e6 if period.isdecimal() and int(period) else None
        if for_pid not in ("", str(pid)):
            watchdog = None
        return cls(_Socket(address), clock, watchdog)

    def ready(self, status: str, alive: Callable[[], Awaitable[None]]) -> None:
        """
        The role serves.  From now on, signs of life are sent, two for each period of the watchdog.

        :param status: one line for ``systemctl status``.
        :param alive: fires if the role is alive.  While it does not, or fails, no sign is sent.
        """
        self._status = status
        self._notify("READY=1", f"STATUS={status}")
        self._alive = alive
        if self._watchdog is not None and not self._loop.running:
            self._loop.start(self._watchdog / 2)

    def reloading(self) -> None:
        """The role looks at its files."""
        self._notify("RELOADING=1", f"MONOTONIC_USEC={self._monotonic() // 1000}")

    def reloaded(self) -> None:
        """The role has looked at its files."""
        self._notify("READY=1", f"STATUS={self._status}")

    def stopping(self) -> None:
        """The role drains.  Signs of life are sent until the process ends."""
        self._notify("STOPPING=1", "STATUS=finishing the running transfers")

    def _notify(self, *lines: str) -> None:
        self._send("\n".join(lines).encode())

    def _is_alive(self) -> Deferred[None]:
        async def ask() -> None:
            with suppress(Exception):
                await self._alive()
                self._notify("WATCHDOG=1")

        return Deferred.fromCoroutine(ask())


class _Socket:
    """
    :param address: a path, or an abstract name that begins with ``@``.
    """

    def __init__(self, address: str) -> None:
        self._address = address.replace("@", "\0", 1) if address[0] == "@" else address

    def __call__(self, message: bytes) -> None:
        """Send a message, unless the manager does not receive it now."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(OSError):
            sender.setblocking(False)
            sender.sendto(message, self._address)
