"""
What a process tells its operator: the access log, the metrics and the audit log.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any

from chatfiles.errors import ChatfilesError
from chatfiles.http.server.access_log import AccessLog
from chatfiles.http.server.observers import TransferObserver
from chatfiles.http.server.site import Site
from chatfiles.runtime.audit.log import AuditLog
from chatfiles.runtime.audit.writer import AuditWriter, open_log
from chatfiles.runtime.certificate_expiry import first_expiry, tls_names
from chatfiles.runtime.json_access_log import JSONAccessLog
from chatfiles.runtime.metrics.cells import Cells, reserve
from chatfiles.runtime.metrics.families import Family, Layout
from chatfiles.runtime.metrics.meter import Meter, process_families
from chatfiles.runtime.metrics.server import MetricsServer, page_writer
from chatfiles.runtime.role_service import Listener, ReadyReport
from chatfiles.runtime.settings import SharedSettings
from chatfiles.runtime.workers.pool import WorkerPool

__all__ = ["Telemetry", "check_audit_log", "metrics_of_workers", "node_name"]


class Telemetry:
    """
    The observers of one process, and what they need.

    :param reactor: of this process.
    :param role: ``platform`` or ``workspace``.
    :param settings: the operator's options.
    :param families: the metrics of the role, besides those of every process.
    :param report: receives the news of a worker; ``None`` if there is one process.
    :param metrics_listener: where the metrics are shown; ``None`` if they are not, or the first
        process shows them.
    :param listeners: of ``--listen``; their certificates are shown.
    :param further: other listeners whose certificates are shown, by the values of their options.
    :ivar meter: counts what the process does; ``None`` if metrics are not shown.
    :ivar server: shows the metrics; ``None`` if this process does not.
    """

    def __init__(
        self,
        reactor: Any,
        role: str,
        settings: SharedSettings,
        families: Iterable[Family],
        report: ReadyReport | None,
        metrics_listener: Listener | None,
        listeners: Sequence[Listener] = (),
        further: Mapping[str, Listener] = MappingProxyType({}),
    ) -> None:
        node = node_name()
        access: TransferObserver = JSONAccessLog(role, node) if settings.json_log else AccessLog()
        self.observers: list[TransferObserver] = [access]
        self.meter: Meter | None = None
        self.server: MetricsServer | None = None
        self._path = settings.audit_log
        self._audit: AuditLog | None = None
        if settings.metrics_listen is not None:
            layout = _layout(role, settings, families, further)
            shown = {each.description: each for each in listeners} | dict(further)
            self._measure(reactor, role, settings, layout, report, metrics_listener, shown)
        if self._path is not None:
            self._writer = AuditWriter(self._path, reactor)
            self._audit = AuditLog(
                role, node, self._writer, reactor, required=settings.audit_required
            )
            self.observers.append(self._audit)

    def _measure(
        self,
        reactor: Any,
        role: str,
        settings: SharedSettings,
        layout: Layout,
        report: ReadyReport | None,
        listener: Listener | None,
        shown: dict[str, Listener],
    ) -> None:
        number = 0 if report is None else report.number - 1
        fd = None if report is None else report.shared_fd
        cells = Cells(layout, settings.workers, fd)
        self.meter = Meter(role, layout, cells, number, reactor)
        self.observers.append(self.meter.transfers)
        if listener is not None:
            shown[listener.description] = listener
        for name, descriptions in tls_names(_endpoints(settings, shown)).items():
            _show_certificates(self.meter, name, descriptions, shown)
        if listener is not None and report is None:
            write = page_writer(layout, cells)
            self.server = MetricsServer(reactor, listener, write, self.meter.update)

    @property
    def refusal(self) -> Callable[[], ChatfilesError | None]:
        """See `Site`."""
        return _served if self._audit is None else self._audit.refusal

    def reload(self) -> None:
        """Open the audit log again, after SIGHUP."""
        if self._audit is not None:
            self._audit.reopen()

    def start(self, site: Site) -> None:
        """
        Begin to count, and open the audit log.

        :param site: whose transfers are observed.
        :raise ValueError: the audit log cannot be opened.
        """
        if self._audit is not None:
            with _naming(self._path):
                self._writer.open()
        if self.meter is not None:
            self.meter.start(site.channels)

    async def stop(self) -> None:
        """Write what is left."""
        if self.meter is not None:
            self.meter.stop()
        if self._audit is not None:
            await self._audit.close()


async def check_audit_log(path: str | None) -> None:
    """
    A step of the first process of several, before it listens.

    :param path: of the audit log; ``None`` if there is none.
    :raise ValueError: the audit log cannot be opened.
    """
    if path is not None:
        with _naming(path):
            os.close(open_log(path))


@contextmanager
def _naming(path: str | None) -> Iterator[None]:
    """:raise ValueError: the audit log could not be opened in the context."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"--audit-log={path}: {error.strerror}") from None


def metrics_of_workers(
    role: str,
    settings: SharedSettings,
    families: Iterable[Family],
    pool: WorkerPool,
    listener: Listener | None,
    further: Iterable[str] = (),
) -> MetricsServer | None:
    """
    :param role: as for `Telemetry`; so are *settings* and *families*.
    :param pool: the workers, which are not started yet.
    :param listener: where the metrics are shown.
    :param further: the keys of what the workers give to `Telemetry`.
    :return: shows the sum of the metrics of all workers.
    """
    if listener is None:
        return None
    layout = _layout(role, settings, families, further)
    reserve(pool.shared_fd, layout, settings.workers)
    cells = Cells(layout, settings.workers, pool.shared_fd)
    pool.ended = lambda number: cells.forget(number - 1)
    return MetricsServer(pool.reactor, listener, page_writer(layout, cells, pool.pids))


def node_name() -> str:
    """:return: the name of this machine, for the logs."""
    return socket.gethostname()


def _layout(
    role: str, settings: SharedSettings, families: Iterable[Family], further: Iterable[str]
) -> Layout:
    names = tls_names(_endpoints(settings, further))
    return Layout([*process_families(role, names), *families])


def _show_certificates(
    meter: Meter, name: str, descriptions: Iterable[str], listeners: Mapping[str, Listener]
) -> None:
    """
    :param name: of some listeners in the metrics.
    :param descriptions: their endpoint strings, which may be keys of *listeners*.
    """
    found = [(each, listeners[each].tls) for each in descriptions if each in listeners]
    renewed = {each: tls.certificates for each, tls in found if tls is not None}
    ends = {each: partial(getattr, of, "not_after") for each, of in renewed.items()}
    if (expiry := first_expiry(descriptions, ends)) is not None:
        meter.certificate(name, expiry)
    if renewed:
        meter.refused_certificate(name, lambda: any(of.is_refused for of in renewed.values()))


def _endpoints(settings: SharedSettings, further: Iterable[str]) -> Iterable[str]:
    """:return: the endpoint strings of all listeners, each once."""
    return dict.fromkeys([*settings.listen, settings.metrics_listen or "", *further])


def _served() -> None:
    return None
