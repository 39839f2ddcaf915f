"""
Noticing, by looking again and again, that something has changed.
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
from chatfiles.platform.registry.sqlite.call_thread import ReactorClock

__all__ = ["ChangePoller"]


_log = Logger()


class ChangePoller:
    """
    Looks at an interval, and tells when what it sees is not what it saw before.

    While it cannot see, it tells each time: whoever keeps answers must not rely on them then.

    :param look: gives anything comparable; fails with `RegistryUnavailable`.
    :param glance: gives something that changes whenever what *look* gives may have changed; it
        costs next to nothing.
    :param changed: called on the reactor thread.
    :param interval: seconds between two looks.
    :param patience: seconds after which a look has not seen anything.
    """

    def __init__(
        self,
        look: Callable[[], Deferred[object]],
        changed: Callable[[], None],
        *,
        glance: Callable[[], object],
        clock: ReactorClock,
        interval: float,
        patience: float,
    ) -> None:
        self._look = look
        self._changed = changed
        self._interval = interval
        self._patience = patience
        self._glance = glance
        self._seen: object = None
        self._glanced: object = None
        self._looking = False
        self._clock = cast("IReactorTime", clock)
        self._loop = LoopingCall(self._look_again)
        self._loop.clock = self._clock

    async def begin(self) -> None:
        """Note what there is to be seen now; a change after this is told, whenever one looks."""
        self._glanced = self._glance()
        self._seen = await self._look()

    def is_sure(self) -> bool:
        """
        :return: whether everything that has happened up to now has been told; if not, it is being
            looked at.
        """
        if not self._looking and self._glance() != self._glanced:
            Deferred.fromCoroutine(self._look_again())
        return not self._looking

    def turn(self, on: bool) -> None:
        """Look from now on, or no more."""
        if on and not self._loop.running:
            self._loop.start(self._interval, now=False)
        elif self._loop.running and not on:
            self._loop.stop()

    async def _look_again(self) -> None:
        if self._looking:
            return
        self._looking, glanced = True, self._glance()
        try:
            seen = await self._look().addTimeout(self._patience, self._clock)
        except Exception as error:
            if not isinstance(error, RegistryUnavailable | NotInTime):
                _log.failure("looking for changes by others failed")
            self._changed()  # and look again: nobody would be told of anything any more
        else:
            self._glanced = glanced
            if seen != self._seen:
                self._seen = seen
                self._changed()
        finally:
            self._looking = False
