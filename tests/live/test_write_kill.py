"""
reference/writes, "Publication": a workspace that is killed at any moment of a ``PUT``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
import time
from collections import Counter
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from tests.live.processes import SOAK, Pair, Role
from tests.live.rawhttp import Incomplete, fetch
from tests.live.role import listen_on
from tests.live.test_upload_kill import Victim
from tests.live.upload_client import at_once, report
from tests.support.patience import PATIENCE

#: How many times a workspace is killed, in all; and how many are killed in parallel.
KILLS, VICTIMS = (1000 if SOAK else 8), 2


def version(number: int) -> bytes:
    """:return: a content that says which version it is, and whether it is whole."""
    body = random.Random(number).randbytes((0, 3_000, 600_000)[number % 3])
    return b"%d %b " % (number, hashlib.sha256(body).hexdigest().encode()) + body


def number_of(content: bytes) -> int:
    """:return: the number of a whole version; an error for anything else."""
    number, digest, body = content.split(b" ", 2)
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise AssertionError(f"a torn file of {len(content)} bytes")
    return int(number)


class WritableVictim(Victim):
    """A workspace that can be killed; ``/workspace/out`` is writable."""

    def start(self) -> None:
        """Start it; by the time it listens, it has removed leftovers."""
        os.makedirs(os.path.join(self.base, "workspace", "out", "d"), exist_ok=True)
        options = [f"--root=/{root}={self.base}/{root}" for root in ("workspace", "configs")]
        listen = listen_on(self._port)
        writable = "--writable=/workspace/out"
        self.role = Role("workspace", listen, *options, writable, first=self._first)
        assert self.role.url, "it listens"

    def files(self) -> dict[str, bytes]:
        """:return: what is below its writable directory."""
        found = {}
        for top, _, names in os.walk(os.path.join(self.base, "workspace", "out")):
            for name in names:
                with open(os.path.join(top, name), "rb") as file:
                    found[name] = file.read()
        return found


class Writer(threading.Thread):
    """
    Puts one version after the other, until the workspace no longer responds.

    :param begun: the number of the last version that was sent before.
    :param stored: the number of the version that is there.
    :ivar stored: the number of the last version that was confirmed.
    :ivar begun: the number of the last version that was sent.
    """

    def __init__(self, victim: WritableVictim, name: str, begun: int, stored: int) -> None:
        super().__init__()
        (self._direct, _), self._name = victim.ways(), name
        self.begun, self.stored = begun, stored
        self.responded = threading.Event()

    def run(self) -> None:
        """Put versions."""
        target = f"/internal/fs/file?path=/workspace/out/{self._name}"
        with contextlib.suppress(OSError, Incomplete):
            while True:
                self.begun += 1
                answer = fetch(
                    self._direct.url,
                    target,
                    dict(self._direct.fields),
                    method="PUT",
                    body=version(self.begun),
                )
                if answer.status not in (200, 201):
                    raise AssertionError(answer.body)
                self.stored = self.begun
                self.responded.set()


class KillTests(SynchronousTestCase):
    """Workspaces that are killed at random moments."""

    def test_killed(self) -> None:
        """
        A file is a whole version, as new as the last confirmed one at least; nothing is left.
        """
        pair = Pair()
        self.addCleanup(pair.discard)
        outcomes: Counter[str] = Counter()
        victims = [WritableVictim(pair, n, unnamed=n % 2 == 0) for n in range(VICTIMS)]
        for victim in victims:
            self.addCleanup(victim.kill)
        at_once([partial(self.kill_often, n, v, outcomes) for n, v in enumerate(victims)])
        report(f"{KILLS} kills: {dict(outcomes)}")

    def kill_often(self, seed: int, victim: WritableVictim, outcomes: Counter[str]) -> None:
        rng, last = random.Random(seed), dict.fromkeys(("a", "d/b", "c"), (0, 0))
        for _ in range(KILLS // VICTIMS):
            writers = {name: Writer(victim, name, *numbers) for name, numbers in last.items()}
            for writer in writers.values():
                writer.start()
            writers["a"].responded.wait(PATIENCE)
            time.sleep(rng.uniform(0, 0.05))
            victim.kill()
            for writer in writers.values():
                writer.join()
            victim.start()
            files = victim.files()
            self.assertLessEqual(set(files), {"a", "b", "c"})
            for name, writer in writers.items():
                content = files.get(os.path.basename(name))
                found = 0 if content is None else number_of(content)
                self.assertIn(found, (writer.stored, writer.begun), name)
                outcomes["old" if found == writer.stored else "new"] += 1
                last[name] = writer.begun, found
