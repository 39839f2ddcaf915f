"""
The log observer that writes several lines together.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, LogPublisher, textFileLogObserver
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.http.server import access_log
from chatfiles.http.server.access_log import READY_TEXT, AccessLog
from chatfiles.http.server.observers import RequestRefused, TransferEnded
from chatfiles.runtime import text_log
from chatfiles.runtime.line_buffer import FLUSH_AFTER
from chatfiles.runtime.text_log import TextLog, logs_to_stdout

START = 1_700_000_000.0
ENDED = TransferEnded("id-1", "-", "read", 200, 5, 0.25, "complete", "127.0.0.1")

#: Seconds since START; several fall into the same second.
MOMENTS = st.floats(0, 5)
LINES = st.text(st.characters(codec="utf-8"))
LEVELS = st.sampled_from(list(LogLevel.iterconstants()))


def ready(line: object, moment: float = START, level: Any = LogLevel.info) -> LogEvent:
    """:return: an event like those of the access log."""
    return {
        "log_format": READY_TEXT,
        "log_namespace": "a.b",
        "log_level": level,
        "log_time": moment,
        "line": line,
    }


def other(text: str, moment: float = START) -> LogEvent:
    """:return: an event of another module."""
    return {**ready("", moment), "log_format": "other: {text}", "text": text}


class Output(io.StringIO):
    """Records how often it is flushed."""

    flushes = 0

    def flush(self) -> None:
        self.flushes += 1
        super().flush()


class TextLogTests(SynchronousTestCase):
    """The lines, their order, and when they are written."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.out = Output()
        self.log = TextLog(self.out, self.clock)

    def lines(self) -> list[str]:
        """:return: the texts of the written lines."""
        return [line.split("] ", 1)[1] for line in self.out.getvalue().splitlines()]

    def expected(self, events: Sequence[LogEvent]) -> str:
        """:return: what Twisted's observer writes."""
        out = io.StringIO()
        for event in events:
            textFileLogObserver(out)(event)
        return out.getvalue()

    @given(st.lists(st.tuples(st.booleans(), LINES, MOMENTS, LEVELS), max_size=8))
    def test_as_twisted(self, given: list[tuple[bool, str, float, Any]]) -> None:
        """
        The output is that of Twisted's observer, byte for byte, for any text and in any order of
        events.
        """
        out = io.StringIO()
        log = TextLog(out, Clock())
        events = [
            ready(text, START + moment, level) if is_ready else other(text, START + moment)
            for is_ready, text, moment, level in given
        ]
        for event in events:
            log(event)
        log.flush()
        self.assertEqual(out.getvalue(), self.expected(events))

    def test_as_twisted_for_the_access_log(self) -> None:
        """Events of the access log are written as Twisted writes them."""
        events: list[LogEvent] = []
        self.patch(access_log, "_log", Logger("chatfiles.x", observer=events.append))  # type: ignore[arg-type]
        AccessLog().transfer_ended(ENDED)
        AccessLog().request_refused(RequestRefused("id-2", "-", 400, "malformed", "-"))
        for event in events:
            self.log(event)
        self.log.flush()
        self.assertEqual(len(self.lines()), 2)
        self.assertEqual(self.out.getvalue(), self.expected(events))

    def test_second_line(self) -> None:
        """
        Whatever a line holds, it cannot look like two events: what follows a line end is indented.
        """
        forged = "1970-01-01T00:00:00+0000 [-] forged"
        self.log(ready("a\n" + forged))
        self.log.flush()
        self.assertEqual(self.out.getvalue().split("\n")[1], "\t" + forged)

    def test_written_together(self) -> None:
        """Ready lines wait for more of them, but not long, and are flushed once."""
        self.log(ready("a"))
        self.clock.advance(FLUSH_AFTER / 2)
        self.log(ready("b"))
        self.assertEqual((self.out.getvalue(), self.out.flushes), ("", 0))
        self.clock.advance(FLUSH_AFTER / 2)
        self.assertEqual((self.lines(), self.out.flushes), (["a", "b"], 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.log(ready("c"))
        self.clock.advance(FLUSH_AFTER)
        self.assertEqual(self.lines(), ["a", "b", "c"])

    def test_order(self) -> None:
        """Another event is written at once, behind the lines that were logged before it."""
        for event in (ready("a"), other("b"), ready("c"), ready("d"), other("e")):
            self.log(event)
        self.assertEqual(self.lines(), ["a", "other: b", "c", "d", "other: e"])
        self.clock.advance(FLUSH_AFTER)
        self.assertEqual(len(self.lines()), 5)

    def test_flush(self) -> None:
        """`flush` writes what waits, such as at the end of the process, and nothing twice."""
        self.log(ready("a"))
        self.log.flush()
        self.assertEqual(self.lines(), ["a"])
        self.log.flush()
        self.clock.advance(FLUSH_AFTER)
        self.assertEqual((self.lines(), self.out.flushes), (["a"], 1))

    def test_other_values(self) -> None:
        """An event of another module with the same format is written as Twisted writes it."""
        without = ready("")
        del without["line"]
        for event in (ready(b"bytes"), ready(None), {**ready("a"), "log_system": "x"}, without):
            self.log(event)
            self.log.flush()
            self.assertEqual(self.out.getvalue(), self.expected([event]))
            self.out.seek(0)
            self.out.truncate()

    def test_broken_output(self) -> None:
        """
        If the output fails, the error is raised to the reactor, which logs it; later lines are
        written, and other observers got every event.
        """
        write = self.out.write
        seen: list[LogEvent] = []

        def fail(text: str) -> int:
            raise BrokenPipeError

        publisher = LogPublisher(self.log, seen.append)  # type: ignore[arg-type]
        self.out.write = fail  # type: ignore[method-assign]
        publisher(ready("a"))
        self.assertRaises(BrokenPipeError, self.clock.advance, FLUSH_AFTER)
        self.out.write = write  # type: ignore[method-assign]
        publisher(ready("b"))
        self.clock.advance(FLUSH_AFTER)
        self.assertEqual(self.lines(), ["b"])
        self.assertEqual([event["line"] for event in seen], ["a", "b"])

    def test_threads(self) -> None:
        """
        No line is lost if a thread logs something else between the steps with which the reactor's
        thread adds a line.
        """

        def logs_in_a_thread(moment: float) -> str:
            thread = threading.Thread(target=self.log, args=(other("thread"),))
            thread.start()
            thread.join(0.2)  # it may have to wait for this line
            threads.append(thread)
            return "now"

        threads: list[threading.Thread] = []
        self.log(ready("a"))
        self.log._second = 0  # so that the time is formatted again
        self.patch(text_log, "formatTime", logs_in_a_thread)
        self.log(ready("b"))
        for thread in threads:
            thread.join()
        self.log.flush()
        self.assertEqual(sorted(self.lines()), ["a", "b", "other: thread"])


class StandardOutputTests(SynchronousTestCase):
    """When twistd logs to the standard output."""

    def test_options(self) -> None:
        """It does in the foreground, unless the log has another place."""
        foreground: dict[str, Any] = {"nodaemon": True, "logfile": None}
        for options, expected in (
            ({}, False),
            ({"logfile": None}, False),
            (foreground, True),
            ({**foreground, "logfile": "-"}, True),
            ({**foreground, "logfile": ""}, True),
            ({**foreground, "logfile": "x.log"}, False),
            ({**foreground, "logger": "some.observer"}, False),
            ({**foreground, "syslog": True}, False),
            ({**foreground, "syslog": False, "logger": None}, True),
        ):
            self.assertIs(logs_to_stdout(options), expected, options)


class WriteTests(SynchronousTestCase):
    """Lines of other processes, which are written as they are."""

    def test_order(self) -> None:
        """Ready lines that wait are written first; nothing is added."""
        out = io.StringIO()
        log = TextLog(out, Clock())
        log(
            {
                "log_format": READY_TEXT,
                "log_namespace": "a",
                "log_level": LogLevel.info,
                "log_time": 1.0,
                "line": "own",
            }
        )
        self.assertEqual(out.getvalue(), "")
        log.write("first\nsecond\n")
        self.assertRegex(out.getvalue(), r"\A\S+ \[a#info\] own\nfirst\nsecond\n\Z")
