"""
Generated forms: any boundary, and contents that resemble its delimiter lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import strategies as st

__all__ = ["BOUNDARIES", "contents", "has_delimiter_line", "pieces", "resembling"]

#: The characters of a boundary (RFC 2046, 5.1.1), which does not end with a blank.
BOUNDARIES = st.from_regex(r"\A[A-Za-z0-9'()+_,./:=? -]{0,69}[A-Za-z0-9'()+_,./:=?-]\Z")


def resembling(boundary: str) -> list[bytes]:
    """:return: what resembles a delimiter line, or is one if something else follows or precedes."""
    start = b"\r\n--" + boundary.encode()
    beginnings = [start[:n] for n in range(1, len(start) + 1)]
    ends = [start + end for end in (b"x", b"--x", b" x", b"-", b"--\n", b"\n", b"\rx", b" \t")]
    others = [start[2:], start[2:] + b"--", start[1:], b"\r" + start[2:], boundary.encode()]
    return [*beginnings, *ends, *others, b"--", b"\r\n", b"\r\n\r\n", b"\r", b"a", b"\0\xff"]


def has_delimiter_line(content: bytes, boundary: str) -> bool:
    """:return: whether no sender may choose this boundary for this content."""
    line = b"\r\n--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*\r\n"
    # The empty line before the content and the delimiter behind it lend it their line ends.
    return re.search(line, b"\r\n" + content + b"\r\n") is not None


def contents(boundary: str) -> st.SearchStrategy[bytes]:
    """:return: contents that may be sent with this boundary."""
    near = st.lists(st.sampled_from(resembling(boundary)), max_size=8).map(b"".join)
    return st.one_of(near, st.binary(max_size=60)).filter(
        lambda content: not has_delimiter_line(content, boundary)
    )


def pieces(data: bytes, ends: Sequence[int]) -> list[bytes]:
    """:return: *data*, divided at these offsets, which may exceed its length."""
    places = [0, *sorted({end % (len(data) + 1) for end in ends}), len(data)]
    return [data[a:b] for a, b in pairwise(places) if a < b]
