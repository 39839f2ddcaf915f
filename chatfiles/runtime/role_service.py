"""
The life cycle of a role: prepare, listen, drain, clean up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as NotInTime
from twisted.internet.interfaces import IListeningPort, IReactorTime, IStreamServerEndpoint
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

from chatfiles.errors import ChatfilesError
from chatfiles.http.server.fast_path import FastPath
from chatfiles.runtime.file_watch import FileWatch
from chatfiles.runtime.reload import Reload
from chatfiles.runtime.service_manager import ServiceManager
from chatfiles.runtime.tls.endpoint import PREFIX, TLSEndpoint

__all__ = ["READY_TIMEOUT", "Listener", "ReadyReport", "RoleService", "Server", "wait_for_steps"]

Step = Callable[[], Awaitable[None]]

#: Seconds that the check of a start may take; after that, the role says where it listens anyway.
READY_TIMEOUT = 2.0


#: The kinds of endpoints with TLS.
_SECURE = frozenset({"ssl", "tls", PREFIX})


class Listener:
    """
    An endpoint to listen on.

    :param description: the endpoint string, as the operator wrote it.
    :param endpoint: the endpoint made from it.
    :param tls: the same, if its certificates are renewed without a restart.
    """

    def __init__(
        self, description: str, endpoint: IStreamServerEndpoint, tls: TLSEndpoint | None = None
    ) -> None:
        self.description = description
        self.endpoint = endpoint
        self.tls = tls

    def url(self, port: IListeningPort) -> str:
        """
        :param port: the port that the endpoint has opened.
        :return: its URL, with the actual port number.
        """
        host = port.getHost()
        scheme = "https" if self.description.split(":", 1)[0] in _SECURE else "http"
        if isinstance(host, UNIXAddress):
            return f"unix:{(host.name or b'').decode(errors='replace')}"
        if isinstance(host, IPv6Address):
            return f"{scheme}://[{host.host}]:{host.port}"
        assert isinstance(host, IPv4Address)
        return f"{scheme}://{host.host}:{host.port}"


class Server(Protocol):
    """
    What serves the requests of a role: a site, or the workers of the first process.

    :ivar draining: whether it is about to end.
    """

    draining: bool

    @property
    def channels(self) -> Collection[object]:
        """The connections of this process."""

    @property
    def held(self) -> Callable[[], int]:
        """Returns the number of further connections, which other protocols keep."""

    @property
    def reactor(self) -> Any:
        """The reactor."""

    @property
    def fast_path(self) -> FastPath | None:
        """Counts responses; ``None`` if there are none here."""

    def drain(self, timeout: float) -> Deferred[None]:
        """See `Site.drain`."""

    def stop_now(self) -> None:
        """See `Site.stop_now`."""


class Shown(Protocol):
    """A site on a listener of its own."""

    listener: Listener

    @property
    def site(self) -> Any:
        """The site."""


class ReadyReport(Protocol):
    """Receives the news of a role that does not log them itself: it has several processes."""

    #: A file that all processes of the role have open for writing.
    shared_fd: int
    #: Of the process, from 1.
    number: int
    #: Whether it is the first worker, which logs what concerns all of them.
    is_first: bool

    def ready(self, missing: str) -> None:
        """
        The role listens on all endpoints.

        :param missing: why ``/ready`` is not 200, before the rest of a line; empty if it is.
        """

    def stopped_listening(self) -> None:
        """The role accepts no more connections."""

    def register(self) -> None:
        """Another registration of the role is needed."""

    def when_registered(self, call: Callable[[], object], /) -> None:
        """
        :param call: called when the role is registered: if it is already, also now; and when it is
            seen to be registered still.
        """


class RoleService(Service):
    """
    The service of one role.

    :param role: its name.
    :param site: serves the requests.
    :param listeners: the endpoints to listen on; none if its peers cannot connect to it.
    :param drain_timeout: seconds that running transfers may take during shutdown.
    :param cannot_start: called if the start fails, after the reason was logged; ends the process.
    :param before: run in order before the role listens.
    :param check: raises `ChatfilesError` if ``/ready`` is not 200; the log then says why.
    :param serve: used in place of *check*: starts to serve, and returns why ``/ready`` is not 200,
        before the rest of a line; empty if it is.
    :param report: receives the news of a worker, which does not log where it listens.
    :param ready: called when the role listens on all endpoints.
    :param stopping: called when shutdown begins.
    :param after: run in order after the last response.
    :param metrics: shows metrics on a listener of its own, from the start to the end.
    :param looks: each looks at files that may have changed.  They are called in a thread, again
        and again, and after SIGHUP.
    :param alive: fires if the parts of the role respond, whether or not what they need is up.
    :param drain_delay: seconds at the beginning of shutdown in which the role still accepts
        connections.  Meanwhile ``/ready`` is 503, and every response is the last one on its
        connection, so that load balancers send no more requests.
    :ivar log_observer: if it is set, ``twistd`` writes its log with it.
    :ivar reload: what the role does after SIGHUP.
    :ivar manager: receives the news of the role, if it is set.
    """

    log = Logger()
    log_observer: ILogObserver | None = None
    manager: ServiceManager | None = None

    def __init__(
        self,
        role: str,
        site: Server,
        listeners: Sequence[Listener],
        *,
        drain_timeout: float,
        cannot_start: Callable[[], object],
        before: Sequence[Step] = (),
        check: Step = lambda: succeed(None),
        serve: Callable[[], Awaitable[str]] | None = None,
        report: ReadyReport | None = None,
        ready: Callable[[], object] = lambda: None,
        stopping: Callable[[], object] = lambda: None,
        after: Sequence[Step] = (),
        looks: Sequence[Callable[[], object]] = (),
        alive: Step = lambda: succeed(None),
        drain_delay: float = 0.0,
        metrics: Shown | None = None,
    ) -> None:
        self.setName(f"chatfiles {role}")
        self._role = role
        self._site = site
        self._listeners = listeners
        self._drain_timeout = drain_timeout
        self._drain_delay = drain_delay
        self._alive = alive
        self._cannot_start = cannot_start
        self._before = before
        self._check = check
        self._serve = serve or self._missing
        self._report = report
        self._ready = ready
        self._stopping = stopping
        self._after = after
        self._metrics = metrics
        self._metrics_port: IListeningPort | None = None
        self._ports: list[IListeningPort] = []
        self._starting: Deferred[None] | None = None
        self.reload = Reload()
        shown = () if metrics is None else (metrics.listener,)
        for tls in filter(None, (listener.tls for listener in (*listeners, *shown))):
            self.reload.add(tls.look_now)
        self._watches = [FileWatch(site.reactor, look) for look in looks]
        for watch in self._watches:
            self.reload.add(watch.look_now)
        self._delay: Deferred[None] | None = None

    def setServiceParent(self, parent: Any) -> None:
        """
        Become part of an application.

        :param parent: the application, which `log_observer` is given to.
        """
        if self.log_observer is not None:
            parent.setComponent(ILogObserver, self.log_observer)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Start the role.  An error is logged, and ends the process with status 1."""
        super().startService()
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._start_failed)

    async def begin(self) -> None:
        """
        Start the role as a part of another program, in place of `startService`.

        :raise Exception: it cannot start.
        """
        super().startService()
        self._starting = Deferred.fromCoroutine(self._start())
        await self._starting

    @property
    def resource(self) -> Any:
        """
        The routes of the role, to mount in a `chatfiles.http.server.site.Site` of another program.
        They can be served from `begin` until `stopService`.
        """
        return getattr(self._site, "resource", None)

    @property
    def connections(self) -> int:
        """The number of connections of this process."""
        return len(self._site.channels) + self._site.held()

    async def _start(self) -> None:
        for watch in self._watches:
            watch.start()
        for step in self._before:
            await step()
        if self._metrics is not None:
            self._metrics_port = await _listen(
                "--metrics-listen", self._metrics.listener, self._metrics.site
            )
            url = self._metrics.listener.url(self._metrics_port)
            self.log.info("metrics of the {role} at {url}/metrics", role=self._role, url=url)
        for listener in self._listeners:
            self._ports.append(await _listen("--listen", listener, self._site))
        missing = await self._serve()
        if self._report is not None:
            self._report.ready(missing)
        else:
            self._log_ready(missing)
            self._tell_manager(missing)
        self._ready()

    def _tell_manager(self, missing: str) -> None:
        if self.manager is not None:
            places = zip(self._listeners, self._ports, strict=True)
            urls = ", ".join(listener.url(port) for listener, port in places)
            self.reload.begun, self.reload.done = self.manager.reloading, self.manager.reloaded
            text = f"ready on {urls}" if urls else "ready"
            self.manager.ready(f"{missing}{text}", self._alive)

    def _log_ready(self, missing: str) -> None:
        if not self._listeners:
            self.log.info(
                "{missing}chatfiles {role} ready, without a listener",
                missing=missing,
                role=self._role,
            )
        for listener, port in zip(self._listeners, self._ports, strict=True):
            # Programs take everything after "ready on" for the URL.
            self.log.info(
                "{missing}chatfiles {role} ready on {url}",
                missing=missing,
                role=self._role,
                url=listener.url(port),
            )

    async def _missing(self) -> str:
        """:return: why ``/ready`` is not 200, before the rest of a line; empty if it is."""
        checked = Deferred.fromCoroutine(_maybe(self._check()))
        checked.addTimeout(READY_TIMEOUT, self._site.reactor)
        try:
            await checked
        except NotInTime:
            return "/ready does not respond yet: "
        except ChatfilesError as error:
            reason = ": ".join(filter(None, (error.text, str(error.detail or ""))))
            return f"/ready is still {error.status} ({reason}): "
        return ""

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
        self._stopping()
        if self.manager is not None:
            self.reload.begun = self.reload.done = lambda: None
            self.manager.stopping()
        if self._drain_delay and self._ports:
            self._delay = deferLater(self._site.reactor, self._drain_delay)
            with suppress(CancelledError):  # `stop_now` was called
                await self._delay
        for port in self._ports:
            await _maybe(port.stopListening())
        if self._report is not None:
            self._report.stopped_listening()
        await self._site.drain(self._drain_timeout)
        for step in self._after:
            await step()
        for watch in self._watches:
            watch.stop()
        if self._site.fast_path is not None:
            count = self._site.fast_path.served
            self.log.info("{count} responses took the fast path", count=count)
        if self._metrics is not None and self._metrics_port is not None:
            await _maybe(self._metrics_port.stopListening())
            await self._metrics.site.drain(0.0)

    def stopService(self) -> Deferred[None]:
        """
        Stop accepting connections, finish the running transfers, then release all resources.

        :return: fires when this is done.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def stop_now(self) -> None:
        """Interrupt the running transfers instead of waiting for them, after `stopService`."""
        self.log.info("chatfiles {role} aborts what is left", role=self._role)
        self._drain_delay = self._drain_timeout = 0.0
        if self._delay is not None:
            self._delay.cancel()
        self._site.stop_now()


async def _listen(option: str, listener: Listener, site: Any) -> IListeningPort:
    """
    :param option: of the listener, for the error.
    :raise ValueError: it cannot listen.
    """
    try:
        port: IListeningPort = await listener.endpoint.listen(site)
    except Exception as error:
        raise ValueError(f"{option}={listener.description}: {error}") from error
    return port


async def _maybe(result: Any) -> None:
    if isinstance(result, Awaitable):
        await result


async def wait_for_steps(
    steps: Mapping[str, Deferred[None]], seconds: float, clock: IReactorTime
) -> Sequence[str]:
    """
    Wait for the steps of a start, for a limited time.

    :param steps: name → Deferred that fires when the step is done.
    :param seconds: how long to wait at most.
    :param clock: for the timer.
    :return: the names of the steps that are not done by then.  They continue; a later failure is
        logged.
    :raise Exception: the error of the first step that fails by then.
    """
    waiting = dict.fromkeys(steps)
    done: Deferred[None] = Deferred()

    def ended(result: Failure | None, name: str) -> Failure | None:
        del waiting[name]
        is_failure = isinstance(result, Failure)
        if done.called:
            return result
        if is_failure or not waiting:
            done.callback(result)
        return None

    for name, step in steps.items():
        step.addBoth(ended, name)
    with suppress(NotInTime):
        await done.addTimeout(seconds, clock)
    return list(waiting)
