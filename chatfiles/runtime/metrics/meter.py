"""
What one process counts and measures.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

import twisted
from chatfiles import __version__
from chatfiles.runtime.certificate_expiry import RENEWED
from chatfiles.runtime.metrics.cells import Cells, observe
from chatfiles.runtime.metrics.families import SHORT_SECONDS, Combine, Family, Kind, Layout
from chatfiles.runtime.metrics.transfers import TransferMetrics, transfer_families

__all__ = ["Meter", "process_families"]

#: Seconds between two samples of the reactor's lag, and of gauges.
INTERVAL: Final = 1.0
_LAG: Final = "chatfiles_reactor_lag_seconds"
_BUILD: Final = "chatfiles_build_info"
_CERTIFICATE: Final = "chatfiles_certificate_not_after_seconds"
_REFUSED: Final = "chatfiles_certificate_refused"
_THREADS: Final = "chatfiles_threads_busy"

_log = Logger()


def process_families(role: str, tls_listeners: Iterable[str] = ()) -> Sequence[Family]:
    """
    :param role: ``platform`` or ``workspace``.
    :param tls_listeners: the names of the listeners that have a certificate.
    :return: the families of every process of this role.
    """
    names = [(name,) for name in tls_listeners]
    renewed = [(name,) for (name,) in names if name.startswith(RENEWED)]
    build = (__version__, platform.python_version(), twisted.__version__)
    return (
        *transfer_families(role),
        Family(_THREADS, Kind.GAUGE, "Threads that are in a call."),
        Family(
            _LAG,
            Kind.HISTOGRAM,
            "Seconds by which a timer of one second was late.",
            buckets=SHORT_SECONDS,
        ),
        Family(
            _CERTIFICATE,
            Kind.GAUGE,
            "Unix time at which the certificate of a listener expires.",
            ("listener",),
            (),
            combine=Combine.LEAST,
            rare=names,
            most_rare=len(names),
        ),
        Family(
            _REFUSED,
            Kind.GAUGE,
            "Processes that cannot use the certificate files of a listener, but use older ones.",
            ("listener",),
            renewed,
        ),
        Family(
            _BUILD,
            Kind.GAUGE,
            "The versions of this program, Python and Twisted; always 1.",
            ("version", "python", "twisted"),
            [build],
            combine=Combine.LEAST,
        ),
    )


class Meter:
    """
    Counts what one process does.

    :param role: ``platform`` or ``workspace``.
    :param layout: has the `process_families` and those of the role.
    :param cells: of all processes of the role.
    :param process: the number of this one, from 0.
    :param clock: the reactor.
    :ivar transfers: an observer of transfers.
    """

    def __init__(
        self, role: str, layout: Layout, cells: Cells, process: int, clock: IReactorTime
    ) -> None:
        self._layout = layout
        self._clock = clock
        self._numbers = cells.begin(process)
        self.transfers = TransferMetrics(role, layout, self._numbers, cells.is_used)
        self._buckets = {family.name: family.buckets for family in layout.families}
        self._gauges: list[tuple[int, Callable[[], float]]] = []
        self._lag = self.timer(_LAG)
        self._connections: Collection[Any] = ()
        self._next: IDelayedCall | None = None
        self._due = 0.0
        for at in layout.children(_BUILD).values():
            self._numbers[at] = 1

    def counter(self, name: str, *labels: str) -> Callable[[], None]:
        """
        :param name: of a family of counters.
        :param labels: of one of its children.
        :return: counts one.
        """
        numbers, at = self._numbers, self._layout.children(name)[labels]

        def count() -> None:
            numbers[at] += 1

        return count

    def timer(self, name: str, *labels: str) -> Callable[[float], None]:
        """
        :param name: of a family of histograms.
        :param labels: of one of its children.
        :return: takes seconds, and counts them.
        """
        numbers, at = self._numbers, self._layout.children(name)[labels]
        buckets = self._buckets[name]
        return lambda seconds: observe(numbers, at, buckets, seconds)

    def gauge(self, name: str, *labels: str, read: Callable[[], float]) -> None:
        """
        :param name: of a family of gauges.
        :param labels: of one of its children.
        :param read: returns its value; called once in a second.
        """
        self._gauges.append((self._layout.children(name)[labels], read))

    def threads(self, read: Callable[[], float]) -> None:
        """:param read: returns the number of threads that are in a call."""
        self.gauge(_THREADS, read=read)

    def certificate(self, listener: str, read: Callable[[], float]) -> None:
        """
        :param listener: one of *tls_listeners*.
        :param read: returns when its certificate expires, in seconds since the epoch.
        """
        self.gauge(_CERTIFICATE, listener, read=read)

    def refused_certificate(self, listener: str, read: Callable[[], float]) -> None:
        """
        :param listener: one of *tls_listeners* whose certificate is renewed.
        :param read: returns 1 if its files cannot be used, else 0.
        """
        self.gauge(_REFUSED, listener, read=read)

    def start(self, connections: Collection[Any]) -> None:
        """
        Begin to sample.

        :param connections: of the site; its content changes.
        """
        self._connections = connections
        self.update()
        self._wait()

    def stop(self) -> None:
        """Sample no more; idempotent."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def update(self) -> None:
        """Read all gauges, and count what running transfers have moved."""
        self.transfers.update(self._connections)
        for at, read in self._gauges:
            self._numbers[at] = read()

    def _wait(self) -> None:
        self._due = self._clock.seconds() + INTERVAL
        self._next = self._clock.callLater(INTERVAL, self._sample)

    def _sample(self) -> None:
        self._lag(max(0.0, self._clock.seconds() - self._due))
        self._wait()
        try:
            self.update()
        except Exception:
            _log.failure("a metric cannot be read")
