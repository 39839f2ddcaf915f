"""
The life of a role: make ready, listen, drain, clean up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger

from chatfiles.http.server.site import Site

__all__ = ["Listener", "RoleService"]

Step = Callable[[], Awaitable[None]]


class Listener:
    """
    Where to listen.

    :param description: the endpoint string, as the operator wrote it.
    :param endpoint: made from it.
    """

    def __init__(self, description: str, endpoint: IStreamServerEndpoint) -> None:
        self.description = description
        self.endpoint = endpoint

    def url(self, port: IListeningPort) -> str:
        """:return: where *port* can be reached, with the real port number."""
        host = port.getHost()
        scheme = "https" if self.description.split(":", 1)[0] in ("ssl", "tls") else "http"
        if isinstance(host, UNIXAddress):
            return f"unix:{(host.name or b'').decode(errors='replace')}"
        if isinstance(host, IPv6Address):
            return f"{scheme}://[{host.host}]:{host.port}"
        assert isinstance(host, IPv4Address)
        return f"{scheme}://{host.host}:{host.port}"


class RoleService(Service):
    """
    One role.

    :param role: its name.
    :param site: what it serves.
    :param listeners: where.
    :param before: run in order before it listens.
    :param cannot_start: called when it cannot, after the reason was logged; ends the process.
    :param ready: called once it listens.
    :param after: run in order when everything has been answered.
    :param drain_timeout: seconds that running transfers may take when it is told to stop.
    :param drain_delay: seconds before that in which it still accepts, while ``/ready`` says 503 and
        every answer is the last one on its connection: so that a balancer sends no more.
    """

    log = Logger()

    def __init__(
        self,
        role: str,
        site: Site,
        listeners: Sequence[Listener],
        *,
        drain_timeout: float,
        cannot_start: Callable[[], object],
        before: Sequence[Step] = (),
        ready: Callable[[], object] = lambda: None,
        after: Sequence[Step] = (),
        drain_delay: float = 0.0,
    ) -> None:
        self.setName(f"chatfiles {role}")
        self._role = role
        self._site = site
        self._listeners = listeners
        self._drain_timeout = drain_timeout
        self._drain_delay = drain_delay
        self._cannot_start = cannot_start
        self._before = before
        self._ready = ready
        self._after = after
        self._ports: list[IListeningPort] = []
        self._starting: Deferred[None] | None = None
        self._delay: Deferred[None] | None = None

    def startService(self) -> None:
        """Begin; what goes wrong is logged and ends the process with status 1."""
        super().startService()
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._start_failed)

    async def _start(self) -> None:
        for step in self._before:
            await step()
        for listener in self._listeners:
            try:
                port = await listener.endpoint.listen(self._site)
            except Exception as error:
                raise ValueError(f"--listen={listener.description}: {error}") from error
            self._ports.append(port)
            self.log.info(
                "chatfiles {role} ready on {url}", role=self._role, url=listener.url(port)
            )
        self._ready()

    def _start_failed(self, failure: Any) -> None:
        if not self.running:
            return
        self.log.critical(
            "chatfiles {role} cannot start: {reason}",
            role=self._role,
            reason=failure.getErrorMessage(),
        )
        self._cannot_start()

    async def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        self._site.draining = True
        if self._drain_delay and self._ports:
            self._delay = deferLater(self._site.reactor, self._drain_delay)
            with suppress(CancelledError):  # `stop_now` was called
                await self._delay
        for port in self._ports:
            await _maybe(port.stopListening())
        await self._site.drain(self._drain_timeout)
        for step in self._after:
            await step()

    def stopService(self) -> Deferred[None]:
        """Stop accepting, finish what is running, then release everything."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def stop_now(self) -> None:
        """Wait no longer for what is running: interrupt it.  Called when it has been told to stop."""
        self.log.info("chatfiles {role} cuts what is left", role=self._role)
        self._drain_delay = self._drain_timeout = 0.0
        if self._delay is not None:
            self._delay.cancel()
        self._site.stop_now()


async def _maybe(result: Any) -> None:
    if isinstance(result, Deferred):
        await result
