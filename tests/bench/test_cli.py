"""
`bench.cli` and what it composes, without any server.
"""

from __future__ import annotations

import json

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from bench import cli
from bench.catalog import SCENARIOS, choose, variants
from bench.results import as_json
from bench.systems.chatfiles import split_options
from tests.bench.results import RESULT


class ChooseTests(SynchronousTestCase):
    """Which scenarios are measured."""

    def keys(self, groups: list[str], only: list[str]) -> list[str]:
        """:return: the keys of the chosen scenarios."""
        return [scenario.key for scenario in choose(SCENARIOS, groups, only)]

    def test_all(self) -> None:
        """Without a choice, every scenario; no two have the same key."""
        keys = self.keys([], [])
        self.assertEqual(keys, [scenario.key for scenario in SCENARIOS])
        self.assertEqual(len(keys), len(set(keys)))

    def test_words(self) -> None:
        """A group, a name, or both."""
        small = [key for key in self.keys([], []) if key.startswith("small/")]
        self.assertEqual(self.keys(["small"], []), small)
        self.assertEqual(self.keys([], ["small"]), small)
        self.assertEqual(self.keys(["small"], ["1k", "tls"]), ["small/1k", "small/tls"])
        self.assertEqual(self.keys(["small/1k"], []), ["small/1k"])

    def test_unknown(self) -> None:
        """A word that names nothing is an error, and not an empty run."""
        self.assertRaises(ValueError, choose, SCENARIOS, [], ["1k", "2k"])
        self.assertRaises(ValueError, choose, SCENARIOS, ["smal"], [])

    def test_exclusive(self) -> None:
        """So is a scenario of another group."""
        self.assertRaises(ValueError, choose, SCENARIOS, ["large"], ["64k"])


class OptionTests(SynchronousTestCase):
    """Options of the roles."""

    def test_split(self) -> None:
        """An option is for both roles, or for the one that it names; values may have spaces."""
        found = split_options("--a=1 platform:--b='x y' workspace:--c=d:e")
        self.assertEqual(
            found, {"platform": ["--a=1", "--b=x y"], "workspace": ["--a=1", "--c=d:e"]}
        )

    def test_colons(self) -> None:
        """A colon in an option does not make it an option of one role."""
        found = split_options("--listen=unix:/x")
        self.assertEqual(found["platform"], ["--listen=unix:/x"])
        self.assertEqual(found["workspace"], ["--listen=unix:/x"])

    def test_variants(self) -> None:
        """Each set of options is measured under its own name."""
        self.assertEqual(list(variants((), None)), ["chatfiles"])
        self.assertEqual(list(variants(("", "--a"), None)), ["chatfiles", "chatfiles --a"])


class CommandTests(SynchronousTestCase):
    """The command line."""

    def test_help(self) -> None:
        """The help has an example that the command accepts."""
        text = CliRunner().invoke(cli.main, ["--help"]).output
        example = "small --only 1k --quick"
        self.assertIn(f"python -m bench {example}", text)
        listed = CliRunner().invoke(cli.main, [*example.split(), "--list"])
        self.assertEqual((listed.exit_code, listed.output.split()[0]), (0, "small/1k"))

    def test_unknown(self) -> None:
        """Wrong names are refused before anything is started."""
        for arguments in (["--only", "2k"], ["--systems", "apache"]):
            found = CliRunner().invoke(cli.main, arguments)
            self.assertEqual(found.exit_code, 2, found.output)
            self.assertIn(arguments[1], found.output)


class ResultTests(SynchronousTestCase):
    """Results as JSON."""

    def test_json(self) -> None:
        """The file has every sample, the medians, and the ratios of each of our variants."""
        found = json.loads(json.dumps(as_json(RESULT)))
        self.assertEqual(found["systems"]["chatfiles"]["value"]["median"], 20.0)
        self.assertEqual(found["systems"]["chatfiles"]["cpu"]["platform"]["low"], 1.0)
        self.assertEqual(len(found["systems"]["nginx"]["samples"]), 2)
        (ratio,) = found["ratios"]
        self.assertEqual((ratio["system"], ratio["other"]), ("chatfiles", "nginx"))
        self.assertEqual([ratio[name] for name in ("median", "low", "high")], [0.375, 0.25, 0.5])
        self.assertIsNone(ratio["cpu"])
        self.assertEqual(found["skipped"], {"aiohttp": "not installed"})
