"""
What the tests of a platform on PostgreSQL share: both roles, processes that watch during a fault,
and requests that no cache can serve.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from twisted.trial.unittest import SkipTest

from tests.live.many import Outcome, ask_many
from tests.live.processes import SOAK, LiveCase, Pair, until
from tests.live.rawhttp import Response, fetch
from tests.live.role import ROOT, environment
from tests.support.patience import PATIENCE
from tests.support.postgres_server import PASSWORD, Database, Server, server

__all__ = ["LATE", "PostgresCase", "PostgresPair", "Witness"]

#: Seconds of tolerance for a loaded machine; less than `DEADLINE`, for which a reactor that waits
#: for the database would stand still.
LATE = 0.5 if SOAK else 6.0
#: Seconds that a request waits for the registry.  Where the time is not measured, a machine that
#: stands still for a second must not matter.
DEADLINE = 2.0 if SOAK else 8.0
#: Seconds in which the registry is back after an outage.
RECOVERY = 2.0 if SOAK else 15.0
#: Running downloads, and the bytes of each.
READERS = 50 if SOAK else 8
SIZE = 24 << 20
#: Workspaces that no test has requested yet; each has one token.
COLD = 20_000 if SOAK else 4_000

_FILL = """
    SET session_replication_role = replica;
    INSERT INTO workspaces (id, url, status, delivery_mode, platform_inbound_secret)
        SELECT md5('cold' || n)::uuid, %(url)s, 'online', 'push', %(secret)s
        FROM generate_series(0, %(count)s - 1) AS n;
    INSERT INTO workspace_auth_tokens (id, workspace_id, token_hash)
        SELECT id, id, sha256(('cold-' || id)::bytea)
        FROM (SELECT md5('cold' || n)::uuid AS id FROM generate_series(0, %(count)s - 1) AS n) AS w
