"""
What a process tells its operator: the access log, the metrics and the audit log.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from chatfiles.errors import ChatfilesError
from chatfiles.http.server.access_log import AccessLog
from chatfiles.http.server.observers import TransferObserver
from chatfiles.http.server.site import Site
from chatfiles.runtime.audit.log import AuditLog
from chatfiles.runtime.audit.writer import AuditWriter, open_log
from chatfiles.runtime.certificates import first_expiry, tls_names
from chatfiles.runtime.json_access_log import JSONAccessLog
from chatfiles.runtime.metrics.cells import Cells, reserve
from chatfiles.runtime.metrics.families import Family, Layout
from chatfiles.runtime.metrics.meter import Meter, process_families
from chatfiles.runtime.metrics.server import MetricsServer, page_writer
from chatfiles.runtime.role_service import Listener, ReadyReport
from chatfiles.runtime.settings import SharedSettings
from chatfiles.runtime.tls.endpoint import TLSEndpoint
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
    :param listeners: of the role; their certificates are shown.
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
    ) -> None:
        node = node_name()
        access: TransferObserver = JSONAccessLog(role, node) if settings.json_log else AccessLog()
        self.observers: list[TransferObserver] = [access]
        self.meter: Meter | None = None
        self.server: MetricsServer | None = None
        self._path = settings.audit_log
        self._audit: AuditLog | None = None
        if settings.metrics_listen is not None:
            self._measure(reactor, role, settings, families, report, metrics_listener, listeners)
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
        families: Iterable[Family],
        report: ReadyReport | None,
        listener: Listener | None,
        listeners: Sequence[Listener],
    ) -> None:
        layout = _layout(role, settings, families)
        number = 0 if report is None else report.number - 1
        fd = None if report is None else report.shared_fd
        cells = Cells(layout, settings.workers, fd)
        self.meter = Meter(role, layout, cells, number, reactor)
        self.observers.append(self.meter.transfers)
        renewed = {
            each.description: partial(_not_after, each.tls) for each in listeners if each.tls
        }
        for name, descriptions in tls_names(settings.listen).items():
            if (expiry := first_expiry(descriptions, renewed)) is not None:
                self.meter.certificate(name, expiry)
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
) -> MetricsServer | None:
    """
    :param role: as for `Telemetry`; so are *settings* and *families*.
    :param pool: the workers, which are not started yet.
    :param listener: where the metrics are shown.
    :return: shows the sum of the metrics of all workers.
    """
    if listener is None:
        return None
    layout = _layout(role, settings, families)
    reserve(pool.shared_fd, layout, settings.workers)
    cells = Cells(layout, settings.workers, pool.shared_fd)
    pool.ended = lambda number: cells.forget(number - 1)
    return MetricsServer(pool.reactor, listener, page_writer(layout, cells, pool.pids))


def node_name() -> str:
    """:return: the name of this machine, for the logs."""
    return socket.gethostname()


def _layout(role: str, settings: SharedSettings, families: Iterable[Family]) -> Layout:
    return Layout([*process_families(role, tls_names(settings.listen)), *families])


def _not_after(endpoint: TLSEndpoint) -> float:
    return endpoint.certificates.not_after


def _served() -> None:
    return None
