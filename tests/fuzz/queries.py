"""
Query strings and the rules of form for paths, read byte by byte straight from the request line.
"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from chatfiles.errors import BadRequest
from chatfiles.rules.file_headers import wants_inline
from chatfiles.rules.query import encode_query_value, parse_query
from chatfiles.rules.virtual_paths import VirtualPath, check_form

#: Error codes, in the order in which they are checked (reference/paths, "Form").
REQUIRED, REPEATED = "path_required", "path_repeated"
NOT_ABSOLUTE, OUTSIDE, INVALID = "path_not_absolute", "path_outside_roots", "invalid_path"

PIECES = st.sampled_from(
    [
        b"/",
        b"%2f",
        b"%2F",
        b".",
        b"..",
        b"%2e",
        b"%2E.",
        b"a",
        b"%00",
        b"\xff",
        b"%ff",
        b"+",
        b"%20",
        b"%",
        b"%2",
        b"%zz",
        b"%25",
        b"%252e",
        b"&",
        b"=",
        b";",
        b"?",
        b"~",
        b"workspace",
        b"/workspace",
        b"/home",
        b"/configs/",
        b"/plugins",
        b"n" * 255,
        b"n" * 256,
        b"%6e" * 255,
        b"/ab" * 1361,
        b"path",
        b"path=",
        b"&path=",
        b"%70ath=",
        b"disposition=",
        b"inline",
        b"&disposition=inline",
    ]
)
QUERIES = st.one_of(
    st.binary(max_size=40),
    st.lists(PIECES, max_size=10).map(b"".join),
    st.lists(PIECES, max_size=10).map(lambda pieces: b"path=/workspace/" + b"".join(pieces)),
    st.lists(PIECES, max_size=10).map(lambda pieces: b"path=/home" + b"".join(pieces)),
    # around the length of the longest path
    st.integers(4093, 4098).map(lambda size: b"path=" + (b"/home" + b"/abc" * 2000)[:size]),
)
HEX = b"0123456789abcdef"


def decoded(text: bytes) -> bytes:
    """Decode escapes, once."""
    out, at = bytearray(), 0
    while at < len(text):
        octet, digits = text[at], text[at + 1 : at + 3].lower()
        if octet == ord("%") and len(digits) == 2 and digits[0] in HEX and digits[1] in HEX:
            out.append(HEX.index(digits[0]) * 16 + HEX.index(digits[1]))
            at += 3
            continue
        out.append(ord(" ") if octet == ord("+") else octet)
        at += 1
    return bytes(out)


def values(query: bytes, wanted: bytes) -> list[bytes]:
    """:return: the values of one parameter."""
    found, start = [], 0
    while start <= len(query):
        end = query.find(b"&", start)
        end = len(query) if end < 0 else end
        field, start = query[start:end], end + 1
        equals = field.find(b"=")
        name = field if equals < 0 else field[:equals]
        if field and decoded(name) == wanted:
            found.append(b"" if equals < 0 else decoded(field[equals + 1 :]))
    return found


def verdict(paths: list[bytes]) -> str | bytes:
    """:return: the path that is requested, or the code of the rule that it breaks."""
    if not b"".join(paths):
        return REQUIRED
    if len(paths) != 1:
        return REPEATED
    [path] = paths
    if path[0] != ord("/"):
        return NOT_ABSOLUTE
    roots = (b"/configs/", b"/workspace/", b"/home/", b"/plugins/")
    if not (path + b"/").startswith(roots):
        return OUTSIDE
    for segment in path.split(b"/")[1:]:
        if segment in (b"", b".", b"..") or len(segment) > 255 or 0 in segment:
            return INVALID
    return INVALID if len(path) > 4096 else path


def judged(paths: list[bytes]) -> VirtualPath | str:
    """:return: the path, or the code of the error."""
    try:
        return check_form(paths)
    except BadRequest as error:
        return error.code


@given(QUERIES)
def check(query: bytes) -> None:
    """Both roles read exactly this path, and the platform sends the workspace the same path."""
    fields = parse_query(query)
    paths = fields.get(b"path", [])
    assert paths == values(query, b"path")
    path = judged(paths)
    if isinstance(path, str):
        assert path == verdict(paths)
    else:
        assert path.raw == verdict(paths)
        assert path.name == path.raw.rpartition(b"/")[2]
        asked = b"path=" + encode_query_value(path.raw).encode("ascii")
        assert re.fullmatch(rb"path=[A-Za-z0-9/._~%-]+", asked)
        assert check_form(parse_query(asked)[b"path"]) == path
    check_disposition(fields.get(b"disposition", []), values(query, b"disposition"))


def check_disposition(given_values: list[bytes], read: list[bytes]) -> None:
    """``disposition`` is ``inline`` once, or is missing."""
    assert given_values == read
    try:
        inline: bool | str = wants_inline(given_values)
    except BadRequest as error:
        inline = error.code
    wanted = {b"": False, b"inline": True}.get(b"".join(read), "invalid_disposition")
    assert inline == (wanted if len(read) < 2 and read != [b""] else "invalid_disposition")
