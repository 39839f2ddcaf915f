"""
What the live tests share: processes, and assertions about responses.
"""

from __future__ import annotations

import atexit
import os
import secrets
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.live.pair import LONG_AGO, Pair, quoted
from tests.live.rawhttp import Connection, Response
from tests.live.role import Role, environment, until

__all__ = [
    "IMPATIENT",
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
#: Seconds by which a busy machine may miss what is promised; what is broken misses it by more: it
#: waits for a timeout of the roles, which is 30 s or longer by default.
SLACK = 0.5 if SOAK else 20.0
#: The timeouts of roles in tests of timeouts: seconds, longer than a busy machine stands still.
IMPATIENT = 1.0 if SOAK else 6.0
#: The number of pairs that a process keeps.
KEPT = 3
#: What the workspace of most tests denies besides.
DENIED_GLOBS = ("/home/*/.ssh/**", "/workspace/**/*.key")


class LiveCase(SynchronousTestCase):
    """
    Tests that share their processes with all others whose `make_pair` is the same.

    The last `KEPT` pairs are kept for later tests, whatever their order.  A pair that is no longer
    kept is stopped, and the test that ends then fails if it does not end well (trial knows no
    ``setUpClass``).

    :ivar pair: what `make_pair` made.
    """

    _pairs: ClassVar[dict[object, Pair]] = {}
    _prepared: ClassVar[dict[type, Pair]] = {}
    pair: Pair

    @classmethod
    def make_pair(cls) -> Pair:
        """:return: what the tests work with."""
        deny = [f"--deny={glob}" for glob in DENIED_GLOBS]
        return Pair(both=["--drain-timeout=5"], workspace=deny)

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        """Make what the tests of this class find in *pair*; called once."""

    def setUp(self) -> None:
        key = type(self).make_pair.__func__  # type: ignore[attr-defined]
        pair = self._pairs.pop(key, None)
        if pair is not None and not all(role.running for role in pair.roles):
            atexit.unregister(pair.discard)
            pair.discard()  # an earlier test has failed for it
            pair = None
        if pair is None:
            pair = self.make_pair()
            atexit.register(pair.discard)
        self.pair = self._pairs[key] = pair  # the last of them
        self.addCleanup(self._leave)
        if self._prepared.get(type(self)) is not pair:
            self._prepared[type(self)] = pair
            self.prepare(pair)

    def take_pair(self) -> None:
        """Let no other test use the pair: this test ends a process of it."""
        self._pairs.pop(type(self).make_pair.__func__)  # type: ignore[attr-defined]
        atexit.unregister(self.pair.discard)
        self.addCleanup(self.pair.discard)

    def _leave(self) -> None:
        self.pair.check_logs()
        while len(self._pairs) > KEPT:
            pair = self._pairs.pop(next(iter(self._pairs)))
            atexit.unregister(pair.discard)
            pair.stop()

    # -- assertions about responses

    def assert_error(
        self, answer: Response, status: int, text: str, about: object = "", code: str | None = None
    ) -> dict[str, Any]:
        """
        The response is an error of the form in reference/errors, "Form", without any secret.

        :return: its JSON.
        """
        self.assertEqual((answer.status, answer.json.get("error")), (status, text), about)
        body: dict[str, Any] = answer.json
        text = answer.body.decode()
        shown = [each for role in self.pair.roles for each in role.secrets if each in text]
        self.assertEqual(shown, [], about)
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
        """Apply *check* to the responses of both ways."""
        ways = {"through"} if self.pair.via == "nat" else {"direct", "through"}
        self.assertEqual(set(answers), ways)
        for answer in answers.values():
            check(answer)

    def connect(self, role: Role, **more: Any) -> Connection:
        """:return: a connection that is closed with the test."""
        connection = Connection(role.url, **more)
        self.addCleanup(connection.close)
        return connection


class ImpatientCase(LiveCase):
    """Tests with roles that wait `IMPATIENT` seconds for headers, and for progress."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(both=[f"--header-timeout={IMPATIENT}", f"--idle-timeout={IMPATIENT}"])


def canary() -> str:
    """:return: a word that occurs nowhere else."""
    return "canary-" + secrets.token_hex(16)


def lines_of(fields: Iterable[tuple[str, str]], *without: str) -> list[tuple[str, str]]:
    """:return: headers that do not differ between two responses to the same request."""
    changing = {"date", "x-request-id", "connection", *without}
    return sorted(field for field in fields if field[0] not in changing)
