"""
Tests for `tests.run`.
"""

from __future__ import annotations

import unittest

from twisted.trial.itrial import ITestCase
from twisted.trial.unittest import SynchronousTestCase

from tests.run import Queue, shared_by


class Classes:
    """Classes of tests; trial does not find them here."""

    class One(unittest.TestCase):
        @classmethod
        def make_pair(cls) -> None: ...

        def test(self) -> None: ...

        def test_again(self) -> None: ...

    class Two(One):
        """Shares roles with `One`."""

    class Other(One):
        """Shares roles with none."""

        @classmethod
        def make_pair(cls) -> None: ...

    class Pure(unittest.TestCase):
        """Has no roles."""

        def test(self) -> None: ...

        def test_again(self) -> None: ...

    class Live(Pure):
        def id(self) -> str:
            return "tests.live." + super().id()


def cases(*names: str) -> list[ITestCase]:
    """:return: the tests of `Classes` with these names."""
    classes = [getattr(Classes, name) for name in names]
    return [cls(method) for cls in classes for method in ("test", "test_again")]


class QueueTests(SynchronousTestCase):
    """`Queue`."""

    def take(self, queue: Queue, last: str = "") -> str | None:
        """:return: the name of the class that is taken, always with all its tests."""
        taken = queue.take(*(shared_by(case) for case in cases(last)[:1]) if last else ())
        if not taken:
            return None
        name = type(taken[0]).__name__
        self.assertEqual(taken, cases(name))
        return name

    def test_whole_classes(self) -> None:
        """The tests of a class are taken together, even if others are listed between them."""
        listed = cases("One", "Pure", "Two")
        queue = Queue(listed[::2] + listed[1::2])
        self.assertEqual({self.take(queue) for _ in range(4)}, {"One", "Two", "Pure", None})

    def test_shares_with_last(self) -> None:
        """A process that has run a class goes on with one that shares its roles."""
        queue = Queue(cases("One", "Other", "Two"))
        self.assertEqual(self.take(queue), "One")
        self.assertEqual(self.take(queue, "One"), "Two")
        self.assertEqual(self.take(queue, "Two"), "Other")
        self.assertEqual(self.take(queue, "Other"), None)

    def test_new(self) -> None:
        """A process that finds none that shares its roles starts roles that no process has."""
        queue = Queue(cases("One", "Two", "Other", "Pure"))
        self.assertEqual([self.take(queue) for _ in range(3)], ["One", "Other", "Pure"])
        self.assertEqual(self.take(queue), "Two", "joins the process of One at last")

    def test_live_first(self) -> None:
        """What waits for other processes is begun first."""
        queue = Queue(cases("Pure", "Live"))
        self.assertEqual([self.take(queue), self.take(queue)], ["Live", "Pure"])
