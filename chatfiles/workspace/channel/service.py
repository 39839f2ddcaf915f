"""
Keeps connections to the platform open, on which the platform sends its requests.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatfiles.http.message_head.response import BadResponse
from chatfiles.http.server.site import Site
from chatfiles.rules.channel_upgrade import upgrade_request
from chatfiles.runtime.settings import ChannelSettings
from chatfiles.workspace.channel.backoff import Backoff
from chatfiles.workspace.channel.pool import ChannelPool, PooledConnection
from chatfiles.workspace.channel.refusals import BACK_OFF, OPERATOR, Refusal, refusal_of
from chatfiles.workspace.channel.upgrade import Refused, Upgrade
from chatfiles.workspace.registration.client import REQUEST_TIMEOUT, why_no_response

__all__ = ["ChannelService", "PlatformAddress"]

#: A connection that is closed within so many seconds, and has served nothing, counts as refused.
TOO_SOON: Final = 5.0
#: Until one of the next connections is used, each of them may be closed at once, too.
CLOSED_AT_ONCE: Final = Refusal("the platform has closed a connection that it had accepted")


class PlatformAddress:
    """
    Where the channel connects.

    :param shown: the URL of the platform, for the log.
    :param host: the value of ``Host``.
    :param path: the target of the request.
    :param endpoint: connects.
    """

    def __init__(
        self, shown: str, host: bytes, path: bytes, endpoint: IStreamClientEndpoint
    ) -> None:
        self.shown = shown
        self.host = host
        self.path = path
        self.endpoint = endpoint


class ChannelService(Service):
    """
    Makes connections when there are too few that wait for requests, and gives them to the site.

    It begins when the platform has accepted the registration.  After a failure there is one attempt
    at a time, with growing delays, which all connections share.

    :param clock: the reactor, or a clock.
    :param address: of the platform.
    :param site: serves the requests.
    :param settings: how many connections there may be.
    :param token: returns the auth token of the workspace; ``None`` if it has none.
    :param register: makes the workspace register again.
    :param jitter: returns a random number from 0 up to 1.
    :ivar pool: the connections.
    """

    name = "channel"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        address: PlatformAddress,
        site: Site,
        settings: ChannelSettings,
        token: Callable[[], Awaitable[str | None]],
        register: Callable[[], object],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.pool = ChannelPool(clock, settings, self._used, self._lost)
        self._clock = clock
        self._address = address
        self._site = site
        self._token = token
        self._register = register
        self._backoff = Backoff(jitter)
        self._attempts: set[Deferred[Any]] = set()
        self._refusal: Refusal | None = None  # the last result, if that was one
        self._wait: IDelayedCall | None = None
        self._presented = self._reported = ""

    # -- when to connect

    def registered(self) -> None:
        """The platform has accepted a registration or a heartbeat, so it can be reached."""
        if not self.running:
            self.startService()
        refusal = self._refusal
        if refusal is not None and refusal.wait is BACK_OFF and not refusal.registers:
            self._backoff.reset()
            self._hope()
        self._fill()

    def stopService(self) -> None:
        """Make no more connections.  Those that exist belong to the site."""
        super().stopService()
        self._end_wait()
        for attempt in list(self._attempts):
            attempt.cancel()

    @property
    def _serves(self) -> bool:
        return bool(self.running) and not self._site.draining

    def _used(self) -> None:
        """A connection has begun to serve a request."""
        if self._refusal is CLOSED_AT_ONCE:
            self._hope()
            self._say("open", self._log.info)
        self._changed()

    def _changed(self) -> None:
        """Fewer connections wait for requests than before."""
        if self._refusal is not None and self._refusal.is_full:
            self._end_wait()  # the platform has room again
        self._fill()

    def _lost(self, connection: PooledConnection) -> None:
        self._log.debug("channel closed after {age:.3f} s", age=connection.age)
        if connection.has_served or connection.leaves or connection.age >= TOO_SOON:
            self._backoff.reset()
        elif self._serves:
            self._failed(CLOSED_AT_ONCE)
        self._changed()

    def _fill(self) -> None:
        """Make the connections that are missing, unless it is too early for that."""
        if self._wait is not None or not self._serves:
            return
        count = self.pool.missing
        if self._refusal is not None:
            count = min(count, 1 - self.pool.opening)
        for _ in range(count):
            self._open()

    def _hope(self) -> None:
        self._refusal = None
        self._end_wait()

    def _end_wait(self) -> None:
        wait, self._wait = self._wait, None
        if wait is not None:
            wait.cancel()

    # -- one connection

    def _open(self) -> None:
        self.pool.opening += 1
        attempt = Deferred.fromCoroutine(self._attempt())
        self._attempts.add(attempt)
        attempt.addTimeout(REQUEST_TIMEOUT, self._clock)
        attempt.addBoth(self._attempted, attempt)

    async def _attempt(self) -> Upgrade:
        """:return: a connection that the platform has accepted in this moment."""
        token = await self._token()
        if token is None:
            raise _NoToken
        self._presented = token
        address = self._address
        request = upgrade_request(address.path, address.host, token.encode("ascii"))
        connected: Any = address.endpoint.connect(Factory.forProtocol(partial(Upgrade, request)))
        connection: Upgrade = await connected
        await connection.accepted
        return connection

    def _attempted(self, result: Upgrade | Failure, attempt: Deferred[Any]) -> None:
        self._attempts.discard(attempt)
        self.pool.opening -= 1
        if isinstance(result, Upgrade):
            self._accepted(result)
        elif self._serves:
            self._failed(_refusal(result.value))

    def _accepted(self, connection: Upgrade) -> None:
        if not self._serves:
            connection.close()
            return
        self._log.debug("channel opened to node {node}", node=connection.node or "-")
        if self._refusal is not CLOSED_AT_ONCE:
            self._hope()
            self._say("open", self._log.info)
        connection.hand_over(self._site.new_connection(PooledConnection(self.pool)))
        self._fill()

    def _failed(self, refusal: Refusal) -> None:
        """All connections share one wait, so a failure while they wait is not counted."""
        if self._wait is not None:
            return
        self._refusal = refusal
        seconds = self._backoff.next() if refusal.wait is BACK_OFF else refusal.wait
        self._wait = self._clock.callLater(seconds, self._waited)
        self._say(refusal.text, self._log.warn)
        if refusal.registers:
            self._register()

    def _waited(self) -> None:
        self._wait = None
        self._fill()

    def _say(self, text: str, log: Callable[..., object]) -> None:
        """Log a result, unless it equals the last one.  The platform may have sent a part of it."""
        text = text.replace(self._presented, "…") if self._presented else text
        if text != self._reported:
            self._reported = text
            log("channel to {platform}: {text}", platform=self._address.shown, text=text)


class _NoToken(Exception):
    pass


def _refusal(error: BaseException | None) -> Refusal:
    if isinstance(error, Refused):
        return refusal_of(error.response)
    if isinstance(error, _NoToken):
        return Refusal("there is no auth token", OPERATOR, registers=True)
    if isinstance(error, BadResponse):
        return Refusal(f"responded badly: {error}")
    assert error is not None
    return Refusal(f"no response ({why_no_response(error)})")
