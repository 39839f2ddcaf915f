"""
The trace that a request belongs to (https://www.w3.org/TR/trace-context/).  It is only passed on:
nothing here makes a trace or a span.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["MAX_STATE", "TraceContext", "trace_context"]

#: Bytes of the longest ``tracestate`` that is passed on.
MAX_STATE = 512
# Section 3.2.2.  A later version may have more fields behind these (section 4).
_PARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?"
)
_STATE = re.compile(rb"[ -~]{1,%d}" % MAX_STATE)


class TraceContext(NamedTuple):
    """
    The headers of a trace.

    :param trace_id: 32 hexadecimal digits.
    :param lines: the header lines that are passed on unchanged, each with its CRLF.
    """

    trace_id: str
    lines: bytes


def trace_context(parents: Sequence[bytes], states: Sequence[bytes]) -> TraceContext | None:
    """
    :param parents: the values of a request's ``traceparent``.
    :param states: the values of its ``tracestate``.
    :return: its trace; ``None`` if it has none, or its ``traceparent`` is not valid.
    """
    match = _PARENT.fullmatch(parents[0]) if len(parents) == 1 and len(parents[0]) < 256 else None
    if match is None or (match[1] == b"00" and match[3] is not None):
        return None
    lines = b"traceparent: %b\r\n" % parents[0]
    state = b",".join(states)  # several lines are one list (section 3.3.1)
    if _STATE.fullmatch(state):
        lines += b"tracestate: %b\r\n" % state
    return TraceContext(match[2].decode("ascii"), lines)
