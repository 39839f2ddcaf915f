"""
`rules.conditional_requests.decide` against RFC 9110, 13 and 14, read character by character.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st
from twisted.web.http_headers import Headers

from chatfiles.model import FileFacts
from chatfiles.rules.conditional_requests import Decision, decide, etag, last_modified
from tests.fuzz.wire import strip

SECOND = 10**9
NOW = 1_700_000_000
#: More list members than the code distinguishes.
MANY = 16


@dataclass(frozen=True)
class Value:
    """
    A header's value.

    :param date: what it is as a date, in seconds since the epoch; ``None`` if it is none.
    """

    text: bytes
    date: int | None = None


def dates(seconds: int, form: int) -> Value:
    """:return: a date in one of the three forms (RFC 9110, 5.6.7)."""
    moment = datetime.fromtimestamp(seconds, UTC)
    text = (
        formatdate(seconds, usegmt=True),
        moment.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        moment.strftime("%a %b %d %H:%M:%S %Y").replace(" 0", "  ", 1)
        if moment.day < 10
        else moment.strftime("%a %b %d %H:%M:%S %Y"),
    )[form]
    return Value(text.encode(), seconds)


def spoil(value: Value, at: int, octet: bytes) -> Value:
    """:return: a date that is invalid."""
    at %= len(value.text)
    return Value(value.text[:at] + octet + value.text[at:])


FACTS = st.builds(
    FileFacts,
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from([0, 1, 2, 11, 255, 2**32, 2**63 - 1]) | st.integers(0, 2**63 - 1),
    st.integers((NOW - 10) * SECOND, (NOW + 2) * SECOND),
    st.integers(0, NOW * SECOND),
)
NUMBERS = st.integers(0, 12).map(str) | st.sampled_from(
    [
        "",
        "0",
        "9",
        "10",
        "00",
        "011",
        "4294967296",
        "9223372036854775807",
        "9" * 20,
        "9" * 21,
        "1" + "0" * 40,
        "x",
    ]
)
SPECS = st.builds(
    "{}{}{}{}".format,
    NUMBERS,
    st.sampled_from(["-", "-", "", " ", "--"]),
    NUMBERS,
    st.sampled_from(["", "", " ", "\t", "-", ";"]),
)
RANGES = st.builds(
    "{}{}{}".format,
    st.sampled_from(["bytes=", "Bytes=", "BYTES= ", " bytes=", "bytes =", "octets=", "bytes", "="]),
    st.lists(SPECS, max_size=3).map(",".join),
    st.sampled_from(["", ",", " ", "\t", ", ,", "\v", "," * 20]),
).map(lambda text: Value(text.encode()))
#: Replaced by the file's tag.
TAG, WEAK = b"\x01", b"\x02"
LISTS = st.lists(
    st.sampled_from(
        [
            TAG,
            WEAK,
            b'"other"',
            b'""',
            b'W/"x"',
            b"*",
            b'"a b"',
            b"w/" + TAG,
            b",",
            b", ",
            b" ",
            b"\t",
            b"W/",
            b'"',
            b"x",
            b"\xff",
            b'"\xe9"',
            b'"a,b"',
        ]
    ),
    max_size=6,
).map(lambda pieces: Value(b"".join(pieces)))
TAGS = st.sampled_from([Value(TAG), Value(WEAK), Value(b'"other", ' + TAG)]) | LISTS
DATES = st.builds(
    dates, st.integers(NOW - 12, NOW + 4) | st.integers(NOW - 10**9, NOW + 10**9), st.integers(0, 2)
)
SPOILT = st.builds(spoil, DATES, st.integers(1, 40), st.sampled_from([b"x", b"0", b",", b"\xff"]))
LAST_MODIFIED = st.just(Value(b"\x03"))
OTHER = st.binary(max_size=20).map(Value)


def lines(values: st.SearchStrategy[Value]) -> st.SearchStrategy[list[Value]]:
    """:return: mostly no header line or one."""
    nothing: list[Value] = []
    return st.one_of(
        *(st.just(nothing) for _ in range(3)),
        values.map(lambda value: [value]),
        values.map(lambda value: [value, value]),
        st.lists(values | OTHER, max_size=3),
    )


# -- the oracle


def is_settled(facts: FileFacts, now: int) -> bool:
    return facts.mtime_ns <= now - SECOND


def tags(text: bytes) -> list[bytes]:
    """:return: the entity tags of a list, up to what is malformed."""
    found, at = [], 0
    while at < len(text):
        while text[at : at + 1] in (b" ", b"\t", b","):
            at += 1
        start = at
        if text[at : at + 2] == b"W/":
            at += 2
        if text[at : at + 1] != b'"':
            break
        end = at + 1
        while end < len(text) and (
            text[end] == 0x21 or 0x23 <= text[end] <= 0x7E or text[end] > 0x7F
        ):
            end += 1
        if text[end : end + 1] != b'"':
            break
        tag, at = text[start : end + 1], end + 1
        while text[at : at + 1] in (b" ", b"\t"):
            at += 1
        if at < len(text) and text[at : at + 1] != b",":
            break
        found.append(tag)
    return found


def names(values: list[bytes], tag: bytes, *, strongly: bool) -> bool:
    """:return: whether a list names the file's tag."""
    text = strip(b",".join(values))
    if text == b"*":
        return True
    for candidate in tags(text):
        if strongly and candidate == tag and not tag.startswith(b"W/"):
            return True
        if not strongly and candidate.replace(b"W/", b"", 1) == tag.replace(b"W/", b"", 1):
            return True
    return False


