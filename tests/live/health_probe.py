"""
A program: asks ``/health`` again and again, until it is told to stop.

    python -m tests.live.health_probe URL, then an empty line

Says ``probing`` after the first answer, and in the end in JSON how long answers took, in seconds.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from tests.live.rawhttp import Connection

#: Seconds between two questions.
PAUSE = 0.02


def main(url: str) -> None:
    """Ask."""
    told = threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        told.set()

    took, wrong = [], 0
    with Connection(url) as connection:
        connection.exchange("GET", "/health")
        print("probing", flush=True)
        threading.Thread(target=listen, daemon=True).start()
        while not told.wait(PAUSE):
            began = time.monotonic()
            wrong += connection.exchange("GET", "/health").status != 200
            took.append(time.monotonic() - began)
    took.sort()
    figures = {"count": len(took), "wrong": wrong, "longest": took[-1]}
    print(json.dumps(figures | {"p99": took[len(took) * 99 // 100]}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
