"""
The platform's own metrics (reference/metrics, "Platform").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from zope.interface import implementer

from chatfiles.errors import RegistryUnavailable
from chatfiles.http.server.observers import RequestRefused, TransferEnded
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.upstream.agent import UpstreamAgent
from chatfiles.platform.upstream.channels import CHANNEL, RELAY
from chatfiles.platform.upstream.connection import DIAL
from chatfiles.runtime.metrics.families import SHORT_SECONDS, Combine, Family, Kind, children
from chatfiles.runtime.metrics.meter import Meter
from chatfiles.streams.outcome import Outcome

__all__ = [
    "DIALLED",
    "FAMILIES",
    "MeasuredRegistry",
    "UpstreamFailures",
    "count_lookups",
    "measure_upstream",
]

#: A connection that the platform has made.
DIALLED: Final = "dialled"
#: How a workspace is reached, for the logs → the kind of the connection.
KINDS: Final = {DIAL: DIALLED, CHANNEL: "channel", RELAY: "relay"}
REASONS: Final = ("refused", "timeout", "answered_badly", "cut")
#: Seconds between two checks of a registry without requests.
CHECK_INTERVAL: Final = 5.0
#: Method of the registry → name of its statement, where they differ.
_ALIASES: Final = {
    "fresh_workspace": "workspace",
    "fresh_link_keys": "link_keys",
    "fresh_channel_places": "channel_places",
    "enter_node": "touch_node",  # these two are rare
    "leave_node": "touch_node",
}
_NOT_STATEMENTS: Final = frozenset({"watching", "start", "close", "subscribe", *_ALIASES})
STATEMENTS: Final = tuple(sorted(set(IWorkspaceRegistry.names()) - _NOT_STATEMENTS))
_SECONDS: Final = "chatfiles_registry_seconds"
_UP: Final = "chatfiles_registry_up"
#: Outcome of a transfer → why its workspace failed.  The agent counts those without a response.
_REASON_OF: Final = {
    "workspace_answered_badly": "answered_badly",
    "workspace_timeout": "timeout",
    Outcome.UPSTREAM_STALLED: "timeout",
    Outcome.UPSTREAM_INTERRUPTED: "cut",
}

FAMILIES: Final[Sequence[Family]] = (
    Family(
        "chatfiles_upstream_connections",
        Kind.GAUGE,
        "Connections to workspaces.",
        ("kind", "state"),
        children(KINDS.values(), ("idle", "busy")),
    ),
    Family(
        "chatfiles_upstream_failures_total",
        Kind.COUNTER,
        "Requests to workspaces that failed.",
        ("kind", "reason"),
        children(KINDS.values(), REASONS),
    ),
    Family(
        _SECONDS,
        Kind.HISTOGRAM,
        "Seconds of a statement in the registry, with the time that it waits for a connection.",
        ("statement",),
        children(STATEMENTS),
        SHORT_SECONDS,
    ),
    Family(
        _UP,
        Kind.GAUGE,
        "Whether the last statement has reached the registry, from all processes.",
        combine=Combine.LEAST,
    ),
    Family(
        "chatfiles_registry_lookups_total",
        Kind.COUNTER,
        "Workspaces, tokens and keys that were looked up, by where they were found.",
        ("source",),
        children(("cache", "database")),
    ),
)


@implementer(IWorkspaceRegistry)
class MeasuredRegistry(proxyForInterface(IWorkspaceRegistry, "_inner")):  # type: ignore[misc]
    """
    A registry that measures each statement of *inner*.

    :param inner: the registry.
    :param meter: counts.
    :param clock: the reactor.
    """

    def __init__(self, inner: Any, meter: Meter, clock: IReactorTime) -> None:
        super().__init__(inner)
        self._clock = clock
        self._is_up = False
        self._check: IDelayedCall | None = None
        for name in (*STATEMENTS, *_ALIASES):
            timer = meter.timer(_SECONDS, _ALIASES.get(name, name))
            setattr(self, name, partial(self._measure, getattr(inner, name), timer))
        meter.gauge(_UP, read=lambda: float(self._is_up))

    async def start(self) -> None:
        """See `IWorkspaceRegistry`."""
        self._check_later()
        await self._inner.start()
        self._is_up = True

    async def close(self) -> None:
        """See `IWorkspaceRegistry`."""
        if self._check is not None:
            self._check.cancel()
            self._check = None
        await self._inner.close()

    def _measure(
        self,
        method: Callable[..., Deferred[Any]],
        timer: Callable[[float], None],
        *args: Any,
        **kwargs: Any,
    ) -> Deferred[Any]:
        started = self._clock.seconds()

        def ended(result: Any) -> Any:
            timer(self._clock.seconds() - started)
            error = result.value if isinstance(result, Failure) else None
            if not isinstance(error, CancelledError):  # its client has left: this tells nothing
                self._is_up = not isinstance(error, RegistryUnavailable)
            return result

        return method(*args, **kwargs).addBoth(ended)

    def _check_later(self) -> None:
        self._check = self._clock.callLater(CHECK_INTERVAL, self._look)

    def _look(self) -> None:
        self._check_later()
        self.check().addErrback(lambda _: None)


def count_lookups(meter: Meter, registry: CachedRegistry) -> None:
    """Count where *registry* finds what is looked up."""
    cache, database = (
        meter.counter("chatfiles_registry_lookups_total", source)
        for source in ("cache", "database")
    )
    registry.looked_up = lambda is_cached: cache() if is_cached else database()


class Counted(Protocol):
    """Has connections of one kind."""

    def counts(self) -> tuple[int, int]:
        """:return: how many are idle, and how many there are in all."""


def measure_upstream(meter: Meter, agent: UpstreamAgent, *channels: Counted) -> None:
    """
    Count connections to workspaces, and the requests of which no response begins.

    :param agent: has those that the platform makes.
    :param channels: have those that workspaces have made, and those through other nodes.
    """
    for kind, source in zip(KINDS.values(), (agent.idle, *channels), strict=True):
        _count_connections(meter, kind, source)
    counters = _failure_counters(meter)
    agent.failed = lambda via, reason: counters[via, reason]()


def _count_connections(meter: Meter, kind: str, source: Counted) -> None:
    def busy() -> int:
        idle, every = source.counts()
        return every - idle

    for state, read in (("idle", lambda: source.counts()[0]), ("busy", busy)):
        meter.gauge("chatfiles_upstream_connections", kind, state, read=read)


class UpstreamFailures:
    """
    Counts responses of workspaces that were not valid, or ended early, as an observer of transfers.

    :param meter: counts.
    """

    def __init__(self, meter: Meter) -> None:
        counters = _failure_counters(meter)
        self._counters = {
            (via, outcome): counters[via, reason]
            for via in KINDS
            for outcome, reason in _REASON_OF.items()
        }

    def transfer_ended(self, event: TransferEnded) -> None:
        """See `TransferObserver`."""
        count = self._counters.get((event.via, event.outcome))
        if count is not None:
            count()

    def request_refused(self, event: RequestRefused) -> None:
        """No workspace was asked."""


def _failure_counters(meter: Meter) -> dict[tuple[str, str], Callable[[], None]]:
    name = "chatfiles_upstream_failures_total"
    return {
        (via, reason): meter.counter(name, kind, reason)
        for via, kind in KINDS.items()
        for reason in REASONS
    }
