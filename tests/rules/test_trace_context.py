"""
The trace that is passed on: reference/logs, "Traces".
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.trace_context import MAX_STATE, trace_context

TRACE, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
PARENT = b"00-" + TRACE + b"-" + SPAN + b"-01"

INVALID = (
    b"",
    PARENT.upper(),
    PARENT[:-1],
    PARENT + b"-more",  # version 00 has four fields
    b" " + PARENT,
    PARENT + b"\n",
    b"ff" + PARENT[2:],
    b"00-" + b"0" * 32 + b"-" + SPAN + b"-01",
    b"00-" + TRACE + b"-" + b"0" * 16 + b"-01",
    PARENT.replace(b"-", b"_"),
    b"01" + PARENT[2:] + b"-" + b"a" * 256,
)


class TraceTests(SynchronousTestCase):
    """Valid traces, and others."""

    def test_valid(self) -> None:
        """The lines are those of the client; a later version may have more fields."""
        for parent in (PARENT, b"01" + PARENT[2:], b"cc" + PARENT[2:] + b"-what.the"):
            trace = trace_context([parent], [])
            assert trace is not None
            self.assertEqual(trace.trace_id, TRACE.decode())
            self.assertEqual(trace.lines, b"traceparent: " + parent + b"\r\n")

    def test_invalid(self) -> None:
        """One that is not valid, or given twice, is none."""
        for parent in INVALID:
            self.assertIsNone(trace_context([parent], [b"a=b"]), parent)
        self.assertIsNone(trace_context([PARENT, PARENT], []))
        self.assertIsNone(trace_context([], [b"a=b"]))

    def test_state(self) -> None:
        """The state follows its trace, if it is short and printable; several lines are one list."""
        for states, expected in (
            ([b"a=b"], b"a=b"),
            ([b"a=b", b"c=d"], b"a=b,c=d"),
            ([b"a" * MAX_STATE], b"a" * MAX_STATE),
            ([b"a" * (MAX_STATE + 1)], None),
            ([b""], None),
            ([b"a=\xff"], None),
            ([b"a=\r\nX: y"], None),
        ):
            trace = trace_context([PARENT], states)
            assert trace is not None
            line = b"" if expected is None else b"tracestate: " + expected + b"\r\n"
            self.assertEqual(trace.lines, b"traceparent: " + PARENT + b"\r\n" + line)
