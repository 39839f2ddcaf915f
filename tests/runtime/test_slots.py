"""
Tests for `chatfiles.runtime.slots`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.runtime.slots import Slots

#: Takes so many slots of two, and says so; ends with its input.
OTHER = """
import contextlib, sys
from chatfiles.runtime.slots import Slots
with contextlib.ExitStack() as stack:
    slots = Slots(2, int(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        stack.enter_context(slots.one(OSError()))
    print("taken", flush=True)
    sys.stdin.read()
"""


class Refused(Exception):
    """There is no slot."""


class SlotsTests(SynchronousTestCase):
    """A number of slots."""

    def free(self, slots: Slots) -> int:
        """:return: how many slots can be taken."""
        with ExitStack() as stack:
            for count in range(100):
                try:
                    stack.enter_context(slots.one(Refused()))
                except Refused:
                    return count
        raise AssertionError("there is no limit")

    def test_one_process(self) -> None:
        """There are as many as were given.  Each is free again after use, also after an error."""
        slots = Slots(3)
        self.assertEqual(self.free(slots), 3)
        with slots.one(Refused()):
            self.assertEqual(self.free(slots), 2)

        def fail() -> None:
            with slots.one(Refused()):
                raise ValueError

        self.assertRaises(ValueError, fail)
        self.assertEqual(self.free(slots), 3)

    def test_several_processes(self) -> None:
        """Processes share them; the slots of a process that is killed are free."""
        fd = os.memfd_create("slots")
        self.addCleanup(os.close, fd)
        slots = Slots(2, fd)
        for count in (1, 2):
            process = subprocess.Popen(
                [sys.executable, "-c", OTHER, str(fd), str(count)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[fd],
            )
            with process:
                assert process.stdout is not None
                process.stdout.readline()
                self.assertEqual(self.free(slots), 2 - count)
                process.kill()
            self.assertEqual(self.free(slots), 2)
