"""
All observers of transfers, by the same suite.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import eventAsText

from chatfiles.http.server import access_log
from chatfiles.http.server.access_log import AccessLog
from chatfiles.http.server.observers import TransferObserver
from chatfiles.platform.measurements import FAMILIES, UpstreamFailures
from chatfiles.runtime.audit.log import AuditLog
from chatfiles.runtime.json_access_log import JSONAccessLog
from chatfiles.runtime.metrics.cells import Cells
from chatfiles.runtime.metrics.families import Layout
from chatfiles.runtime.metrics.meter import Meter, process_families
from tests.contract.transfer_observers import ObserverContract


def meter() -> Meter:
    """:return: the metrics of a platform."""
    layout = Layout([*process_families("platform"), *FAMILIES])
    return Meter("platform", layout, Cells(layout), 0, Clock())


class Lines:
    """A log whose lines must be JSON."""

    failed = False

    def write(self, line: str) -> None:
        """Check a line of the audit log."""
        json.loads(line)

    def event(self, event: dict[str, Any]) -> None:
        """Check a line of the log."""
        self.write(event["line"])


class AccessLogTests(ObserverContract):
    """The access log."""

    def make_observer(self) -> TransferObserver:
        self.patch(access_log._log, "observer", eventAsText)
        return AccessLog()


class JSONAccessLogTests(ObserverContract):
    """The access log as JSON."""

    def make_observer(self) -> TransferObserver:
        return JSONAccessLog("platform", "n", Lines().event)


class MetricsTests(ObserverContract):
    """The metrics."""

    def make_observer(self) -> TransferObserver:
        return meter().transfers


class UpstreamFailuresTests(ObserverContract):
    """The failures of workspaces."""

    def make_observer(self) -> TransferObserver:
        return UpstreamFailures(meter())


class AuditLogTests(ObserverContract):
    """The audit log."""

    def make_observer(self) -> TransferObserver:
        return AuditLog("platform", "n", Lines(), Clock())  # type: ignore[arg-type]


del ObserverContract  # it is no test of its own
