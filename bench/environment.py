"""
Where and of what figures were made.
"""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib.metadata import version
from typing import Any

__all__ = ["describe"]


def describe(checkout: str) -> dict[str, Any]:
    """:return: the date, the commit of *checkout*, and what else figures depend on."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(checkout),
        "cpus": os.cpu_count(),
        "load average": os.getloadavg()[0],
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "twisted": version("twisted"),
        "treq": version("treq"),
    }


def _commit(checkout: str) -> str:
    """:return: the commit, with ``-dirty`` if files differ from it; ``unknown`` without git."""
    command = ["git", "-C", checkout, "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
