"""
The log as JSON: reference/logs, "JSON".
"""

from __future__ import annotations

import io
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.http.server.observers import Actor, RequestRefused, TransferEnded
from chatfiles.rules.log_json import MOST
from chatfiles.runtime.json_access_log import JSONAccessLog
from chatfiles.runtime.json_log import JSONLog
from chatfiles.runtime.line_buffer import FLUSH_AFTER, LineBuffer

ENDED = TransferEnded("id", "w", "read", 200, 5, 0.25, "complete", "1.2.3.4", None, "", 1, 5, 0.125)


class JSONCase(SynchronousTestCase):
    """A log in memory."""

    def setUp(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start with an empty log."""
        self.clock, self.out = Clock(), io.StringIO()
        self.log = JSONLog(self.out, self.clock, "platform", "node-1")
        self.written = 0

    def lines(self) -> list[dict[str, Any]]:
        """:return: the objects that were written since the last time."""
        self.clock.advance(FLUSH_AFTER)
        text = self.out.getvalue()[self.written :]
        self.written += len(text)
        return [json.loads(line) for line in text.splitlines()]


class BufferTests(SynchronousTestCase):
    """Lines reach a pipe, whose writer has a buffer."""

    def test_flushed(self) -> None:
        """They are not kept in that buffer: lines of now, and those that have waited."""
        pipe, clock = io.BytesIO(), Clock()
        buffer = LineBuffer(io.TextIOWrapper(pipe), clock)
        buffer.write("a\n")
        self.assertEqual(pipe.getvalue(), b"a\n")
        buffer.add("b")
        self.assertEqual(pipe.getvalue(), b"a\n")
        clock.advance(FLUSH_AFTER)
        self.assertEqual(pipe.getvalue(), b"a\nb\n")


class JSONLogTests(JSONCase):
    """All lines but those of transfers."""

    def test_message(self) -> None:
        """A line says when, how severe, which module, and what."""
        Logger("a.b", observer=self.log).warn("one\n{two}", two="\udcff\x1b")
        (line,) = self.lines()
        self.assertRegex(line.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(
            line,
            {
                "level": "warn",
                "event": "log",
                "role": "platform",
                "system": "a.b",
                "message": "one\n\udcff\x1b",
                "node": "node-1",
            },
        )

    @given(st.text(st.characters(exclude_categories=["Cs"])), st.text())
    def test_any(self, text: str, system: str) -> None:
        """Each event is one line, whatever its text is."""
        self.begin()
        self.log({"log_format": "{text}", "text": text, "log_system": system})
        self.log({"log_format": "end"})
        messages = [line["message"] for line in self.lines()]
        self.assertEqual(messages[-1], "end")
        self.assertLessEqual(len(messages), 2)

    def test_failure(self) -> None:
        """A traceback is part of the message; its end says what happened."""
        try:
            raise KeyError("deep " * 500)
        except KeyError:
            Logger("a", observer=self.log).failure("it broke", Failure())
        (line,) = self.lines()
        self.assertEqual(line["level"], "critical")
        self.assertIn("deep deep", line["message"])
        self.assertEqual(len(line["message"]), MOST)

    def test_unformattable(self) -> None:
        """An event whose text cannot be made has a line all the same."""

        class Broken:
            def __format__(self, spec: str) -> str:
                raise ValueError

        self.log({"log_format": "{it}", "it": Broken()})
        self.assertEqual(len(self.lines()), 1)

    def test_silent(self) -> None:
        """An event without a text has no line."""
        for event in ({}, {"log_format": None}, {"log_format": ""}):
            self.log(event)
        self.assertEqual(self.lines(), [])

    def test_other_process(self) -> None:
        """Objects of another process stay; its other lines become objects."""
        self.log.write('{"a":1}\n{no object\n[1]\nTraceback\n')
        lines = self.lines()
        self.assertEqual(lines[0], {"a": 1})
        self.assertEqual(
            [line["message"] for line in lines[1:]], ["{no object", "[1]", "Traceback"]
        )


class JSONAccessLogTests(JSONCase):
    """The lines of transfers."""

    def line(self, event: TransferEnded | RequestRefused, role: str = "platform") -> dict[str, Any]:
        """:return: the line about *event*, without those that are the same for all."""
        access = JSONAccessLog(role, "node-1", self.log, now=lambda: 1e9)
        if isinstance(event, RequestRefused):
            access.request_refused(event)
        else:
            access.transfer_ended(event)
        (line,) = self.lines()
        self.assertEqual(line.pop("time"), "2001-09-09T01:46:40.000Z")
        self.assertEqual((line.pop("level"), line.pop("role")), ("info", role))
        self.assertEqual(line.pop("node"), "node-1")
        return line

    def test_workspace(self) -> None:
        """A workspace knows no credentials; both roles use the same names of operations."""
        self.assertEqual(
            self.line(ENDED, "workspace"),
            {
                "event": "transfer",
                "request_id": "id",
                "workspace": "w",
                "operation": "download",
                "status": 200,
                "bytes_in": 1,
                "bytes_out": 5,
                "seconds": 0.25,
                "first_byte_seconds": 0.125,
                "outcome": "complete",
                "client": "1.2.3.4",
            },
        )

    def test_platform(self) -> None:
        """A platform names the credential, and how the workspace was reached."""
        for actor, via, expected in (
            (None, "", {"credential": None, "via": None}),
            (Actor("admin"), "dial", {"credential": "admin", "via": "dial"}),
            (Actor("link", "t"), "dial", {"credential": "link", "token_id": "t", "via": "dial"}),
        ):
            line = self.line(ENDED._replace(actor=actor, via=via))
            found = {n: line[n] for n in ("credential", "token_id", "via") if n in line}
            self.assertEqual(found, expected)

    def test_refused(self) -> None:
        """A refused request has a machine code."""
        line = self.line(ENDED._replace(outcome="invalid_path", first_byte=None, trace_id="f"))
        self.assertEqual(line["code"], "invalid_path")
        self.assertEqual(line["trace_id"], "f")
        self.assertIsNone(line["first_byte_seconds"])

    def test_never_a_request(self) -> None:
        """A request that is not well formed has a line."""
        self.assertEqual(
            self.line(RequestRefused("id", "-", 400, "malformed_request", "c")),
            {
                "event": "refused",
                "request_id": "id",
                "workspace": "-",
                "status": 400,
                "code": "malformed_request",
                "client": "c",
            },
        )

    def test_not_logged(self) -> None:
        """A request without an operation has no line."""
        JSONAccessLog("platform", "n", self.log).transfer_ended(ENDED._replace(operation=""))
        self.assertEqual(self.lines(), [])

    def test_logged_by_default(self) -> None:
        """The lines go to the log of the program, at its level and under its name."""
        events: list[LogEvent] = []
        JSONAccessLog("platform", "n", events.append).transfer_ended(ENDED)
        self.assertEqual(events[0]["log_level"], LogLevel.info)
        self.assertEqual(events[0]["log_namespace"], "chatfiles.http.server.site.Site")
