"""
The dashboard, the alerts and the pages about them name metrics and labels that exist.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import Any

import yaml
from twisted.trial.unittest import SkipTest, SynchronousTestCase

import chatfiles
from chatfiles.platform import measurements as platform
from chatfiles.runtime.metrics.families import Family, Kind
from chatfiles.runtime.metrics.meter import process_families
from chatfiles.workspace import measurements as workspace

DOCS = os.path.join(os.path.dirname(os.path.dirname(chatfiles.__file__)), "docs")
#: Labels that Prometheus adds.
ADDED = {"instance", "job", "le"}
PROCESS = {
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
}
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        *process_families("platform", ["ssl:1"]),
        *process_families("workspace"),
        *platform.FAMILIES,
        *workspace.FAMILIES,
    )
}
PANELS = 12


def series() -> dict[str, set[str]]:
    """:return: the names of all series, with their labels."""
    found: dict[str, set[str]] = {name: set() for name in PROCESS}
    for family in FAMILIES.values():
        ends = ("_bucket", "_sum", "_count") if family.kind is Kind.HISTOGRAM else ("",)
        for end in ends:
            found[family.name + end] = set(family.labels)
    return found


def read(*names: str) -> str:
    """:return: a file below ``docs``."""
    with open(os.path.join(DOCS, *names), encoding="utf-8") as file:
        return file.read()


class MonitoringTests(SynchronousTestCase):
    """``docs/grafana`` and ``docs/prometheus``."""

    def check(self, expression: str) -> None:
        """Check the names, labels and brackets of an expression."""
        known = series()
        found = re.findall(r"\b((?:chatfiles|process)_\w+)(?:\{([^}]*)\})?", expression)
        self.assertTrue(found, expression)
        for name, matchers in found:
            self.assertIn(name, known, expression)
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
                self.assertIn(label, known[name] | ADDED, expression)
        labels: set[str] = set().union(*(known[name] for name, _ in found)) | ADDED
        for group in re.findall(r"\bby \(([^)]*)\)", expression):
            self.assertLessEqual(set(re.split(r", *", group)), labels, expression)
        for pair in ("()", "{}", "[]"):
            self.assertEqual(expression.count(pair[0]), expression.count(pair[1]), expression)

    def test_rules(self) -> None:
        """Each alert is well formed, and the page for operators explains it."""
        (group,) = yaml.safe_load(read("prometheus", "rules.yml"))["groups"]
        howto = read("howto", "operate.rst")
        for rule in group["rules"]:
            self.check(rule["expr"])
            self.assertLessEqual({"alert", "expr", "labels", "annotations"}, set(rule))
            self.assertIn(f"\n{rule['alert']}\n    ", howto)
        explained = re.findall(r"^(Chatfiles\w+)$", howto, re.MULTILINE)
        self.assertEqual(explained, [rule["alert"] for rule in group["rules"]])

    def test_promtool(self) -> None:
        """Prometheus itself loads the rules, and each alert of ``alerts.yml`` fires in its time."""
        promtool = shutil.which("promtool")
        if promtool is None:
            raise SkipTest("promtool is not installed; Debian's package prometheus has it")
        rules = os.path.join(DOCS, "prometheus", "rules.yml")
        tests = os.path.join(os.path.dirname(__file__), "alerts.yml")
        for arguments in (["check", "rules", rules], ["test", "rules", tests]):
            command = [promtool, *arguments]
            ended = subprocess.run(command, check=False, capture_output=True, text=True)
            self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)

    def test_outcomes(self) -> None:
        """The outcomes and codes in the alerts exist."""
        (group,) = yaml.safe_load(read("prometheus", "rules.yml"))["groups"]
        texts = " ".join(rule["expr"] for rule in group["rules"])
        known = {
            labels[2]
            for role in ("platform", "workspace")
            for ended in process_families(role)
            if ended.name == "chatfiles_transfers_total"
            for labels in (*ended.children, *ended.rare)
        }
        for given in re.findall(r'(?:outcome|code)=~?"([^"]*)"', texts):
            self.assertLessEqual(set(given.split("|")), known)

    def test_dashboard(self) -> None:
        """The dashboard has its panels, and every family is on one of them."""
        dashboard: dict[str, Any] = json.loads(read("grafana", "chatfiles.json"))
        panels = dashboard["panels"]
        self.assertEqual(len(panels), PANELS)
        self.assertEqual(len({panel["id"] for panel in panels}), PANELS)
        expressions = [target["expr"] for panel in panels for target in panel["targets"]]
        for expression in expressions:
            self.check(expression)
        shown = " ".join(expressions)
        missing = {name for name in FAMILIES if name not in shown}
        self.assertEqual(missing, {"chatfiles_build_info"})
        for variable in dashboard["templating"]["list"][1:]:
            self.check(re.sub(r"label_values\((\w+), (\w+)\)", r'\1{\2=""}', variable["query"]))

    def test_reference(self) -> None:
        """The reference lists all families, with their types and labels, and no others."""
        text = read("reference", "metrics.rst")
        rows = re.findall(
            r"^   \* - ``(chatfiles_\w+)``\n     - (\w+)\n     - (.*(?:\n       .*)*)",
            text,
            re.MULTILINE,
        )
        self.assertEqual({name for name, *_ in rows}, set(FAMILIES))
        for name, kind, meaning in rows:
            self.assertEqual(kind, FAMILIES[name].kind, name)
            for label in FAMILIES[name].labels:
                self.assertIn(f"``{label}``", meaning, name)
