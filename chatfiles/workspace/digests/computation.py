"""
The computations of digests: at most `AT_ONCE` read at the same time, the others wait for a turn.
Those of small files have as many turns of their own, so that they never wait for large files.

All who want the digest of one version use the same computation.  Its steps run in the threads of
the file's root.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from chatfiles.model import FileFacts
from chatfiles.runtime.threads import Threads
from chatfiles.workspace.digests.file_hash import FileHash
from chatfiles.workspace.files.open_file import OpenFile

__all__ = ["Abandoned", "Computation", "Computations"]

#: Computations that have a turn.
AT_ONCE = 2
#: Seconds after which an unused computation ends.
UNUSED_AFTER = 60.0
#: Seconds of one step after which a computation gives up its turn: its disk does not respond.
STALLED_AFTER = 5.0

#: The digest, or why there is none.
Outcome = bytes | Failure


class Abandoned(Exception):
    """The computation was not used for a while, or the role stops."""


class Computation:
    """
    The computation of the digest of one version.

    :param path: the virtual path, bytes.
    :param file: the open file, which is owned by the computation from now on.
    :param hashing: computes the digest of *file*.
    :param owner: whose threads it uses; the root of the path.
    :param is_small: whether it ends soon.
    :ivar users: number of requests and downloads that use it.
    :ivar last_used: when the last of them ended, in seconds.
    """

    def __init__(
        self, path: bytes, file: OpenFile, hashing: FileHash, owner: Hashable, *, is_small: bool
    ) -> None:
        self.is_small = is_small
        self.path = path
        self.file = file
        self.hashing = hashing
        self.owner = owner
        self.users = 0
        self.last_used = 0.0
        self.has_ended = False
        self.step: Deferred[bytes | None] | None = None
        self.watch: IDelayedCall | None = None
        self._waiting: list[Deferred[bytes]] = []

    @property
    def is_awaited(self) -> bool:
        """Whether a request waits for the digest."""
        return bool(self._waiting)

    def digest(self) -> Deferred[bytes]:
        """
        :return: fires with the digest, or fails with the outcome of the computation.  It may be
            cancelled.
        """
        waiting: Deferred[bytes] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def deliver(self, outcome: Outcome) -> None:
        """Notify all who wait."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(outcome)


class _Lane:
    """
    Computations that share turns.

    :ivar queue: those that wait for a turn.
    :ivar turns: those that have one.
    """

    def __init__(self) -> None:
        self.queue: deque[Computation] = deque()
        self.turns: set[Computation] = set()


class Computations:
    """
    All computations of a workspace.

    :param threads: run the steps.
    :param clock: runs timers.
    :param ended: receives each computation that has ended, and its outcome; returns the outcome
        that those who wait receive.
    """

    def __init__(
        self,
        threads: Threads,
        clock: IReactorTime,
        ended: Callable[[Computation, Outcome], Outcome],
    ) -> None:
        self._threads = threads
        self._clock = clock
        self._ended = ended
        self._all: dict[FileFacts, Computation] = {}
        self._small, self._large = _Lane(), _Lane()

    def find(self, facts: FileFacts) -> Computation | None:
        """:return: the computation of this version, if there is one."""
        return self._all.get(facts)

    @contextmanager
    def used(self, computation: Computation) -> Iterator[None]:
        """
        Use a computation, which begins if it is new.

        :return: a context manager.  When the last user has left, the computation ends: at once if
            it has not begun, so that it keeps no descriptor open; otherwise after `UNUSED_AFTER`
            seconds.
        """
        computation.users += 1
        if computation.hashing.facts not in self._all:
            self._all[computation.hashing.facts] = computation
            lane = self._lane(computation)
            lane.queue.append(computation)
            self._serve(lane)
        try:
            yield
        finally:
            computation.users -= 1
            computation.last_used = self._clock.seconds()
            if not computation.users and computation.step is None and not computation.has_ended:
                self._lane(computation).queue.remove(computation)
                self._end(computation, Failure(Abandoned()))

    def stop(self) -> None:
        """End all computations; idempotent."""
        self._small.queue.clear()
        self._large.queue.clear()
        for computation in list(self._all.values()):
            self._end(computation, Failure(Abandoned()))

    def _lane(self, computation: Computation) -> _Lane:
        return self._small if computation.is_small else self._large

    def _serve(self, lane: _Lane) -> None:
        while lane.queue and len(lane.turns) < AT_ONCE:
            computation = lane.queue.popleft()
            lane.turns.add(computation)
            self._step(computation)

    def _step(self, computation: Computation) -> None:
        self._watch(computation)
        step = self._threads.run(computation.hashing.step, owner=computation.owner)
        computation.step = step
        step.addBoth(self._stepped, computation)

    def _stepped(self, result: Outcome | None, computation: Computation) -> None:
        if computation.has_ended:
            return
        if computation.watch is not None:
            computation.watch.cancel()
        if result is not None:
            self._end(computation, result)
        elif self._is_unused(computation):
            self._end(computation, Failure(Abandoned()))
        elif computation in (lane := self._lane(computation)).turns:
            self._step(computation)
        else:  # it gave up its turn
            lane.queue.appendleft(computation)
            self._serve(lane)

    def _watch(self, computation: Computation) -> None:
        computation.watch = self._clock.callLater(STALLED_AFTER, self._stalled, computation)

    def _stalled(self, computation: Computation) -> None:
        lane = self._lane(computation)
        lane.turns.discard(computation)
        self._watch(computation)
        if self._is_unused(computation):
            self._end(computation, Failure(Abandoned()))
        else:
            self._serve(lane)

    def _is_unused(self, computation: Computation) -> bool:
        idle = self._clock.seconds() - computation.last_used
        return not computation.users and idle >= UNUSED_AFTER

    def _end(self, computation: Computation, outcome: Outcome) -> None:
        computation.has_ended = True
        del self._all[computation.hashing.facts]
        lane = self._lane(computation)
        lane.turns.discard(computation)
        if computation.watch is not None and computation.watch.active():
            computation.watch.cancel()
        if computation.step is not None:
            computation.step.cancel()  # a step that has not begun never runs
        computation.file.release(self._threads.run, computation.owner)
        computation.deliver(self._ended(computation, outcome))
        self._serve(lane)
