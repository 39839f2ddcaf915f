"""
The kernel's clock, whose ticks are the smallest difference between the times of two changes.
"""

from __future__ import annotations

import os

__all__ = ["pass_tick"]


def pass_tick(directory: bytes, moment_ns: int) -> None:
    """Return when a change would get a later time than *moment_ns* from the kernel."""
    probe = directory + b"/tick"
    os.close(os.open(probe, os.O_CREAT))
    while os.stat(probe).st_ctime_ns <= moment_ns:
        os.chmod(probe, 0o600)
    os.unlink(probe)
