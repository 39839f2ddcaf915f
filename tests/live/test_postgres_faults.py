"""
PostgreSQL fails in every way, under running downloads: these continue, new ones receive 503 in
time, and the platform recovers by itself (reference/limits-and-shutdown, "Registry outage").
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.live.postgres_case import PostgresCase
from tests.live.processes import SOAK, until
from tests.live.rawhttp import Response, fetch
from tests.support.postgres_server import server

KILLS = 100 if SOAK else 10
LOCKED = 10.0 if SOAK else 1.0
AT_ONCE = 500 if SOAK else 200


class AwayTests(PostgresCase):
    """The server is unavailable."""

    def test_restart(self) -> None:
        """The server is stopped and started again."""
        with self.watched() as note:
            server().stop()
            try:
                note("refused after", self.refused(self.cold(50)))
                self.assertFalse(self.ready())
                for _ in range(5):
                    self.refused(self.cold(10))
            finally:
                server().start()
            note("served again after", self.recovers())

    def test_killed_under_load(self) -> None:
        """All of its backends are killed again and again, while many requests arrive."""
        asked: list[Response] = []
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                asked.extend(outcome.response for outcome in self.cold(4))

        with self.watched() as note:
            threads = [threading.Thread(target=ask) for _ in range(2)]
            for thread in threads:
                thread.start()
            try:
                for _ in range(KILLS):
                    self.database.terminate()
                    time.sleep(0.05)  # for the next connections to be made
            finally:
                over.set()
                for thread in threads:
                    thread.join()
            self.assertGreater(len(asked), KILLS)
            refused = [response for response in asked if response.status != 200]
            for response in refused:
                self.unavailable(response)
            note("asked", len(asked))
            note("of which refused", len(refused))
            note("served again after", self.recovers())


class StuckTests(PostgresCase):
    """The server runs and does not respond."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A context in which no other connection can read the workspaces."""
        with self.database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE")
            yield

    @contextmanager
    def not_ready(self) -> Iterator[None]:
        """``/ready``, which waits as long as others do, does not return 200 meanwhile."""
        with ThreadPoolExecutor() as threads:
            ready = threads.submit(self.ready)
            yield
        self.assertFalse(ready.result())

    def test_locked_table(self) -> None:
        """While a table is locked, a cached workspace is served and uncached ones are 503."""
        known = self.target(self.pair.id)
        self.assertEqual(self.ask(known).status, 200)
        with self.watched() as note:
            with self.locked():
                end = time.monotonic() + LOCKED
                since = self.pair.platform.mark()
                slowest = 0.0
                while time.monotonic() < end:
                    with self.not_ready():
                        slowest = max(slowest, self.refused(self.cold(20)))
                    if self.ask(known).status != 200:  # a busy machine may be late to confirm it
                        self.pair.platform.logged(r"\(listener\) is unavailable", since=since)
            note("refused after", slowest)
            note("served again after", self.recovers())

    def test_many_at_once(self) -> None:
        """
        More requests than there are connections are served; while the table is locked, all are
        refused in time.
        """
        with self.watched() as note:
            began = time.monotonic()
            self.served(self.cold(AT_ONCE))
            note(f"{AT_ONCE} served in", time.monotonic() - began)
            with self.locked():
                note(f"{AT_ONCE} refused after", self.refused(self.cold(AT_ONCE)))
                if SOAK:
                    note("and for one file after", self.refused(self.cold(AT_ONCE, same=True)))
            self.served(self.cold(AT_ONCE, same=True))
            note("served again after", self.recovers())

    def test_backends_hang(self) -> None:
        """
        Every connection hangs, but new ones can be made: the platform recovers before the old ones
        continue.
        """
        with self.watched() as note:
            server().freeze(True, self.database.backends())
            self.addCleanup(server().freeze, False)
            for outcome in self.cold(20):
                if outcome.response.status != 200:
                    self.refused([outcome])
            note("served again after", self.recovers())
            server().freeze(False)

    def test_all_hangs(self) -> None:
        """The whole machine of the server hangs."""
        with self.watched() as note:
            server().freeze(True)
            self.addCleanup(server().freeze, False)
            with self.not_ready():
                note("refused after", self.refused(self.cold(20)))
            # Nothing is cached any more that another process may have changed meanwhile.
            until(lambda: self.ask(self.target(self.pair.id)).status == 503, "forgotten")
            server().freeze(False)
            note("served again after", self.recovers())

    def ask(self, target: str) -> Response:
        """:return: the response to the owner of the pair's workspace."""
        return fetch(self.pair.platform.url, target, self.pair.bearer)