"""


class Witness:
    """
    A program of this directory that watches from a process of its own.

    :param module: its name.
    :param first: what it reads from standard input at first.
    """

    def __init__(self, module: str, *arguments: str, first: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.live.{module}", *arguments],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say(first)
        self._hear()

    def finish(self) -> Any:
        """:return: what it has recorded."""
        self._say("\n")
        seen = json.loads(self._hear())
        self._process.communicate(timeout=PATIENCE)
        return seen

    def kill(self) -> None:
        """Make sure that it has ended."""
        self._process.kill()
        self._process.communicate()

    def _say(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


class PostgresPair(Pair):
    """
    Both roles, with the platform's registry in PostgreSQL.

    :param standby: a second server that the platform may use.
    """

    def __init__(self, standby: Server | None = None) -> None:
        if not server().own:
            raise SkipTest("needs a PostgreSQL that may be stopped")
        self.postgres = Database(server())
        servers = [each for each in (server(), standby) if each is not None]
        places = ",".join(urlsplit(each.url).netloc.rpartition("@")[2] for each in servers)
        self.url = server().url_of(self.postgres.name, places)
        self._released = False
        super().__init__(
            both=["--drain-timeout=5"],
            platform=[f"--registry-timeout={DEADLINE}", "--max-transfers-per-token=1000"],
            told={"CHATFILES_DATABASE": self.url},
        )
        self.hide(PASSWORD, self.postgres.url.rpartition("@")[0])
        content = os.urandom(1 << 16) * (SIZE >> 16)
        self.write("workspace/large.bin", content)
        self.write("workspace/a.txt", b"hello a\n")
        self.digest = hashlib.sha256(content).hexdigest()
        values = {"url": self.workspace.url, "secret": self.secret, "count": COLD}
        self.postgres.execute(_FILL, values)
        self._cold = iter(range(COLD))

    def cold(self) -> str:
        """:return: the id of a workspace that no test has requested yet."""
        return str(UUID(hashlib.md5(b"cold%d" % next(self._cold)).hexdigest()))

    def discard(self) -> None:
        super().discard()
        if not self._released:
            self._released = True
            self.postgres.release()


class PostgresCase(LiveCase):
    """Faults of the database, and the requests that they do not affect."""

    pair: PostgresPair

    @classmethod
    def make_pair(cls) -> PostgresPair:
        return PostgresPair()

    def setUp(self) -> None:
        super().setUp()
        self.database = self.pair.postgres
        self.is_ready()

    # -- requests

    def cold(self, count: int = 1, *, same: bool = False) -> list[Outcome]:
        """:return: the outcomes of concurrent downloads of workspaces that are not cached."""
        ids = [self.pair.cold()] * count if same else [self.pair.cold() for _ in range(count)]
        questions = [(self.target(each), f"cold-{each}") for each in ids]
        return ask_many(self.pair.platform.url, questions)

    def target(self, workspace_id: str, name: str = "a.txt") -> str:
        """:return: the download of a file."""
        return f"/workspaces/{workspace_id}/chat/download?path=/workspace/{name}"

    def ready(self) -> bool:
        """:return: whether ``/ready`` returns 200."""
        return fetch(self.pair.platform.url, "/ready").status == 200

    def is_ready(self) -> None:
        """Wait until ``/ready`` returns 200."""
        until(self.ready, "ready")

    # -- checks

    def refused(self, outcomes: Sequence[Outcome]) -> float:
        """
        All receive, in time, the error that the registry is unavailable.

        :return: the seconds that the slowest took.
        """
        for outcome in outcomes:
            self.unavailable(outcome.response)
        slowest = max(outcome.seconds for outcome in outcomes)
        self.assertLess(slowest, DEADLINE + LATE)
        return slowest

    def unavailable(self, response: Response) -> None:
        """The response says that the registry is unavailable."""
        text = "platform datastore unavailable — retry shortly"
        self.assert_error(response, 503, text, code="platform_unavailable")
        self.assertGreater(int(response["retry-after"]), 0)

    def served(self, outcomes: Sequence[Outcome]) -> None:
        """All have received their file."""
        for outcome in outcomes:
            self.assertEqual((outcome.response.status, outcome.response.body), (200, b"hello a\n"))

    def recovers(self) -> float:
        """
        The platform recovers: cold downloads are served, and ``/ready`` returns 200.

        :return: the seconds that this took.
        """
        began = time.monotonic()

        def is_served() -> bool:
            (outcome,) = self.cold()
            if outcome.response.status != 200:
                self.unavailable(outcome.response)
            return outcome.response.status == 200

        until(is_served, "downloads again", RECOVERY + LATE)
        until(self.ready, "ready again", RECOVERY + LATE)
        took = time.monotonic() - began
        self.assertLess(took, RECOVERY + LATE)
        self.served(self.cold(20))
        return took

    @contextmanager
    def watched(self) -> Iterator[Callable[[str, float], None]]:
        """
        Whatever happens meanwhile, running downloads complete, and ``/health`` responds.

        :return: a function that notes a figure for the report of a soak.
        """
        figures: list[str] = []
        target = self.target(self.pair.id, "large.bin")
        token = self.pair.token + "\n"
        since = self.pair.platform.mark()
        url = self.pair.platform.url
        readers = Witness("slow_readers", url, target, str(READERS), first=token)
        self.addCleanup(readers.kill)
        probe = Witness("health_probe", url)
        self.addCleanup(probe.kill)
        yield lambda what, value: figures.append(f"{what} {value:.3f}")
        health = probe.finish()
        running = self.pair.platform.log_since(since)
        self.assertNotIn(f"download 200 {SIZE} bytes", running, "none has ended by itself")
        read = readers.finish()
        self.assertEqual(read["outcomes"], [self.pair.digest] * READERS)
        self.assertLess(read["before"], SIZE)
        self.assertEqual(health["wrong"], 0)
        self.assertLess(health["longest"], 0.1 + LATE)
        figures += [f"/health {health['count']} times, {health['longest']:.3f} at most"]
        figures += [f"p99 {health['p99']:.3f}; {READERS} downloads whole"]
        if SOAK:
            print(f"[{self._testMethodName}] " + ", ".join(figures), file=sys.stderr)
