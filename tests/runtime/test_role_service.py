"""
The life of a role: prepare, listen, drain and clean up, in this order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.logger import LogLevel, eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, readBody

from chatfiles.errors import Unavailable
from chatfiles.http.server.site import DRAIN_CHECK, Site
from chatfiles.runtime.role_service import READY_TIMEOUT, Listener, RoleService
from tests.support.memory_client import Caller, Echo, Held, get


class Port:
    """A listening port without a socket."""

    def __init__(self, story: list[str], address: Any, closed: Any = None) -> None:
        self._story, self._address, self._closed = story, address, closed

    def getHost(self) -> Any:
        return self._address

    def stopListening(self) -> Deferred[None] | None:
        self._story.append("stop listening")
        closed: Deferred[None] | None = self._closed
        return closed


class Endpoint:
    """Listens without a socket, with the given result."""

    def __init__(self, story: list[str], result: Any = None, closed: Any = None) -> None:
        self._story, self._result, self._closed = story, result, closed

    def listen(self, factory: Any) -> Deferred[Any]:
        self._story.append("listen")
        if self._result is not None:
            return fail(self._result)
        return succeed(Port(self._story, IPv4Address("TCP", "127.0.0.1", 8000), self._closed))


class ServiceCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.story: list[str] = []
        self.clock = Clock()
        self.site = Site(Held(), self.clock, header_timeout=30, idle_timeout=60)
        observer: Any = self._observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: Any) -> None:
        if event["log_namespace"].startswith("chatfiles.runtime.role_service"):
            text = eventAsText(event, includeTimestamp=False, includeSystem=False)
            loud = "!" if event["log_level"] >= LogLevel.error else ""
            self.story.append(loud + text)

    def step(self, name: str, result: Any = None) -> Callable[[], Awaitable[None]]:
        def run() -> Deferred[None]:
            self.story.append(name)
            return result if isinstance(result, Deferred) else succeed(None)

        return run

    def service(self, *endpoints: Endpoint, **more: Any) -> RoleService:
        return RoleService(
            "workspace",
            self.site,
            [Listener("tcp:8000", endpoint) for endpoint in endpoints],  # type: ignore[arg-type]
            drain_timeout=30,
            cannot_start=lambda: self.story.append("cannot start"),
            **{
                "before": [self.step("before 1"), self.step("before 2")],
                "ready": lambda: self.story.append("ready"),
                "after": [self.step("after 1"), self.step("after 2")],
                **more,
            },
        )


READY = "chatfiles workspace ready on http://127.0.0.1:8000"


class StartTests(ServiceCase):
    """The start of a role."""

    def test_order(self) -> None:
        """A role listens after all steps before, and logs where it listens."""
        service = self.service(Endpoint(self.story), Endpoint(self.story))
        service.startService()
        started = ["before 1", "before 2", "listen", "listen", READY, READY, "ready"]
        self.assertEqual((self.story, service.name), (started, "chatfiles workspace"))

    def test_waits(self) -> None:
        """A role does not listen before its registry is open."""
        opened: Deferred[None] = Deferred()
        self.service(Endpoint(self.story), before=[self.step("open", opened)]).startService()
        self.assertEqual(self.story, ["open"])
        opened.callback(None)
        self.assertEqual(self.story, ["open", "listen", READY, "ready"])

    def test_step_fails(self) -> None:
        """If a step fails, the role does not continue, and the reason is logged."""
        before = [self.step("open", fail(OSError("disk on fire"))), self.step("never")]
        self.service(Endpoint(self.story), before=before).startService()
        reason = "!chatfiles workspace cannot start: disk on fire"
        self.assertEqual(self.story, ["open", reason, "cannot start"])

    def test_port_is_taken(self) -> None:
        """If a port is in use, the role cannot start, and the reason is logged."""
        taken = Endpoint(self.story, CannotListenError("127.0.0.1", 8000, OSError("in use")))
        self.service(Endpoint(self.story), taken, before=[]).startService()
        self.assertEqual(self.story[:2], ["listen", "listen"])
        self.assertIn(
            "cannot start: --listen=tcp:8000: Couldn't listen on 127.0.0.1:8000", self.story[2]
        )
        self.assertEqual(self.story[3:], ["cannot start"])


class ReadyLineTests(ServiceCase):
    """The lines that say where a role listens, and whether ``/ready`` is 200 (reference/logs)."""

    def lines(self, check: Callable[[], Awaitable[None]]) -> list[str]:
        """:return: what happens after the role listens on two endpoints."""
        endpoints = (Endpoint(self.story), Endpoint(self.story))
        self.service(*endpoints, before=[], check=check).startService()
        self.assertEqual(self.story[:2], ["listen", "listen"])
        return self.story[2:]

    def test_ready(self) -> None:
        """If nothing is missing, the lines have only the address."""
        self.assertEqual(self.lines(lambda: succeed(None)), [READY, READY, "ready"])

    def test_missing(self) -> None:
        """Otherwise each line says what is missing; the address is still the end of the line."""
        for error, reason in (
            (Unavailable("no inbound secret yet"), "no inbound secret yet"),
            (
                Unavailable("not ready", detail="a column is missing"),
                "not ready: a column is missing",
            ),
        ):
            self.story.clear()
            missing = fail(error)
            line = f"/ready is still 503 ({reason}): {READY}"
            self.assertEqual(self.lines(lambda: missing), [line, line, "ready"])  # noqa: B023

    def test_no_response(self) -> None:
        """A check that takes long delays the lines only for a limited time."""
        cancelled: list[object] = []
        self.assertEqual(self.lines(lambda: Deferred(cancelled.append)), [])
        self.clock.advance(READY_TIMEOUT)
        line = f"/ready does not respond yet: {READY}"
        self.assertEqual(self.story[2:], [line, line, "ready"])
        self.assertEqual(len(cancelled), 1)

    def test_stopped_meanwhile(self) -> None:
        """A role that is stopped during the check does not say that it is ready."""
        service = self.service(Endpoint(self.story), before=[], after=[], check=Deferred)
        service.startService()
        self.successResultOf(service.stopService())
        self.clock.advance(READY_TIMEOUT)
        self.assertEqual(self.story, ["listen", "stop listening"])


class Manager:
    """A service manager that writes down what it is told."""

    def __init__(self, story: list[str]) -> None:
        self._write = story.append

    def ready(self, status: str, _alive: object) -> None:
        self._write(f"READY {status}")

    def reloading(self) -> None:
        self._write("RELOADING")

    def reloaded(self) -> None:
        self._write("RELOADED")

    def stopping(self) -> None:
        self._write("STOPPING")


class ManagerTests(ServiceCase):
    """What the service manager learns, and when."""

    def test_order(self) -> None:
        """It learns of each change after the log has it, and of no reload while the role stops."""
        service = self.service(Endpoint(self.story), before=(), after=())
        service.manager = Manager(self.story)  # type: ignore[assignment]
        self.successResultOf(service.reload.run())
        service.startService()
        self.successResultOf(service.reload.run())
        stopped = service.stopService()
        self.successResultOf(service.reload.run())
        self.successResultOf(stopped)
        ready = "READY ready on http://127.0.0.1:8000"
        story = ["listen", READY, ready, "ready", "RELOADING", "RELOADED", "STOPPING"]
        self.assertEqual(self.story[: len(story)], story)
        self.assertNotIn("RELOADING", self.story[len(story) :])


class LookTests(TestCase):
    """Files that a role looks at."""

    async def test_reload(self) -> None:
        """They are looked at after SIGHUP, while the role runs."""
        looks: list[str] = []
        site = Site(Held(), reactor, header_timeout=30, idle_timeout=60)
        service = RoleService(
            "workspace",
            site,
            [],
            drain_timeout=30,
            cannot_start=lambda: None,
            looks=[lambda: looks.append("first"), lambda: looks.append("second")],
        )
        await service.reload.run()
        self.assertEqual(looks, [])
        service.startService()
        await service.reload.run()
        self.assertEqual(sorted(looks), ["first", "second"])
        await service.stopService()
        await service.reload.run()
        self.assertEqual(len(looks), 2)


class CertificateLookTests(ServiceCase):
    """Certificates that a role looks at."""

    def test_reload(self) -> None:
        """After SIGHUP, those of all listeners are looked at, that of the metrics too."""
        names = ("first", "second", "metrics")
        tls: list[Any] = [SimpleNamespace(look_now=partial(self.story.append, n)) for n in names]
        unused: Any = None
        *listeners, metrics = (Listener("chatfiles-tls:1", unused, each) for each in tls)
        service = RoleService(
            "workspace",
            self.site,
            listeners,
            drain_timeout=30,
            cannot_start=self.fail,
            metrics=cast("Any", SimpleNamespace(listener=metrics)),
        )
        self.successResultOf(service.reload.run())
        self.assertEqual(self.story, list(names))


class StopTests(ServiceCase):
    """The end of a role (reference/limits-and-shutdown, "Shutdown")."""

    def test_order(self) -> None:
        """
        The steps after run when all transfers have ended, as transfers still need what they close.
        """
        service = self.service(Endpoint(self.story), Endpoint(self.story))
        service.startService()
        caller = Caller(site=self.site).send(get())
        self.story.clear()
        stopped = service.stopService()
        self.assertEqual(self.story, ["stop listening", "stop listening"])
        self.assertTrue(self.site.draining)
        caller.advance(29)
        self.assertNoResult(stopped)
        root: Any = self.site.resource
        root.answer()
        caller.settle()
        caller.advance(DRAIN_CHECK)
        caller.advance(DRAIN_CHECK)
        self.successResultOf(stopped)
        self.assertEqual(self.story[2:], ["after 1", "after 2"])
        self.assertEqual((caller.answer().status, caller.wire.aborted), (200, False))

    def test_delay(self) -> None:
        """
        During the drain delay the role still listens, as a load balancer still sends requests.
        """
        service = self.service(Endpoint(self.story), drain_delay=5.0)
        service.startService()
        idle = Caller(site=self.site)
        self.story.clear()
        stopped = service.stopService()
        self.clock.advance(4.9)
        caller = Caller(site=self.site).send(get())
        root: Any = self.site.resource
        root.answer()
        caller.settle()
        self.assertEqual((self.story, idle.lost), ([], False))
        self.assertEqual(caller.answer().fields["connection"], "close")
        self.assertTrue(caller.lost)
        idle.advance(0.1)
        self.assertEqual((self.story, idle.lost), (["stop listening"], True))
        self.clock.advance(DRAIN_CHECK)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_delay_where_nobody_listens(self) -> None:
        """A role that cannot start ends without the drain delay."""
        opened: Deferred[None] = Deferred()
        before = [self.step("open", opened)]
        service = self.service(Endpoint(self.story), before=before, drain_delay=5.0)
        service.startService()
        self.successResultOf(service.stopService())

    def test_port_closes_slowly(self) -> None:
        """The drain begins while the port is still closing."""
        closed: Deferred[None] = Deferred()
        service = self.service(Endpoint(self.story, closed=closed))
        service.startService()
        stopped = service.stopService()
        self.assertTrue(self.site.draining)
        self.assertNoResult(stopped)
        closed.callback(None)
        self.successResultOf(stopped)

    def test_late(self) -> None:
        """A transfer that has not ended at the drain timeout is aborted."""
        service = self.service(Endpoint(self.story))
        service.startService()
        caller = Caller(site=self.site).send(get())
        stopped = service.stopService()
        for _ in range(2):
            caller.advance(30)
        self.successResultOf(stopped)
        self.assertTrue(caller.wire.aborted)
        self.assertEqual(self.story[-2:], ["after 1", "after 2"])

    def test_stop_now(self) -> None:
        """
        `stop_now` aborts transfers at once; clients do not take an interrupted response for
        complete.
        """
        for delay in (0.0, 600.0):
            service = self.service(Endpoint(self.story), drain_delay=delay)
            service.startService()
            caller = Caller(site=self.site).send(get())
            self.story.clear()
            stopped = service.stopService()
            caller.advance(1)
            self.assertFalse(caller.lost)
            service.stop_now()
            for _ in range(2):
                caller.advance(DRAIN_CHECK)
            self.successResultOf(stopped)
            self.assertTrue(caller.wire.aborted)
            self.assertEqual(
                sorted(self.story),
                ["after 1", "after 2", "chatfiles workspace aborts what is left", "stop listening"],
            )

    def test_stop_now_while_the_port_closes(self) -> None:
        """A `stop_now` that comes before the drain takes effect."""
        closed: Deferred[None] = Deferred()
        service = self.service(Endpoint(self.story, closed=closed))
        service.startService()
        caller = Caller(site=self.site).send(get())
        service.stopService()
        service.stop_now()
        closed.callback(None)
        caller.settle()
        self.assertTrue(caller.wire.aborted)

    def test_while_starting(self) -> None:
        """A role that is stopped while it starts does not listen, and logs no failure."""
        opened: Deferred[None] = Deferred()
        service = self.service(Endpoint(self.story), before=[self.step("open", opened)])
        service.startService()
        self.successResultOf(service.stopService())
        opened.callback(None)
        self.assertEqual(self.story, ["open", "after 1", "after 2"])

    def test_never_started(self) -> None:
        """A role that was never started can be stopped."""
        self.successResultOf(self.service(Endpoint(self.story)).stopService())


class UrlTests(SynchronousTestCase):
    """The URL in the log line that says where a role listens."""

    def test_urls(self) -> None:
        """The URL can be used by a reader of the line, for each kind of endpoint."""
        for description, address, url in [
            ("tcp:0", IPv4Address("TCP", "0.0.0.0", 81), "http://0.0.0.0:81"),
            ("tcp:0:interface=\\:\\:1", IPv6Address("TCP", "::1", 81), "http://[::1]:81"),
            ("ssl:443", IPv4Address("TCP", "1.2.3.4", 443), "https://1.2.3.4:443"),
            ("tls:/etc/keys:443", IPv4Address("TCP", "1.2.3.4", 443), "https://1.2.3.4:443"),
            ("unix:/run/x", UNIXAddress(b"/run/x"), "unix:/run/x"),
        ]:
            port: Any = Port([], address)
            self.assertEqual(Listener(description, Endpoint([])).url(port), url)  # type: ignore[arg-type]


class RealTests(TestCase):
    """With a real port."""

    async def test_port_zero(self) -> None:
        """The URL has the port that the kernel chose."""
        site = Site(Echo(), Clock(), header_timeout=30, idle_timeout=60)
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        listener = Listener("tcp:0:interface=127.0.0.1", endpoint)
        urls: list[str] = []

        def url(port: Any) -> str:
            urls.append(Listener.url(listener, port))
            return urls[0]

        self.patch(listener, "url", url)
        ready: Deferred[None] = Deferred()
        service = RoleService(
            "platform",
            site,
            [listener],
            drain_timeout=1,
            cannot_start=lambda: ready.errback(AssertionError()),
            ready=lambda: ready.callback(None),
        )
        service.startService()
        self.addCleanup(service.stopService)
        await ready
        response = await Agent(reactor).request(b"GET", urls[0].encode() + b"/p")
        self.assertIn(b'"/p"', await readBody(response))
