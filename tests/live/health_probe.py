"""
A program: requests ``/health`` repeatedly, until it has to stop.

    python -m tests.live.health_probe URL, then an empty line

Prints ``probing`` after the first response, and at the end the response times in seconds, as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from tests.live.rawhttp import Connection

#: Seconds between two requests.
PAUSE = 0.02


def main(url: str) -> None:
    """Run the probe."""
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
