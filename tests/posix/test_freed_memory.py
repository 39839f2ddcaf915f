"""
Freed memory, measured in a process of its own.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys

from twisted.trial.unittest import SkipTest, SynchronousTestCase

PAGES_OF_A_ROUND = 4 * 512 * 1024 // 4096
ROUNDS = 200
SCRIPT = f"""
import resource, sys
from chatfiles.posix.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    pieces = [b"x" * (512 * 1024) for _ in range(4)]
use()
before = faults()
for _ in range({ROUNDS}):
    use()
print(faults() - before)
"""


class FreedMemoryTests(SynchronousTestCase):
    """`keep_freed_memory`."""

    def faults(self, how: str) -> int:
        """:return: how many pages the kernel had to provide."""
        command = [sys.executable, "-c", SCRIPT, how]
        return int(subprocess.run(command, check=True, capture_output=True).stdout)

    def test_used_again(self) -> None:
        """Pieces of half a MiB that are freed and allocated again are the same memory."""
        if not hasattr(ctypes.CDLL(None), "mallopt"):
            raise SkipTest("the C library is not glibc")
        self.assertGreater(self.faults("return"), ROUNDS * PAGES_OF_A_ROUND // 4)
        self.assertLess(self.faults("keep"), 3 * PAGES_OF_A_ROUND)
