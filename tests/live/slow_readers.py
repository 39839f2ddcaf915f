"""
A program: many clients that read one download each, slowly until they have to finish.

    python -m tests.live.slow_readers URL TARGET COUNT < token, then an empty line

Prints ``reading`` once all have begun, and at the end their outcomes as JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time

from tests.live.rawhttp import Connection, Incomplete

#: Bytes that each reads at once, and seconds between two reads.
TAKE, PAUSE = 4096, 0.2


class Reader(threading.Thread):
    """
    One client.

    :ivar before: the bytes that it had read when it had to finish.
    :ivar outcome: the digest of what it has read, or how it was interrupted.
    """

    def __init__(self, url: str, target: str, token: str, finish: threading.Event) -> None:
        super().__init__(daemon=True)
        self.before = 0
        self.outcome = "nothing"
        self.begun = threading.Event()
        self._finish = finish
        self._connection = Connection(url, timeout=120, receive_buffer=65536)
        self._connection.ask("GET", target, {"Authorization": f"Bearer {token}"})

    def run(self) -> None:
        try:
            self._read()
        except (Incomplete, OSError) as error:
            self.outcome = f"{type(error).__name__}: {error}"
        finally:
            self.begun.set()
            self._connection.close()

    def _read(self) -> None:
        answer = self._connection.answer()
        if answer.head.status != 200:
            self.outcome = f"status {answer.head.status}"
            return
        digest = hashlib.sha256()
        while not self._finish.is_set():
            digest.update(answer.read(TAKE))
            self.begun.set()
            self._finish.wait(PAUSE)
        self.before = answer.received
        while data := answer.read():
            digest.update(data)
        self.outcome = digest.hexdigest()


def main(url: str, target: str, count: str) -> None:
    """Run the readers."""
    token = sys.stdin.readline().strip()
    finish = threading.Event()
    readers = [Reader(url, target, token, finish) for _ in range(int(count))]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.begun.wait()
    print("reading", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    finish.set()
    for reader in readers:
        reader.join()
    print(
        json.dumps(
            {
                "outcomes": [reader.outcome for reader in readers],
                "before": max(reader.before for reader in readers),
                "seconds": time.monotonic() - began,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
