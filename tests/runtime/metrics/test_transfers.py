"""
The metrics of transfers.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.http.server.observers import Actor, RequestRefused, TransferEnded
from chatfiles.rules.error_codes import ERROR_CODES
from chatfiles.rules.operations import TRANSFERS
from chatfiles.runtime.metrics.cells import Cells
from chatfiles.runtime.metrics.families import Layout
from chatfiles.runtime.metrics.transfers import MOST_REFUSED, TransferMetrics, transfer_families
from chatfiles.streams.outcome import Outcome

ENDED = TransferEnded(
    "id", "w", "download", 200, 5, 0.02, Outcome.COMPLETE, "c", Actor("token"), "", 3, 5, 0.01
)


class Running:
    """A request that is served."""

    def __init__(self, operation: str, came: int, sent: int) -> None:
        self.operation = operation
        self.seen = came
        self.bytes_out = sent
        self.counted = (0, 0)
        self.has_ended = False

    @property
    def body(self) -> Running:
        """The body of the request."""
        return self

    @property
    def request(self) -> Running:
        """The request of the connection."""
        return self


class TransferMetricsTests(SynchronousTestCase):
    """What is counted of each transfer."""

    def setUp(self) -> None:
        self.use("platform")

    def use(self, role: str) -> None:
        """Count for this role."""
        self.role = role
        self.layout = Layout(transfer_families(role))
        self.cells = Cells(self.layout)
        self.metrics = TransferMetrics(role, self.layout, self.cells.begin(0), self.cells.is_used)

    def value(self, name: str, *labels: str) -> list[float]:
        """:return: the numbers of a child."""
        (family,) = (each for each in self.layout.families if each.name == name)
        at = self.layout.children(name)[(self.role, *labels) if family.labels else ()]
        return list(self.cells.combined(family, at))

    def ended(self, *labels: str) -> float:
        """:return: the number of transfers that have ended."""
        return self.value("chatfiles_transfers_total", *labels)[0]

    def test_ended(self) -> None:
        """A transfer counts once, with its bytes, its duration, and the time of its first byte."""
        self.metrics.transfer_ended(ENDED)
        self.assertEqual(self.ended("download", "complete", "token"), 1)
        self.assertEqual(self.value("chatfiles_transfer_bytes_total", "download", "in"), [3])
        self.assertEqual(self.value("chatfiles_transfer_bytes_total", "download", "out"), [5])
        for name, seconds in (("transfer", 0.02), ("first_byte", 0.01)):
            numbers = self.value(f"chatfiles_{name}_seconds", "download")
            self.assertEqual((numbers[2], sum(numbers[:-1]), numbers[-1]), (1, 1, seconds))

    def test_unexpected(self) -> None:
        """A combination that no transfer should have counts, too."""
        for changes in (
            {"operation": "list", "actor": Actor("link")},
            {"operation": "list", "outcome": Outcome.FILE_CHANGED},
        ):
            self.metrics.transfer_ended(ENDED._replace(**cast("Any", changes)))
        for credential in ("link", "token"):
            self.assertEqual(self.ended("list", "other", credential), 1)

    def test_names(self) -> None:
        """Both roles use the same names; what is no transfer is not counted."""
        self.use("workspace")
        for operation in ("read", "ingest", "register", ""):
            self.metrics.transfer_ended(ENDED._replace(operation=operation, actor=None))
        for name, count in (("download", 1), ("upload", 1), ("list", 0)):
            self.assertEqual(self.ended(name, "complete", ""), count)

    def test_no_response(self) -> None:
        """Without a response there is no first byte."""
        self.metrics.transfer_ended(ENDED._replace(first_byte=None))
        self.assertEqual(sum(self.value("chatfiles_first_byte_seconds", "download")), 0)

    def test_refusals(self) -> None:
        """Each error counts, also without an operation, or if the request was not well formed."""
        self.metrics.transfer_ended(ENDED._replace(outcome="invalid_path"))
        self.metrics.transfer_ended(ENDED._replace(outcome="no_route", operation=""))
        self.metrics.request_refused(RequestRefused("id", "w", 400, "malformed_request", "c"))
        self.metrics.transfer_ended(ENDED._replace(outcome=Outcome.CLIENT_LEFT))
        for code in ("invalid_path", "no_route", "malformed_request"):
            self.assertEqual(self.value("chatfiles_refusals_total", code), [1], code)
        total = sum(self.value("chatfiles_refusals_total", code)[0] for code in ERROR_CODES)
        self.assertEqual(total, 3)
        self.assertEqual(self.ended("download", "invalid_path", "token"), 1)

    def test_unknown_code(self) -> None:
        """A code that a workspace has invented makes no series."""
        for code in ("evil_a", "evil_b", "/workspace/path"):
            self.metrics.transfer_ended(ENDED._replace(outcome=code))
        self.assertEqual(self.value("chatfiles_refusals_total", "other"), [3])
        self.assertEqual(self.ended("download", "other", "token"), 3)

    def test_ceiling(self) -> None:
        """However many errors there are, the number of series stays within the limit."""
        kinds = [Actor("token"), Actor("admin"), Actor("link"), None]
        count = 0
        for _ in range(2):
            for code in ERROR_CODES:
                for operation in TRANSFERS:
                    for actor in kinds:
                        event = ENDED._replace(outcome=code, operation=operation, actor=actor)
                        self.metrics.transfer_ended(event)
                        count += 1
        (family, *_) = self.layout.families
        places = self.layout.children(family.name)
        used = [labels for labels in family.rare if self.cells.is_used(places[labels])]
        self.assertLessEqual(len(used), MOST_REFUSED)
        self.assertGreater(len(used), MOST_REFUSED / 2)
        total = sum(self.cells.combined(family, at)[0] for at in places.values())
        self.assertEqual(total, count)

    def test_running(self) -> None:
        """Bytes count as they move, once; the end adds only what came since."""
        running = Running("download", 0, 100)
        connections: list[Any] = [running, Running("archive", 2, 0), Running("", 9, 9)]
        self.metrics.update(connections)
        self.assertEqual(self.value("chatfiles_transfers_in_progress", "download"), [1])
        self.assertEqual(self.value("chatfiles_archives_in_progress"), [1])
        running.bytes_out, running.body.seen = 150, 20
        for _ in range(2):
            self.metrics.update(connections)
        self.assertEqual(self.value("chatfiles_transfer_bytes_total", "download", "out"), [150])
        self.assertEqual(self.value("chatfiles_transfer_bytes_total", "download", "in"), [20])
        end = ENDED._replace(bytes_in=21, bytes_out=170, counted=running.counted)
        self.metrics.transfer_ended(end)
        self.assertEqual(self.value("chatfiles_transfer_bytes_total", "download", "out"), [170])
        self.assertEqual(self.value("chatfiles_transfer_bytes_total", "download", "in"), [21])
        running.has_ended = True
        self.metrics.update(connections)
        self.assertEqual(self.value("chatfiles_transfers_in_progress", "download"), [0])
        self.assertEqual(self.value("chatfiles_transfer_bytes_total", "download", "out"), [170])
