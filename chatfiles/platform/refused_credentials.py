"""
The limit on wrong credentials (reference/limits-and-shutdown, "Limits per client").  It protects
the registry from clients that guess.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.defer import Deferred

from chatfiles.errors import RegistryUnavailable, TooManyRequests
from chatfiles.rules.client_network import client_network

__all__ = ["RefusedCredentials"]

#: Seconds for which refusals count.
WINDOW = 1.0
#: Clients that are remembered; the oldest is forgotten first.
MOST_CLIENTS = 10_000
#: Valid credentials that are remembered; the one that was not used for longest is forgotten first.
MOST_VALID = 10_000

T = TypeVar("T")


class _Client:
    """
    One client: an IPv4 address, or an IPv6 network.

    :ivar began: when its window began.
    :ivar refused: its wrong credentials since then.
    :ivar running: its credentials that are being looked up.
    :ivar waiting: look-ups that wait for the results of those that run.
    """

    __slots__ = ("began", "is_waking", "refused", "running", "waiting")

    def __init__(self, now: float) -> None:
        self.began = now
        self.refused = self.running = 0
        self.is_waking = False
        self.waiting: deque[Deferred[None]] = deque()


class RefusedCredentials:
    """
    Looks credentials up, as long as not too many of the same client were wrong.

    Of each client, no more look-ups run at once than may still be wrong.  Further ones wait for
    their results, so that a client gains nothing by sending many credentials at once.  A credential
    that was valid when it was last looked up has no limit.

    :param most: wrong credentials of one client in a second; 0 for no limit.
    :param seconds: returns the time of a steady clock.
    """

    def __init__(self, most: int, seconds: Callable[[], float]) -> None:
        self._most = most
        self._seconds = seconds
        self._clients: dict[str, _Client] = {}
        self._valid: dict[bytes, None] = {}

    async def look_up(
        self, address: str, find: Callable[[], Awaitable[T | None]], key: bytes | None = None
    ) -> T | None:
        """
        Look up a credential.

        :param address: of the client.
        :param find: looks it up; ``None`` if it is wrong.
        :param key: identifies the credential, such as a hash; ``None`` if it is not remembered.
        :return: the result of *find*.
        :raise TooManyRequests: 429, *find* was not called.
        :raise RegistryUnavailable: *find* raised it, or another look-up did while this one waited.
        """
        if not self._most:
            return await find()
        if key in self._valid:
            return await self._look_up_again(address, find, key)
        client = self._client(client_network(address))
        while client.refused + client.running >= self._most:
            if client.refused >= self._most:
                raise TooManyRequests(
                    "too many refused credentials", code="too_many_refusals", retry_after=1
                )
            turn: Deferred[None] = Deferred()
            client.waiting.append(turn)
            await turn
        client.running += 1
        try:
            found = await find()
            client.refused += found is None
        except RegistryUnavailable:
            # Those that wait must not wait for the registry one after the other.
            waiting, client.waiting = client.waiting, deque()
            for turn in waiting:
                turn.errback(RegistryUnavailable())
            raise
        finally:
            client.running -= 1
            self._wake(client)
        if found is not None and key is not None:
            self._remember(key)
        return found

    async def _look_up_again(
        self, address: str, find: Callable[[], Awaitable[T | None]], key: bytes
    ) -> T | None:
        found = await find()
        if found is not None:
            self._remember(key)
        elif key in self._valid:  # it has been revoked
            del self._valid[key]
            self._client(client_network(address)).refused += 1
        return found

    def _remember(self, key: bytes) -> None:
        self._valid.pop(key, None)  # it becomes the youngest
        if len(self._valid) >= MOST_VALID:
            del self._valid[next(iter(self._valid))]
        self._valid[key] = None

    def _client(self, key: str) -> _Client:
        now = self._seconds()
        client = self._clients.get(key)
        if client is not None and now - client.began < WINDOW:
            return client
        if client is None:
            self._forget_some(now)
            client = _Client(now)
        else:  # it becomes the youngest
            del self._clients[key]
            client.began, client.refused = now, 0
        self._clients[key] = client
        return client

    def _forget_some(self, now: float) -> None:
        """Forget the clients whose window is over, and the oldest if they are too many."""
        while self._clients:
            key, oldest = next(iter(self._clients.items()))
            if now - oldest.began < WINDOW and len(self._clients) < MOST_CLIENTS:
                break
            del self._clients[key]

    def _wake(self, client: _Client) -> None:
        """Continue look-ups that have a place now, or all if none of them will have one."""
        if client.is_waking:  # a look-up has ended at once: the loop below continues
            return
        client.is_waking = True
        while client.waiting and (
            client.refused >= self._most or client.refused + client.running < self._most
        ):
            client.waiting.popleft().callback(None)  # without effect if its client has left
        client.is_waking = False
