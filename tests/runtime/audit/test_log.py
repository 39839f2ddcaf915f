"""
The audit log as an observer of transfers: reference/audit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import Unavailable
from chatfiles.http.server.observers import Actor, RequestRefused, TransferEnded
from chatfiles.runtime.audit import log
from chatfiles.runtime.audit.log import INTERVAL, AuditLog
from chatfiles.runtime.audit.writer import AuditWriter
from chatfiles.streams.outcome import Outcome

TOKEN = Actor("token", "token-id", "abc", "")
ENDED = TransferEnded(
    "id", "w", "download", 200, 0, 0.25, Outcome.COMPLETE, "1.2.3.4", TOKEN, "", 0, 1000, 0.1
)


class Writer:
    """Remembers the lines."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.failed = False
        self.closed = False

    def write(self, lines: Sequence[str]) -> None:
        """Remember lines."""
        self.lines += map(json.loads, lines)

    def close(self) -> Deferred[None]:
        """Nothing is left."""
        self.closed = True
        return succeed(None)


class Connection:
    """A connection, of which the test says what its peer has taken."""

    def __init__(self, taken: int, pending: int) -> None:
        self.taken = taken
        self.written = taken + pending
        self.is_open = True

    @property
    def delivery(self) -> Connection:
        """Tells what the peer has taken."""
        return self


