"""
Keeps changes of this machine's network apart from browsers: Chromium gives up what it is loading
when an interface comes or goes (``ERR_NETWORK_CHANGED``).
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.patience import PATIENCE

__all__ = ["changed_network", "steady_network"]


@contextmanager
def steady_network() -> Iterator[None]:
    """No process of these tests changes the network meanwhile."""
    with _locked(fcntl.LOCK_SH):
        yield


@contextmanager
def changed_network() -> Iterator[None]:
    """The network changes, if possible while no test needs it to be steady."""
    with _locked(fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(kind: int) -> Iterator[None]:
    path = os.path.join(tempfile.gettempdir(), f"chatfiles-network-{os.getuid()}.lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # A test that waits for itself, or for ever, would be worse than a change.
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with suppress(BlockingIOError):
                fcntl.flock(fd, kind | fcntl.LOCK_NB)
                break
            time.sleep(0.05)
        yield
    finally:
        os.close(fd)
