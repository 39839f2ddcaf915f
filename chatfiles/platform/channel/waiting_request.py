"""
A request that waits for a connection of its workspace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from chatfiles.errors import ChatfilesError
from chatfiles.platform.channel.connection import ChannelConnection
from chatfiles.platform.error_texts import workspace_busy
from chatfiles.platform.upstream.connection import WorkspaceConnection
from chatfiles.streams.equal_timeouts import EqualTimeouts, Timeout

__all__ = ["Elsewhere", "Here", "NewSearch", "Nowhere", "Waiter"]


class Elsewhere(Protocol):
    """
    Looks for a connection to a workspace that is not here.

    :ivar error: why there is none, as far as it is known now, for the client.
    """

    @property
    def error(self) -> ChatfilesError: ...

    def start(self) -> Deferred[WorkspaceConnection]:
        """
        :return: the connection.  Fails with the error for the client, if it is useless to wait
            longer.  It may be cancelled.
        """


#: Takes the id of a workspace, and what returns whether it has connections here.
NewSearch = Callable[[UUID, Callable[[], bool]], Elsewhere]


class Nowhere:
    """Finds nothing, and waits for ever."""

    def __init__(self) -> None:
        self.error: ChatfilesError = workspace_busy()

    def start(self) -> Deferred[WorkspaceConnection]:
        """See `Elsewhere`."""
        return Deferred()


class Here(Protocol):
    """
    Connections of one workspace, of one kind.

    :ivar has_connections: whether there are any, idle or busy.
    """

    @property
    def has_connections(self) -> bool: ...

    def take(self) -> ChannelConnection | None:
        """:return: the idle connection on which the workspace has responded last."""

    def check(self, connection: Any, failed: Callable[[], object], /) -> None:
        """
        Ask the workspace on a connection whether it is alive, for a short time.

        :param failed: called if it is not; else the connection is offered to its ``claim``.
        """

    def wait(self, waiter: Waiter, /) -> None:
        """Offer *waiter* the next idle connection, after those that wait already."""

    def leave(self, waiter: Waiter, /) -> None:
        """Offer *waiter* nothing more."""


class Waiter:
    """
    Waits for the first connection: an idle one here, one that becomes idle here, or one from
    elsewhere, if nothing is idle here for a moment.  (If there are connections here, one of them is
    most often free before another node can be asked.)

    :param here: the connections to this node.
    :param clock: for the age of a response.
    :param within: seconds within which the workspace must have responded on a connection; if it has
        not, it is asked first.
    :param moments: starts the timeout after which others are asked.
    :param timeouts: starts the timeout of the wait.
    :param elsewhere: makes what is asked then.
    """

    def __init__(
        self,
        here: Here,
        clock: IReactorTime,
        within: float,
        moments: EqualTimeouts,
        timeouts: EqualTimeouts,
        elsewhere: Callable[[], Elsewhere],
    ) -> None:
        self._here = here
        self._clock = clock
        self._within = within
        self._moments = moments
        self._timeouts = timeouts
        self._timeout: Timeout | None = None
        self._new_elsewhere = elsewhere
        self._elsewhere: Elsewhere | None = None
        self._looking: Deferred[None] | None = None
        self._checking = self._ended = False
        self._result: Deferred[WorkspaceConnection] = Deferred(lambda _: self._stop())

    @property
    def error(self) -> ChatfilesError:
        """See `Elsewhere`, which a waiter is, too."""
        return workspace_busy() if self._elsewhere is None else self._elsewhere.error

    def start(self) -> Deferred[WorkspaceConnection]:
        """:return: the connection, or the error for the client; it may be cancelled."""
        self._here.wait(self)
        self._take_idle()
        if not self._ended and self._here.has_connections:
            self._timeout = self._moments.start(self._wait_longer)
        elif not self._ended:
            self._wait_longer()
        return self._result

    def offer(self, connection: ChannelConnection) -> bool:
        """
        :param connection: an idle connection on which the workspace has just responded.
        :return: whether it is taken.
        """
        if self._ended:
            return False
        self._finish(connection)
        return True

    def _wait_longer(self) -> None:
        if not self._ended:
            self._elsewhere = self._new_elsewhere()
            self._timeout = self._timeouts.start(self._late)
            self._look_elsewhere()

    def _take_idle(self) -> None:
        connection = self._here.take()
        if connection is None:
            return
        if self._clock.seconds() - connection.answered_at <= self._within:
            self._finish(connection)
        else:
            self._checking = True
            connection.claim = self.offer
            self._here.check(connection, self._is_dead)

    def _is_dead(self) -> None:
        self._checking = False
        if not self._ended:
            self._take_idle()
            self._look_elsewhere()

    def _look_elsewhere(self) -> None:
        if not (self._ended or self._checking or self._elsewhere is None):
            looking = self._elsewhere.start()
            self._looking = looking.addCallbacks(self._found, self._failed)

    def _late(self) -> None:
        if not self._ended:
            self._fail(Failure(self.error))

    def _found(self, connection: WorkspaceConnection) -> None:
        if self._ended:  # there is one here, too
            connection.disconnect()
        else:
            self._finish(connection)

    def _failed(self, failure: Failure) -> None:
        if self._ended:  # an endpoint of Twisted may fail otherwise when it is cancelled
            failure.trap(CancelledError, ChatfilesError)
        else:
            self._fail(failure)

    def _fail(self, failure: Failure) -> None:
        self._stop()
        self._result.errback(failure)

    def _finish(self, connection: WorkspaceConnection) -> None:
        self._stop()
        self._result.callback(connection)

    def _stop(self) -> None:
        self._ended = True
        self._here.leave(self)
        if self._timeout is not None:
            self._timeout.stop()
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
