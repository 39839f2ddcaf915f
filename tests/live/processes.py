"""
What the live tests have in common: processes that are shared, and questions to many answers.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.live.pair import LONG_AGO, Pair, quoted
from tests.live.rawhttp import Connection, Response
from tests.live.role import Role, environment, until
from tests.support.patience import PATIENCE

__all__ = [
    "LONG_AGO",
    "SLACK",
    "SOAK",
    "ImpatientCase",
    "LiveCase",
    "Pair",
    "Role",
    "canary",
    "environment",
    "lines_of",
    "quoted",
    "until",
]

#: Whether the long variants run too.
SOAK = os.environ.get("CHATFILES_SOAK") == "1"
#: Seconds by which a busy machine may miss what is promised; what hangs misses it by more.
SLACK = 0.5 if SOAK else PATIENCE
#: What the workspace of most tests denies besides.
DENIED_GLOBS = ("/home/*/.ssh/**", "/workspace/**/*.key")


class LiveCase(SynchronousTestCase):
    """
    Tests that share their processes with all others whose `make_pair` is the same.

    They are started for the first of the tests that are to be run and stopped behind the last, in
    whose name it fails if they do not end well (trial knows no ``setUpClass``).  A test that is not
    to be run must raise ``SkipTest`` itself.

    :ivar pair: what `make_pair` made.
    """

    _to_run: ClassVar[dict[object, set[tuple[type, str]]]] = {}
    _pairs: ClassVar[dict[object, Pair | BaseException]] = {}
    _prepared: ClassVar[dict[type, Pair]] = {}
    pair: Pair

    def __init__(self, methodName: str = "runTest") -> None:
        super().__init__(methodName)
        self._key: object = type(self).make_pair.__func__  # type: ignore[attr-defined]
        self._to_run.setdefault(self._key, set()).add((type(self), methodName))

    @classmethod
    def make_pair(cls) -> Pair:
        """:return: what the tests work with."""
        deny = [f"--deny={glob}" for glob in DENIED_GLOBS]
        return Pair(both=["--drain-timeout=5"], workspace=deny)

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        """Make what the tests of this class find in *pair*; called once."""

    def setUp(self) -> None:
        self.addCleanup(self._leave)
        pair = self._pairs.get(self._key)
        if isinstance(pair, Pair) and not all(role.running for role in pair.roles):
            pair.discard()  # whose fault that is has been told
            pair = None
        if pair is None:
            pair = self._pairs[self._key] = self._start()
        if isinstance(pair, BaseException):
            raise pair
        self.pair = pair
        if self._prepared.get(type(self)) is not pair:
            self._prepared[type(self)] = pair
            self.prepare(pair)

    def _start(self) -> Pair | BaseException:
        try:
            return self.make_pair()
        except BaseException as error:
            return error

    def _leave(self) -> None:
        self._to_run[self._key].discard((type(self), self._testMethodName))
        pair = self._pairs.get(self._key)
        if not isinstance(pair, Pair):
            return
        if self._to_run[self._key]:
            pair.check_logs()
        else:
            del self._pairs[self._key]
            pair.stop()

    # -- what is asked of many answers

    def assert_error(
        self, answer: Response, status: int, text: str, about: object = "", code: str | None = None
    ) -> dict[str, Any]:
        """
        The answer is an error of the shape that reference/errors, "Form" gives.

        :return: its JSON.
        """
        self.assertEqual((answer.status, answer.json.get("error")), (status, text), about)
        body: dict[str, Any] = answer.json
        self.assertRegex(body["code"], r"\A[a-z0-9_]+\Z", about)
        if code is not None:
            self.assertEqual(body["code"], code, about)
        self.assertEqual(body["request_id"], answer["x-request-id"], about)
        known = {"error", "code", "request_id", "detail", "retry_after_seconds"}
        self.assertEqual(set(body) - known, set(), about)
        if "retry_after_seconds" in body:
            self.assertEqual(answer["retry-after"], str(body["retry_after_seconds"]), about)
        if status == 401:
            self.assertEqual(answer["www-authenticate"], "Bearer", about)
        return body

    def assert_both(self, answers: dict[str, Response], check: Callable[[Response], None]) -> None:
        """Apply *check* to the answers of both ways."""
        self.assertEqual(set(answers), {"direct", "through"})
        for answer in answers.values():
            check(answer)

    def connect(self, role: Role, **more: Any) -> Connection:
        """:return: a connection that is closed with the test."""
        connection = Connection(role.url, **more)
        self.addCleanup(connection.close)
        return connection


class ImpatientCase(LiveCase):
    """Tests with roles that wait 1 s for a head, and for progress."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(both=["--header-timeout=1", "--idle-timeout=1"])


def canary() -> str:
    """:return: a word that occurs nowhere else."""
    return "canary-" + secrets.token_hex(16)


def lines_of(fields: Iterable[tuple[str, str]], *without: str) -> list[tuple[str, str]]:
    """:return: header fields that do not differ between two answers to the same question."""
    changing = {"date", "x-request-id", "connection", *without}
    return sorted(field for field in fields if field[0] not in changing)