class AuditLogTests(SynchronousTestCase):
    """Which operations have a line, and what is in it."""

    def setUp(self) -> None:
        self.clock, self.writer = Clock(), Writer()
        self.audit = self.log("platform")

    def log(self, role: str, *, required: bool = False) -> AuditLog:
        """:return: the audit log of a role."""
        writer = cast("AuditWriter", self.writer)
        return AuditLog(role, "node-1", writer, self.clock, required=required, now=lambda: 1e9)

    def line(self, event: TransferEnded) -> dict[str, Any]:
        """:return: the only line about *event*."""
        self.audit.transfer_ended(event)
        self.clock.advance(INTERVAL)
        (line,) = self.writer.lines
        self.writer.lines.clear()
        return line

    def test_fields(self) -> None:
        """A line has all fields, and those that handlers add."""
        event = ENDED._replace(touched={"ref": "/workspace/%C3%A9"}, trace_id="f" * 32)
        self.assertEqual(
            self.line(event),
            {
                "time": "2001-09-09T01:46:40.000Z",
                "node": "node-1",
                "request_id": "id",
                "client": "1.2.3.4",
                "workspace": "w",
                "operation": "download",
                "trace_id": "f" * 32,
                "actor": {"kind": "token", "token_id": "token-id", "prefix": "abc", "name": None},
                "ref": "/workspace/%C3%A9",
                "bytes": 1000,
                "status": 200,
                "outcome": "complete",
                "seconds": 0.25,
            },
        )

    def test_versions(self) -> None:
        """The version is that of the response's headers, in each form in which they come."""
        digest = b"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
        sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        whole = {
            b"ETag": b'"v"',
            b"Content-Length": b"1000",
            b"Repr-Digest": b"sha-256=:%b:" % digest,
        }
        part = {b"ETag": b'"v"', b"Content-Length": b"5", b"Content-Range": b"bytes 2-6/1000"}
        for status, fields, expected in (
            (200, whole, {"version": '"v"', "size": 1000, "sha256": sha256}),
            (206, part, {"version": '"v"', "size": 1000, "range": "bytes=2-6"}),
            (304, {b"ETag": b'"v"'}, {"version": '"v"'}),
            (404, whole, {}),
        ):
            lines = b"".join(b"%b: %b\r\n" % field for field in fields.items())
            for given in (fields, lines):
                line = self.line(ENDED._replace(status=status, fields=given))
                names = ("version", "size", "sha256", "range")
                self.assertEqual({n: line[n] for n in names if n in line}, expected, status)

    def test_written(self) -> None:
        """A written file has its new version; the length is that of the response."""
        fields = {b"ETag": b'"v"', b"Content-Length": b"99"}
        for status, expected in ((201, '"v"'), (200, '"v"'), (412, None)):
            event = ENDED._replace(status=status, fields=fields, operation="write")
            line = self.line(event._replace(touched={"ref": "/x", "size": 3}))
            self.assertEqual((line.get("version"), line["size"]), (expected, 3))

    def test_actors(self) -> None:
        """The actor is that of the credential; on a workspace always the platform."""
        for actor, expected in (
            (Actor("admin"), {"kind": "admin", "token_id": None, "prefix": None, "name": None}),
            (Actor("link", "t"), {"kind": "link", "token_id": "t", "prefix": None, "name": None}),
        ):
            self.assertEqual(self.line(ENDED._replace(actor=actor))["actor"], expected)
        self.audit = self.log("workspace")
        self.assertEqual(self.line(ENDED._replace(operation="read"))["actor"], {"kind": "platform"})

    def test_operations(self) -> None:
        """Operations on files and rights have a line, with the same name on both roles."""
        for operation, rights, expected in (
            ("read", "", "download"),
            ("ingest", "", "upload"),
            ("write", "", "write"),
            ("delete", "", "delete"),
            ("mkdir", "", "mkdir"),
            ("move", "", "move"),
            ("list", "", "list"),
            ("link", "link.create", "link.create"),
            ("", "token.revoke", "token.revoke"),
            ("register", "token.create", "token.create"),
        ):
            line = self.line(ENDED._replace(operation=operation, rights=rights, bytes_in=7))
            moved = {"upload": 7, "write": 7}.get(expected, 0 if rights else 1000)
            self.assertEqual((line["operation"], line["bytes"]), (expected, moved))

    def test_nothing_touched(self) -> None:
        """Other requests have no line, nor have those that the audit log itself has refused."""
        for event in (
            ENDED._replace(operation=""),
            ENDED._replace(operation="register"),
            ENDED._replace(status=503, outcome="audit_unavailable"),
            ENDED._replace(status=405, outcome="method_not_allowed"),
        ):
            self.audit.transfer_ended(event)
        self.audit.request_refused(RequestRefused("id", "w", 400, "malformed_request", "c"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unknown_client(self) -> None:
        """
        A client without a valid credential touches nothing, so it cannot fill the log.  An open
        registration needs none.
        """
        unknown = ENDED._replace(actor=None)
        for changes in (
            {"status": 400, "outcome": "malformed_link"},
            {"status": 503, "outcome": "platform_unavailable", "rights": "token.create"},
            {"status": 0, "outcome": Outcome.CLIENT_LEFT},
        ):
            self.audit.transfer_ended(unknown._replace(**cast("Any", changes)))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        line = self.line(unknown._replace(operation="register", rights="workspace.create"))
        self.assertIsNone(line["actor"])
        self.audit = self.log("workspace")
        self.audit.transfer_ended(unknown._replace(status=405, outcome="method_not_allowed"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused_logins(self) -> None:
        """A refused credential has a line without anything of it, for any route."""
        for changes in (
            {"status": 401, "outcome": "invalid_token"},
            {"status": 403, "outcome": "invalid_link", "actor": None},
            {"status": 429, "outcome": "too_many_refusals", "actor": None},
            {"status": 401, "outcome": "missing_token", "operation": ""},
            {"status": 429, "outcome": "too_many_refusals"},
        ):
            line = self.line(ENDED._replace(client=str(changes), **cast("Any", changes)))
            self.assertEqual((line["operation"], line["count"]), ("login.refused", 1))
            self.assertIsNone(line["actor"])
            self.assertNotIn("token-id", json.dumps(line))

    # -- what the other end has acknowledged

    def test_acknowledged(self) -> None:
        """A line of a complete response waits until the client has acknowledged all of it."""
        connection = Connection(500, 1300)
        self.audit.transfer_ended(ENDED._replace(connection=connection))
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual(self.writer.lines, [])
        connection.taken = 1800
        self.clock.advance(INTERVAL)
        self.assertEqual(self.writer.lines.pop()["bytes"], 1000)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_later_responses(self) -> None:
        """What is missing of a later response on the connection is not missing of this one."""
        connection = Connection(0, 1200)
        self.audit.transfer_ended(ENDED._replace(connection=connection, request_id="first"))
        connection.written += 1200
        self.audit.transfer_ended(ENDED._replace(connection=connection, request_id="second"))
        connection.written += 900
        connection.taken = 1700
        self.clock.advance(INTERVAL)
        self.assertEqual([line["request_id"] for line in self.writer.lines], ["first"])
        connection.is_open = False
        self.clock.advance(INTERVAL)
        found = [(line["request_id"], line["bytes"]) for line in self.writer.lines]
        self.assertEqual(found, [("first", 1000), ("second", 300)])

    def test_client_leaves_later(self) -> None:
        """If the client leaves meanwhile, the line has what it had taken."""
        connection = Connection(500, 1300)
        self.audit.transfer_ended(ENDED._replace(connection=connection))
        self.clock.advance(INTERVAL)
        connection.taken, connection.is_open = 1500, False
        self.clock.advance(INTERVAL)
        self.assertEqual(self.writer.lines.pop()["bytes"], 700)

    def test_interrupted(self) -> None:
        """An interrupted transfer has a line soon; nothing is awaited."""
        connection = Connection(500, 300)
        connection.is_open = False
        event = ENDED._replace(connection=connection, outcome=Outcome.CLIENT_LEFT)
        self.assertEqual(self.line(event)["bytes"], 700)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_taken(self) -> None:
        """Of a response no more can be missing than was sent of it."""
        connection = Connection(0, 5000)
        connection.is_open = False
        self.assertEqual(self.line(ENDED._replace(connection=connection))["bytes"], 0)

    def test_refused_response(self) -> None:
        """The body of an error is awaited like any other."""
        connection = Connection(0, 1200)
        self.audit.transfer_ended(
            ENDED._replace(connection=connection, status=404, outcome="file_not_found")
        )
        self.clock.advance(INTERVAL)
        self.assertEqual(self.writer.lines, [])
        connection.taken = 1200
        self.clock.advance(INTERVAL)
        self.assertEqual(self.writer.lines.pop()["bytes"], 1000)

    def test_too_many_awaited(self) -> None:
        """No more than a number of responses is awaited."""
        self.patch(log, "MOST_AWAITED", 2)
        for _ in range(3):
            self.audit.transfer_ended(ENDED._replace(connection=Connection(0, 400)))
        self.clock.advance(INTERVAL)
        self.assertEqual([line["bytes"] for line in self.writer.lines], [600])

    def test_no_line(self) -> None:
        """A line that cannot be made is no reason to lose the others."""
        wrong = ENDED._replace(seconds=cast("Any", "no number"))
        for event in (ENDED, wrong, ENDED):
            self.audit.transfer_ended(event)
        self.clock.advance(INTERVAL)
        self.assertEqual(len(self.writer.lines), 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_close(self) -> None:
        """At the end, what is awaited is written with what is known."""
        self.audit.transfer_ended(ENDED._replace(connection=Connection(0, 400)))
        for _ in range(2):
            self.audit.transfer_ended(ENDED._replace(status=401))
        self.successResultOf(self.audit.close())
        self.assertTrue(self.writer.closed)
        self.assertEqual([line.get("count") for line in self.writer.lines], [1, 1, None])
        self.assertEqual(self.writer.lines[-1]["bytes"], 600)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    # -- required

    def test_refusal(self) -> None:
        """Operations are refused while lines cannot be written, if the log is required."""
        required = self.log("platform", required=True)
        self.assertIsNone(required.refusal())
        self.writer.failed = True
        error = required.refusal()
        assert isinstance(error, Unavailable)
        self.assertEqual((error.status, error.code), (503, "audit_unavailable"))
        self.assertEqual(error.text, "audit log unavailable")
        self.assertIsNone(self.audit.refusal())
