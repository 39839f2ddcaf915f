"""
Polls a database for changes by other processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as NotInTime
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.registry.sqlite.connection_thread import ReactorClock

__all__ = ["ChangePoller"]


_log = Logger()


class ChangePoller:
    """
    Reads a version at an interval, and reports when it has changed.

    Each poll that fails is reported as a change: cached values must not be used while changes
    cannot be seen.

    :param read_version: takes a timeout in seconds, or ``None`` for the usual one; returns a value
        that can be compared for equality; fails with `RegistryUnavailable`.
    :param changed: called on the reactor thread when the version has changed.
    :param read_hint: returns a value that changes whenever the version may have changed.  It is
        called on the reactor thread, and must be fast.
    :param clock: the reactor.
    :param interval: seconds between two polls.
    :param timeout: seconds after which a poll has failed.
    """

    def __init__(
        self,
        read_version: Callable[[float | None], Deferred[object]],
        changed: Callable[[], None],
        *,
        read_hint: Callable[[], object],
        clock: ReactorClock,
        interval: float,
        timeout: float,
    ) -> None:
        self._read_version = read_version
        self._read_hint = read_hint
        self._changed = changed
        self._interval = interval
        self._timeout = timeout
        self._version: object = None
        self._hint: object = None
        self._is_polling = False
        self._clock = cast("IReactorTime", clock)
        self._loop = LoopingCall(self._poll)
        self._loop.clock = self._clock

    async def start(self, seconds: float) -> None:
        """
        Read the version now.  A poll reports every change after this.

        :param seconds: how long this may take.
        """
        self._hint = self._read_hint()
        self._version = await self._read_version(seconds)

    def is_current(self) -> bool:
        """
        :return: whether every change up to now has been reported.  If not, a poll is in progress.
            The polls at the interval alone do not count: without a new hint they will find nothing.
        """
        hint = self._read_hint()
        if hint != self._hint and not self._is_polling:
            Deferred.fromCoroutine(self._poll())
        return hint == self._hint

    def enable(self, on: bool) -> None:
        """Start or stop polling."""
        if on and not self._loop.running:
            self._loop.start(self._interval, now=False)
        elif self._loop.running and not on:
            self._loop.stop()

    async def _poll(self) -> None:
        if self._is_polling:
            return
        self._is_polling, hint = True, self._read_hint()
        try:
            version = await self._read_version(None).addTimeout(self._timeout, self._clock)
        except Exception as error:
            # Any other error than these is a defect.  It must not end the polling, or no change
            # would be reported again.
            if not isinstance(error, RegistryUnavailable | NotInTime):
                _log.failure("polling for changes by other processes failed")
            self._changed()
        else:
            self._hint = hint
            if version != self._version:
                self._version = version
                self._changed()
        finally:
            self._is_polling = False
