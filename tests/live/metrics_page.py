"""
The page with the metrics of a role.
"""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families as parse

from tests.live.rawhttp import fetch
from tests.live.role import Role

__all__ = ["METRICS", "metric", "page_of"]

#: The option that makes a role serve it.
METRICS = "--metrics-listen=tcp:0:interface=127.0.0.1"


def page_of(role: Role) -> str:
    """:return: the metrics of a role."""
    assert role.url, "else nothing can connect to it"
    url = role.logged(r"metrics of the \w+ at (http://[\d.:]+)/metrics")[1]
    answer = fetch(url, "/metrics")
    if answer.status != 200:
        raise AssertionError(answer)
    return answer.body.decode()


def metric(role: Role, name: str, /, **labels: str) -> float:
    """:return: the sum of all samples with these labels."""
    return sum(
        sample.value
        for family in parse(page_of(role))
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