def part(text: bytes, size: int) -> tuple[int, int] | str:
    """:return: first and last byte, ``all``, ``none``, or ``either`` if both are right."""
    unit, found, rest = strip(text).partition(b"=")
    if not found or unit.lower() != b"bytes":
        return "all"
    if rest.count(b",") >= MANY:
        return "either"
    specs = [spec for spec in map(strip, rest.split(b",")) if spec]
    if len(specs) != 1:
        return "all"
    first, dash, last = specs[0].partition(b"-")
    digits = set(b"0123456789")
    if not dash or not set(first + last) <= digits or not first + last:
        return "all"
    if not first:
        if not size and int(last):
            return "all"  # a 206 without content cannot be expressed
        return (max(0, size - int(last)), size - 1) if int(last) else "none"
    if last and int(last) < int(first):
        return "all"
    if int(first) >= size:
        return "none"
    return int(first), min(size - 1, int(last)) if last else size - 1


def expected(
    method: bytes, fields: dict[bytes, list[Value]], facts: FileFacts, now: int
) -> list[tuple[int, int, int]]:
    """:return: statuses with first byte and length, any of which is right."""
    texts = {name: [value.text for value in values] for name, values in fields.items()}
    only = {name: values[0].date if len(values) == 1 else None for name, values in fields.items()}
    tag, modified = etag(facts, now), min(facts.mtime_ns, now) // SECOND
    reads = method in (b"GET", b"HEAD")
    if texts[b"If-Match"]:
        if not names(texts[b"If-Match"], tag, strongly=True):
            return [(412, 0, 0)]
    elif (since := only[b"If-Unmodified-Since"]) is not None and modified > since:
        return [(412, 0, 0)]
    if texts[b"If-None-Match"]:
        if names(texts[b"If-None-Match"], tag, strongly=False):
            return [(304 if reads else 412, 0, 0)]
    elif reads and (since := only[b"If-Modified-Since"]) is not None and modified <= since:
        return [(304, 0, 0)]
    whole = (200, 0, facts.size)
    if not reads or len(texts[b"Range"]) != 1:
        return [whole]
    if texts[b"If-Range"]:
        same = strip(texts[b"If-Range"][0]) == tag or only[b"If-Range"] == modified
        if len(texts[b"If-Range"]) > 1 or not same or not is_settled(facts, now):
            return [whole]
    wanted = part(texts[b"Range"][0], facts.size)
    if wanted == "either":
        return [whole, (206, -1, -1), (416, 0, 0)]
    if isinstance(wanted, tuple):
        return [(206, wanted[0], wanted[1] - wanted[0] + 1)]
    return [whole if wanted == "all" else (416, 0, 0)]


@given(
    st.sampled_from([b"GET", b"HEAD", b"POST"]),
    st.fixed_dictionaries(
        {
            b"Range": lines(RANGES) | RANGES.map(lambda value: [value]),
            b"If-Range": lines(TAGS | DATES | SPOILT | LAST_MODIFIED),
            b"If-Match": lines(TAGS),
            b"If-None-Match": lines(TAGS),
            b"If-Modified-Since": lines(DATES | SPOILT | LAST_MODIFIED),
            b"If-Unmodified-Since": lines(DATES | SPOILT | LAST_MODIFIED),
        }
    ),
    FACTS,
    st.integers(0, 3 * SECOND),
)
def check(method: bytes, asked: dict[bytes, list[Value]], facts: FileFacts, later: int) -> None:
    """The decision is the one that the RFC requires, and its headers fit it."""
    now = NOW * SECOND + later
    tag, date = etag(facts, now), last_modified(facts, now)
    strong = tag.removeprefix(b"W/")

    def real(value: Value) -> Value:
        if value.text == b"\x03":
            return Value(date, min(facts.mtime_ns, now) // SECOND)
        text = value.text.replace(TAG, strong).replace(WEAK, b"W/" + strong)
        return Value(text, value.date)

    fields = {name: [real(value) for value in values] for name, values in asked.items()}
    headers = Headers()
    for name, values in fields.items():
        for value in values:
            headers.addRawHeader(name, value.text)
    # Twisted makes one line of a value with line ends; no request has such a value.
    for name, values in fields.items():
        given_texts = headers.getRawHeaders(name, [])
        fields[name] = [
            Value(text, value.date) for text, value in zip(given_texts, values, strict=True)
        ]
    decision = decide(method, headers, facts, now)
    wanted = expected(method, fields, facts, now)
    got = (decision.status, decision.first, decision.length)
    assert got in wanted or (decision.status, -1, -1) in wanted, (got, wanted)
    check_fields(decision, facts)


def check_fields(decision: Decision, facts: FileFacts) -> None:
    """``Content-Range`` agrees with the part that is sent."""
    last = decision.first + decision.length - 1
    assert 0 <= decision.first <= facts.size
    assert last < max(1, facts.size)
    told = dict(decision.headers).get(b"Content-Range")
    if decision.status == 206:
        assert told == b"bytes %d-%d/%d" % (decision.first, last, facts.size)
        assert decision.length > 0
    else:
        assert told == (b"bytes */%d" % facts.size if decision.status == 416 else None)
