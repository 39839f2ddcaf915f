"""
The URL of a PostgreSQL database: it is parsed and resolved without blocking, and without showing
its password.
"""

from __future__ import annotations

import contextlib
import importlib
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.platform.registry.postgres import open_postgres
from chatfiles.rules.address_policy import IPAddress
from tests.platform.registry.postgres.postgres_case import REACTOR, PostgresTestCase, pause
from tests.support.patience import PATIENCE
from tests.support.postgres_server import PASSWORD


class OpenTests(SynchronousTestCase):
    """Values of ``--database``."""

    def open(self, url: str) -> Any:
        return open_postgres(url, reactor=REACTOR, now=lambda: datetime.now(UTC))

    def test_without_the_extra(self) -> None:
        """Without psycopg2 or txpostgres the error names ``chatfiles[postgres]``."""
        for missing in ("psycopg2", "txpostgres"):
            with self.subTest(missing), no_module(missing):
                self.assertRaisesRegex(
                    ValueError,
                    r"--database=.* needs chatfiles\[postgres\]",
                    self.open,
                    "postgresql:",
                )

    def test_what_is_no_url(self) -> None:
        """The error for an invalid URL names the option, and does not contain the password."""
        need_the_extra()
        for url in (
            "postgresql:/x",
            "sqlite:x",
            "postgresql://u:hidden@h/d?foo=1",
            "postgresql://u:hidden@h:1,g:2,i:3/d?host=a,b",
            "postgresql://u:hidden@h/d?service=x",
            "postgresql://u:hidden@h:99999/d",
            "postgresql://u:hidden@h:5432,g:0/d",
            "postgresql://u:hidden@h:-1/d",
            "postgresql://u:hidden@h/d?port=http",
        ):
            with self.assertRaises(ValueError) as caught:
                self.open(url)
            self.assertIn("--database takes", str(caught.exception))
            self.assertNotIn("hidden", str(caught.exception))
            self.assertIsNone(caught.exception.__cause__)

    def test_places(self) -> None:
        """Every host is parsed with its own port, and is looked up only if it is a name."""
        need_the_extra()
        module = importlib.import_module("chatfiles.platform.registry.postgres.address")
        environment = {"PGHOST": "there", "PGPORT": "7", "PGDATABASE": "d"}
        table: tuple[tuple[str, dict[str, str], str, list[tuple[Any, ...]]], ...] = (
            ("h/d", {}, "h/d", [("h", None, None, "h")]),
            ("u:p@h:1,g:2/d", {}, "h:1,g:2/d", [("h", None, "1", "h"), ("g", None, "2", "g")]),
            ("h,g/d?port=9", {}, "h:9,g:9/d", [("h", None, "9", "h"), ("g", None, "9", "g")]),
            ("[::1]:3/d", {}, "[::1]:3/d", [("::1", "::1", "3", None)]),
            ("/d?host=/run/x", {}, "/run/x/d", [("/run/x", None, None, None)]),
            ("h/d?hostaddr=10.0.0.1", {}, "h/d", [("h", "10.0.0.1", None, None)]),
            ("", environment, "there:7/d", [("there", None, "7", "there")]),
            ("/e", {}, "/e", [(None, None, None, None)]),
        )
        for rest, given, shown, hosts in table:
            found = module.PostgresAddress.parse("postgresql://" + rest, given)
            self.assertEqual(found.display_url, "postgresql://" + shown)
            self.assertEqual([(p.host, p.hostaddr, p.port, p.name) for p in found.hosts], hosts)
            self.assertNotIn("p", found.parameters)

    def test_password_is_not_in_a_repr(self) -> None:
        """The password is not in the repr of an address, which may be logged."""
        need_the_extra()
        module = importlib.import_module("chatfiles.platform.registry.postgres.address")
        found = module.PostgresAddress.parse("postgresql://u:hidden@h/d?sslkey=k", {})
        self.assertNotIn("hidden", repr(found))
        self.assertEqual(found.parameters["password"], "hidden")


class NameTests(PostgresTestCase):
    """Servers given by host name."""

    def named(self, name: str) -> str:
        parts = urlsplit(self.database.url)
        return self.database.server.url_of(self.database.name, f"{name}:{parts.port}")

    async def test_off_the_reactor(self) -> None:
        """Host names are looked up in a thread: a slow name server does not block the reactor."""
        threads: list[bool] = []
        go_on = threading.Event()

        def slow(name: str) -> Sequence[IPAddress]:
            threads.append(threading.current_thread() is threading.main_thread())
            go_on.wait(PATIENCE)
            return addresses("127.0.0.1")

        registry = self.make(self.named("db.example"), lookup=slow)
        started = registry.start()
        await pause(0.05)
        self.assertNoResult(started)
        go_on.set()
        await started
        self.assertNotIn(True, threads)

    async def test_every_address_is_tried(self) -> None:
        """The addresses of a name are tried until one of them works."""
        several = addresses("127.0.0.2", "::1", "127.0.0.1")
        registry = await self.start(self.named("db.example"), lookup=lambda _: several)
        await registry.check()

    async def test_a_name_that_is_not_found(self) -> None:
        """
        While a name is not found, calls fail with `RegistryUnavailable`, and it is looked up again.
        If a later look-up fails, the last known address is used.
        """
        answers: list[Sequence[IPAddress]] = []

        def look(name: str) -> Sequence[IPAddress]:
            if not answers:
                raise socket.gaierror(-2, "Name or service not known")
            return answers[0]

        registry = self.make(self.named("db.example"), lookup=look)
        self.assertIn("cannot be looked up", await self.fails(registry.start()))
        answers.append(addresses("127.0.0.1"))
        await self.recovers(registry.check)
        answers.clear()
        self.database.terminate()
        await registry.check()  # the last known address is used

    async def test_password_of_the_url(self) -> None:
        """A password that is percent-encoded in the URL opens the database."""
        self.assertNotIn(PASSWORD, self.database.url)
        await (await self.start(self.named("127.0.0.1"))).check()


def addresses(*texts: str) -> Sequence[IPAddress]:
    return [ip_address(text) for text in texts]


@contextlib.contextmanager
def no_module(name: str) -> Iterator[None]:
    """Simulate that *name* is not installed."""
    missing: Any = {name: None}
    with mock.patch.dict(sys.modules, missing):
        yield


def need_the_extra() -> None:
    try:
        importlib.import_module("chatfiles.platform.registry.postgres.registry")
    except ImportError:
        raise SkipTest("needs chatfiles[postgres]") from None
