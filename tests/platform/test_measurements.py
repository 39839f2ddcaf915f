"""
The platform's own metrics.
"""

from __future__ import annotations

from uuid import uuid4

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import RegistryUnavailable
from chatfiles.http.server.observers import TransferEnded
from chatfiles.platform.measurements import (
    CHECK_INTERVAL,
    FAMILIES,
    STATEMENTS,
    MeasuredRegistry,
    UpstreamFailures,
    count_lookups,
    measure_upstream,
)
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.upstream.agent import UpstreamAgent
from chatfiles.platform.upstream.dialer import Dialer
from chatfiles.rules.address_policy import AddressPolicy
from chatfiles.runtime.metrics.cells import Cells
from chatfiles.runtime.metrics.families import Layout
from chatfiles.runtime.metrics.meter import Meter, process_families
from chatfiles.testing.memory_registry import MemoryRegistry
from tests.contract.registry_case import begun

ENDED = TransferEnded("id", "w", "download", 502, 0, 0.0, "upstream_cut", "c", via="dial")


class Slow:
    """A registry whose look-up of a workspace takes as long as the test wants."""

    def __init__(self, inner: MemoryRegistry) -> None:
        self._inner = inner
        self.waiting: Deferred[None] = Deferred()

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def fresh_workspace(self, _: object) -> Deferred[None]:
        """:return: fires with nothing, or fails."""
        self.waiting = Deferred()
        return self.waiting

    workspace = fresh_workspace


class MeasurementsTests(SynchronousTestCase):
    """Counts of a platform."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.layout = Layout([*process_families("platform"), *FAMILIES])
        self.cells = Cells(self.layout)
        self.meter = Meter("platform", self.layout, self.cells, 0, self.clock)

    def value(self, name: str, *labels: str) -> float:
        """:return: the sum of the counts of a child."""
        (family,) = (each for each in self.layout.families if each.name == name)
        numbers = self.cells.combined(family, self.layout.children(name)[labels])
        return sum(numbers[:-1]) if family.buckets else numbers[0]

    def test_statements(self) -> None:
        """Every method that runs a statement is measured."""
        others = {"watching", "start", "close", "subscribe"}
        others |= {"fresh_workspace", "fresh_link_keys", "fresh_channel_places"}
        others |= {"enter_node", "leave_node"}
        self.assertEqual(set(STATEMENTS) | others, set(IWorkspaceRegistry.names()))

    def test_registry(self) -> None:
        """A statement counts with its duration; one that fails says that the registry is down."""
        slow = Slow(MemoryRegistry())
        registry = MeasuredRegistry(slow, self.meter, self.clock)
        self.successResultOf(begun(registry.start()))
        self.meter.update()
        self.assertEqual(self.value("chatfiles_registry_up"), 1)
        for method in (registry.workspace, registry.fresh_workspace):
            asking = method(uuid4())
            self.clock.advance(0.2)
            slow.waiting.errback(RegistryUnavailable())
            self.failureResultOf(asking, RegistryUnavailable)
        asking = registry.workspace(uuid4())
        asking.cancel()  # its client has left
        self.failureResultOf(asking, CancelledError)
        self.meter.update()
        self.assertEqual(self.value("chatfiles_registry_seconds", "workspace"), 3)
        self.assertEqual(self.value("chatfiles_registry_up"), 0)
        self.clock.advance(CHECK_INTERVAL)  # it checks by itself
        self.meter.update()
        self.assertEqual(self.value("chatfiles_registry_up"), 1)
        self.assertEqual(self.value("chatfiles_registry_seconds", "check"), 1)
        self.successResultOf(begun(registry.close()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lookups(self) -> None:
        """A look-up counts by where the value was."""
        cached = CachedRegistry(MemoryRegistry(), self.clock)
        count_lookups(self.meter, cached)
        workspace_id = uuid4()
        self.successResultOf(begun(cached.start()))
        self.successResultOf(
            begun(
                cached.create_workspace(
                    workspace_id,
                    name="a",
                    url=None,
                    delivery_mode=None,
                    secret="s",
                    digest=b"d",
                    prefix="p",
                    scopes=frozenset(),
                    token_name=None,
                )
            )
        )
        for _ in range(3):
            self.successResultOf(begun(cached.workspace(workspace_id)))
        self.successResultOf(begun(cached.token(b"d")))
        self.successResultOf(begun(cached.link_keys()))
        self.assertEqual(self.value("chatfiles_registry_lookups_total", "cache"), 2)
        self.assertEqual(self.value("chatfiles_registry_lookups_total", "database"), 3)

    def test_failures(self) -> None:
        """Failures of workspaces count by their reason, once each."""
        failures = UpstreamFailures(self.meter)
        dialer = Dialer(self.clock, AddressPolicy(()), None, connect_timeout=1)  # type: ignore[arg-type]
        agent = UpstreamAgent(dialer)
        measure_upstream(self.meter, agent, agent.idle, agent.idle)
        for outcome in ("upstream_cut", "upstream_stalled", "workspace_answered_badly"):
            failures.transfer_ended(ENDED._replace(outcome=outcome))
        for outcome in ("complete", "workspace_unreachable", "not_found"):
            failures.transfer_ended(ENDED._replace(outcome=outcome))
        failures.transfer_ended(ENDED._replace(via=""))
        agent.failed("dial", "refused")
        for reason in ("cut", "timeout", "answered_badly", "refused"):
            name = "chatfiles_upstream_failures_total"
            self.assertEqual(self.value(name, "dialled", reason), 1, reason)

    def test_connections(self) -> None:
        """Connections to workspaces are idle or busy."""
        dialer = Dialer(self.clock, AddressPolicy(()), None, connect_timeout=1)  # type: ignore[arg-type]
        agent = UpstreamAgent(dialer)
        measure_upstream(self.meter, agent, agent.idle, agent.idle)
        agent.idle.open = 3
        self.meter.update()
        for state, count in (("idle", 0), ("busy", 3)):
            self.assertEqual(self.value("chatfiles_upstream_connections", "dialled", state), count)
