"""Every harness, for a moment, or longer with ``CHATFILES_SOAK=1``."""

from __future__ import annotations

import importlib
import os
import pkgutil

from hypothesis import HealthCheck, settings
from twisted.trial.unittest import SynchronousTestCase

from tests import fuzz
from tests.fuzz.harnesses import HARNESSES

EXAMPLES = 20_000 if os.environ.get("CHATFILES_SOAK") == "1" else 150


class HarnessTests(SynchronousTestCase):
    """The code agrees with its oracles."""

    def run_harness(self, name: str) -> None:
        """Run the harness *name* with some examples."""
        check = importlib.import_module(f"tests.fuzz.{name}").check
        settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))(check)()

    def test_answers(self) -> None:
        """Headers of workspaces' responses, in any division."""
        self.run_harness("answers")

    def test_bodies(self) -> None:
        """Whole responses of workspaces: what is taken for complete is complete."""
        self.run_harness("bodies")

    def test_conditions(self) -> None:
        """``Range`` and the conditional headers."""
        self.run_harness("conditions")

    def test_dispositions(self) -> None:
        """File names in ``Content-Disposition``, and what workspaces write in it."""
        self.run_harness("dispositions")

    def test_queries(self) -> None:
        """Query strings and the paths in them."""
        self.run_harness("queries")

    def test_requests(self) -> None:
        """The framing of requests, in any division."""
        self.run_harness("requests")

    def test_urls(self) -> None:
        """Workspace URLs and addresses."""
        self.run_harness("urls")

    def test_all(self) -> None:
        """Each harness has a test here, and is a choice on the command line."""
        names = {module.name for module in pkgutil.iter_modules(fuzz.__path__)}
        self.assertEqual(names - {"__main__", "harnesses", "test_fuzz", "wire"}, set(HARNESSES))
        tests = {name.removeprefix("test_") for name in dir(self) if name.startswith("test_")}
        self.assertEqual(tests - {"all"}, set(HARNESSES))
