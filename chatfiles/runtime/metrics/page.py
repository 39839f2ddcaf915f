"""
The page of metrics, in the text format of Prometheus or in OpenMetrics.  Only this module uses
`prometheus_client`, which is an extra.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from chatfiles.rules.accept import wants_openmetrics
from chatfiles.runtime.metrics.cells import Cells
from chatfiles.runtime.metrics.families import Family, Kind, Labels, Layout

__all__ = ["Page"]

_OPENMETRICS = "application/openmetrics-text"
#: Of the metrics of processes, those that are the first process's, not the sum of all.
_OF_FIRST = frozenset({"process_start_time_seconds", "process_max_fds"})


class Page:
    """
    Writes the page.

    :param layout: where the numbers are.
    :param cells: the numbers of all processes.
    :param pids: returns the ids of the processes of the role; the first is this one.
    """

    def __init__(self, layout: Layout, cells: Cells, pids: Callable[[], Sequence[int]]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Counted(layout, cells))
        self._registry.register(_Processes(pids))

    def write(self, accept: Sequence[bytes]) -> tuple[bytes, str]:
        """
        :param accept: the values of all ``Accept`` headers of the request.
        :return: the page, and its media type.
        """
        # Only these two forms: the rest of the header is a client's.
        wanted = _OPENMETRICS if wants_openmetrics(accept) else ""
        encode, media_type = choose_encoder(wanted)
        return encode(self._registry), media_type


class _Counted(Collector):
    def __init__(self, layout: Layout, cells: Cells) -> None:
        self._layout = layout
        self._cells = cells

    def collect(self) -> Iterator[Metric]:
        return map(self._metric, self._layout.families)

    def _metric(self, family: Family) -> Metric:
        metric: Metric = _empty(family)
        places = self._layout.children(family.name)
        for labels in family.children:
            self._add(metric, family, labels, places[labels])
        for labels in family.rare:
            if self._cells.is_used(places[labels]):
                self._add(metric, family, labels, places[labels])
        return metric

    def _add(self, metric: Any, family: Family, labels: Labels, at: int) -> None:
        values = self._cells.combined(family, at)
        if family.kind is not Kind.HISTOGRAM:
            metric.add_metric(labels, values[0])
            return
        bounds = [*map(str, family.buckets), "+Inf"]
        counts = list(zip(bounds, accumulate(values[:-1]), strict=True))
        metric.add_metric(labels, buckets=counts, sum_value=values[-1])


def _empty(family: Family) -> Any:
    if family.kind is Kind.COUNTER:
        return CounterMetricFamily(family.name, family.help, labels=family.labels)
    if family.kind is Kind.GAUGE:
        return GaugeMetricFamily(family.name, family.help, labels=family.labels)
    return HistogramMetricFamily(family.name, family.help, labels=family.labels)


class _Processes(Collector):
    """The sum of ``process_*`` over the processes of the role."""

    def __init__(self, pids: Callable[[], Sequence[int]]) -> None:
        self._pids = pids

    def collect(self) -> Iterable[Metric]:
        first, *others = [
            {metric.name: metric for metric in _of_process(pid)} for pid in self._pids()
        ]
        for other in others:
            for name, metric in other.items():
                if name not in _OF_FIRST and name in first:
                    _add(first[name], metric.samples[0].value)
        if "process_cpu_seconds" in first:  # of workers that have ended
            times = os.times()
            _add(first["process_cpu_seconds"], times.children_user + times.children_system)
        return first.values()


def _of_process(pid: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()


def _add(metric: Metric, value: float) -> None:
    sample = metric.samples[0]
    metric.samples[0] = sample._replace(value=sample.value + value)
