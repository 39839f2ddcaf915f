"""
The page of metrics.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.platform import measurements as platform
from chatfiles.runtime.metrics.cells import Cells
from chatfiles.runtime.metrics.families import Layout
from chatfiles.runtime.metrics.meter import INTERVAL, Meter, process_families
from chatfiles.runtime.metrics.page import Page
from chatfiles.workspace import measurements as workspace

FAMILIES = {"platform": platform.FAMILIES, "workspace": workspace.FAMILIES}
#: Of the contract: the most series of a role.
MOST_SERIES = 1500
#: Series of ``process_*``.
PROCESS_SERIES = 6


def layout(role: str, *listeners: str) -> Layout:
    """:return: the layout of a role."""
    return Layout([*process_families(role, listeners), *FAMILIES[role]])


class PageTests(SynchronousTestCase):
    """Pages of both roles."""

    def setUp(self) -> None:
        self.clock = Clock()

    def page(self, role: str, *listeners: str) -> tuple[Page, Meter]:
        """:return: the page of a role with one process, and its meter."""
        place = layout(role, *listeners)
        cells = Cells(place)
        meter = Meter(role, place, cells, 0, self.clock)
        return Page(place, cells, lambda: (os.getpid(),)), meter

    def samples(self, page: Page) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """:return: all samples of the page."""
        text = page.write([])[0].decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in parse(text)
            for sample in family.samples
        }

    def test_forms(self) -> None:
        """Both forms are valid, and have the same families; ``Accept`` selects one of them."""
        for role in FAMILIES:
            page, _ = self.page(role)
            plain, plain_type = page.write([b"text/html, */*;q=0.1"])
            wanted = b"application/openmetrics-text; version=x; escaping=y"
            other, other_type = page.write([wanted])
            self.assertTrue(plain_type.startswith("text/plain; version=0.0.4"), plain_type)
            self.assertTrue(other_type.startswith("application/openmetrics-text; version=1.0.0"))
            names = {family.name for family in parse_open(other.decode())}
            found = {family.name.removesuffix("_total") for family in parse(plain.decode())}
            self.assertEqual(found, names)

    def test_names(self) -> None:
        """Each name of the contract is there, on the roles that have it."""
        both = {family.name for family in process_families("platform")}
        for role, others in FAMILIES.items():
            page, meter = self.page(role, "chatfiles-tls:1")
            unknown = "chatfiles_certificate_not_after_seconds", (("listener", "chatfiles-tls:1"),)
            self.assertNotIn(unknown, self.samples(page))
            meter.certificate("chatfiles-tls:1", lambda: 2e9)
            meter.update()
            names = {name for name, _ in self.samples(page)}
            for name in both | {family.name for family in others}:
                self.assertTrue(any(each.startswith(name) for each in names), (role, name))
            self.assertIn("process_resident_memory_bytes", names)

    def test_ceiling(self) -> None:
        """The most series that a role can have, with many listeners."""
        for role in FAMILIES:
            place = layout(role, *(f"chatfiles-tls:{port}" for port in range(16)))
            total = sum(family.series for family in place.families) + PROCESS_SERIES
            self.assertLessEqual(total, MOST_SERIES, role)

    def test_series(self) -> None:
        """A family says how many series it has at the start."""
        for role in FAMILIES:
            page, _ = self.page(role)
            families = layout(role).families
            rare = sum(family.most_rare for family in families)
            total = sum(family.series for family in families) + PROCESS_SERIES - rare
            self.assertEqual(len(self.samples(page)), total)

    def test_gauges(self) -> None:
        """Gauges are read once in a second; the lag of the reactor is sampled then."""
        page, meter = self.page("platform", "ssl:8443")
        values = iter((3.0, 4.0, 5.0))
        meter.threads(lambda: next(values))
        meter.certificate("ssl:8443", lambda: 2e9)
        meter.start([])
        self.clock.advance(INTERVAL)
        self.clock.advance(INTERVAL + 0.2)
        samples = self.samples(page)
        self.assertEqual(samples["chatfiles_threads_busy", ()], 5)
        certificate = ("chatfiles_certificate_not_after_seconds", (("listener", "ssl:8443"),))
        self.assertEqual(samples[certificate], 2e9)
        self.assertEqual(samples["chatfiles_reactor_lag_seconds_count", ()], 2)
        self.assertEqual(samples["chatfiles_reactor_lag_seconds_bucket", (("le", "0.1"),)], 1)
        self.assertAlmostEqual(samples["chatfiles_reactor_lag_seconds_sum", ()], 0.2)

    def test_gauge_fails(self) -> None:
        """A gauge that fails is logged, and the others continue to be sampled."""
        page, meter = self.page("platform")
        broken: list[float] = [1.0]
        meter.threads(lambda: broken[0])
        meter.start([])
        broken.clear()
        self.clock.advance(INTERVAL)
        broken.append(7.0)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.samples(page)["chatfiles_threads_busy", ()], 7)
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)

    def test_stop(self) -> None:
        """After the end nothing is sampled."""
        _, meter = self.page("platform")
        meter.start([])
        meter.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_processes(self) -> None:
        """``process_*`` are sums over the processes, but for the start and the limit."""
        place = layout("workspace")
        pids = [os.getpid()]
        page = Page(place, Cells(place), lambda: pids)
        one = self.samples(page)
        pids += [os.getpid(), 2**22 + 1]  # the last one has ended
        two = self.samples(page)
        for name, factor in (("resident_memory_bytes", 2), ("start_time_seconds", 1)):
            key = (f"process_{name}", ())
            self.assertAlmostEqual(two[key] / one[key], factor, delta=0.2)

    def test_ended_processes(self) -> None:
        """The time of processors that ended workers have taken still counts."""
        page, _ = self.page("workspace")
        self.patch(os, "times", lambda: SimpleNamespace(children_user=1e6, children_system=2e6))
        self.assertGreaterEqual(self.samples(page)["process_cpu_seconds_total", ()], 3e6)
