"""
Conditional and range requests, and the decision about them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from chatfiles.model import FileFacts
from chatfiles.rules.conditional_requests import Decision, decide, etag, last_modified
from chatfiles.rules.http_dates import format_http_date

SECOND = 1_000_000_000
#: Sun, 06 Nov 1994 08:49:37.5 GMT
MODIFIED = 784_111_777 * SECOND + SECOND // 2
#: An hour after it, and half a second after it.
SETTLED = MODIFIED + 3600 * SECOND
FRESH = MODIFIED + SECOND // 2

FACTS = FileFacts(device=64769, inode=1234567, size=11, mtime_ns=MODIFIED, ctime_ns=MODIFIED)
EMPTY = FACTS._replace(size=0)
TAG = etag(FACTS, SETTLED)
WEAK = etag(FACTS, FRESH)

SAME = b"Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = b"Sun, 06 Nov 1994 08:49:36 GMT"
LATER = b"Sun, 06 Nov 1994 08:49:38 GMT"

WHOLE = Decision(200, 0, 11)
UNSATISFIABLE = Decision(416, 0, 0, ((b"Content-Range", b"bytes */11"),))
NOT_MODIFIED = Decision(304, 0, 0)
FAILED = Decision(412, 0, 0)

Fields = dict[str, str | bytes | list[bytes]]


def partial(first: int, last: int, size: int = 11) -> Decision:
    extent = b"bytes %d-%d/%d" % (first, last, size)
    return Decision(206, first, last - first + 1, ((b"Content-Range", extent),))


class RawFields:
    """Headers that are passed on unchanged, including what Twisted's class cleans."""

    def __init__(self, fields: Fields) -> None:
        self._values = {
            name.encode(): [
                v.encode("latin-1") if isinstance(v, str) else v
                for v in (value if isinstance(value, list) else [value])
            ]
            for name, value in fields.items()
        }

    def getRawHeaders(self, name: bytes, default: Sequence[bytes]) -> Sequence[bytes]:
        return self._values.get(name, default)


def ask(
    fields: Fields, facts: FileFacts = FACTS, now_ns: int = SETTLED, method: bytes = b"GET"
) -> Decision:
    return decide(method, RawFields(fields), facts, now_ns)


FIRST_FIVE = partial(0, 4)

#: ``Range`` on a file of 11 bytes.
RANGES: list[tuple[str, Decision]] = [
    # one range
    ("bytes=0-4", FIRST_FIVE),
    ("bytes=0-0", partial(0, 0)),
    ("bytes=10-10", partial(10, 10)),
    ("bytes=2-", partial(2, 10)),
    ("bytes=0-", partial(0, 10)),
    ("bytes=10-", partial(10, 10)),
    ("bytes=-3", partial(8, 10)),
    ("bytes=-1", partial(10, 10)),
    ("bytes=-11", partial(0, 10)),
    # clipped
    ("bytes=0-10", partial(0, 10)),
    ("bytes=0-11", partial(0, 10)),
    ("bytes=5-1000", partial(5, 10)),
    ("bytes=-12", partial(0, 10)),
    ("bytes=-1000", partial(0, 10)),
    # large numbers
    ("bytes=0-18446744073709551616", partial(0, 10)),
    ("bytes=3-99999999999999999999999999999999", partial(3, 10)),
    ("bytes=-99999999999999999999", partial(0, 10)),
    ("bytes=18446744073709551616-", UNSATISFIABLE),
    ("bytes=99999999999999999999999-99999999999999999999999", UNSATISFIABLE),
    ("bytes=0-" + "9" * 100_000, partial(0, 10)),
    ("bytes=-" + "9" * 100_000, partial(0, 10)),
    ("bytes=" + "9" * 100_000 + "-", UNSATISFIABLE),
    ("bytes=" + "0" * 100_000 + "2-" + "0" * 100_000 + "3", partial(2, 3)),
    ("bytes=000-0004", FIRST_FIVE),
    ("bytes=-03", partial(8, 10)),
    # beyond the end
    ("bytes=11-", UNSATISFIABLE),
    ("bytes=11-11", UNSATISFIABLE),
    ("bytes=11-20", UNSATISFIABLE),
    ("bytes=1000-", UNSATISFIABLE),
    ("bytes=-0", UNSATISFIABLE),
    ("bytes=-000", UNSATISFIABLE),
    # the unit has no case; white space only where the list rule has it
    ("BYTES=0-4", FIRST_FIVE),
    ("Bytes=0-4", FIRST_FIVE),
    (" bytes=0-4 ", FIRST_FIVE),
    ("bytes=0-4\t", FIRST_FIVE),
    ("bytes= 0-4", FIRST_FIVE),
    ("bytes=,0-4", FIRST_FIVE),
    ("bytes=0-4 , ,", FIRST_FIVE),
    ("bytes =0-4", WHOLE),
    ("bytes=0 - 4", WHOLE),
    ("bytes=0 -4", WHOLE),
    ("bytes=0- 4", WHOLE),
    ("bytes=- 4", WHOLE),
    ("by tes=0-4", WHOLE),
    ("bytes=\x0b0-4", WHOLE),
    ("bytes=0-4\n", WHOLE),
    ("bytes=\xa00-4", WHOLE),
    # malformed: ignored
    ("", WHOLE),
    ("bytes", WHOLE),
    ("bytes=", WHOLE),
    ("bytes=,", WHOLE),
    ("bytes=-", WHOLE),
    ("bytes=--", WHOLE),
    ("bytes=--1", WHOLE),
    ("bytes=5", WHOLE),
    ("bytes=0-4-", WHOLE),
    ("bytes=0-4-6", WHOLE),
    ("bytes=5-4", WHOLE),
    ("bytes=10-2", WHOLE),
    ("bytes=99999999999999999999999-99999999999999999999998", WHOLE),
    ("bytes=9999999999999999999999-0", WHOLE),
    ("bytes=a-b", WHOLE),
    ("bytes=0-b", WHOLE),
    ("bytes=0x1-0x4", WHOLE),
    ("bytes=1.5-3", WHOLE),
    ("bytes=1e0-3", WHOLE),
    ("bytes=+1-3", WHOLE),
    ("bytes=-+3", WHOLE),
    ("bytes=1_0-", WHOLE),
    ("bytes=0..4", WHOLE),
    ("bytes=0/4", WHOLE),
    ("bytes=\xb2-\xb3", WHOLE),
    ("bytes==0-4", WHOLE),
    ("bytes:0-4", WHOLE),
    ("bytes 0-4", WHOLE),
    ("bytes 0-4/11", WHOLE),
    ("=0-4", WHOLE),
    ("0-4", WHOLE),
    ("bytes=0-4;x", WHOLE),
    ("bytes=*", WHOLE),
    ("bytes=\0", WHOLE),
    # another unit
    ("octets=0-4", WHOLE),
    ("items=0-4", WHOLE),
    ("bytesx=0-4", WHOLE),
    ("none=0-4", WHOLE),
    # several ranges
    ("bytes=0-0,-1", WHOLE),
    ("bytes=0-4,6-8", WHOLE),
    ("bytes=5-8,0-1", WHOLE),
    ("bytes=0-4,0-4", WHOLE),
    ("bytes=0-,1-,2-,3-,4-", WHOLE),
    ("bytes=0-4,100-", WHOLE),
    ("bytes=0-4,x", WHOLE),
    ("bytes=" + "0-," * 100_000, WHOLE),
    ("bytes=" + "," * 100_000 + "0-4", WHOLE),
]

#: headers, decision once the file is settled
CONDITIONS: list[tuple[Fields, Decision]] = [
    ({}, WHOLE),
    # If-Match: strong
    ({"If-Match": TAG}, WHOLE),
    ({"If-Match": "*"}, WHOLE),
    ({"If-Match": b'"other"'}, FAILED),
    ({"If-Match": b"W/" + TAG}, FAILED),
    ({"If-Match": b'"other", ' + TAG}, WHOLE),
    ({"If-Match": b'"a,b",\t,' + TAG + b" , "}, WHOLE),
    ({"If-Match": [b'"other"', TAG]}, WHOLE),
    ({"If-Match": [b'"other"', b'"another"']}, FAILED),
    ({"If-Match": TAG[1:-1]}, FAILED),
    ({"If-Match": TAG + b" junk"}, FAILED),
    ({"If-Match": b"junk, " + TAG}, FAILED),
    ({"If-Match": TAG + TAG}, FAILED),
    ({"If-Match": b'"' + TAG}, FAILED),
    ({"If-Match": TAG.upper()}, FAILED),
    ({"If-Match": b"'" + TAG[1:-1] + b"'"}, FAILED),
    ({"If-Match": ""}, FAILED),
    ({"If-Match": "**"}, FAILED),
    ({"If-Match": TAG + b"\n"}, FAILED),
    # If-Unmodified-Since
    ({"If-Unmodified-Since": SAME}, WHOLE),
    ({"If-Unmodified-Since": LATER}, WHOLE),
    ({"If-Unmodified-Since": EARLIER}, FAILED),
    ({"If-Unmodified-Since": "Sunday, 06-Nov-94 08:49:36 GMT"}, FAILED),
    ({"If-Unmodified-Since": "Sun Nov  6 08:49:36 1994"}, FAILED),
    ({"If-Unmodified-Since": "junk"}, WHOLE),
    ({"If-Unmodified-Since": [EARLIER, EARLIER]}, WHOLE),
    # ... which If-Match overrides
    ({"If-Match": TAG, "If-Unmodified-Since": EARLIER}, WHOLE),
    ({"If-Match": '"other"', "If-Unmodified-Since": SAME}, FAILED),
    # If-None-Match: weak
    ({"If-None-Match": TAG}, NOT_MODIFIED),
    ({"If-None-Match": b"W/" + TAG}, NOT_MODIFIED),
    ({"If-None-Match": "*"}, NOT_MODIFIED),
    ({"If-None-Match": " * "}, NOT_MODIFIED),
    ({"If-None-Match": '"other"'}, WHOLE),
    ({"If-None-Match": b'W/"other", ' + TAG}, NOT_MODIFIED),
    ({"If-None-Match": b'"other",,' + TAG}, NOT_MODIFIED),
    ({"If-None-Match": [b'"other"', TAG]}, NOT_MODIFIED),
    ({"If-None-Match": b"w/" + TAG}, WHOLE),
    ({"If-None-Match": b"W/ " + TAG}, WHOLE),
    ({"If-None-Match": TAG[1:-1]}, WHOLE),
    ({"If-None-Match": ""}, WHOLE),
    ({"If-None-Match": b'"a b", ' + TAG}, WHOLE),
    ({"If-None-Match": b'"\xe9", ' + TAG}, NOT_MODIFIED),
    ({"If-None-Match": b'"x", ' * 5000 + TAG}, NOT_MODIFIED),
    ({"If-None-Match": b" " * 50_000 + b"x"}, WHOLE),
    ({"If-None-Match": b'"' * 50_001}, WHOLE),
    # If-Modified-Since
    ({"If-Modified-Since": SAME}, NOT_MODIFIED),
    ({"If-Modified-Since": LATER}, NOT_MODIFIED),
    ({"If-Modified-Since": "Fri, 31 Dec 9999 23:59:59 GMT"}, NOT_MODIFIED),
    ({"If-Modified-Since": EARLIER}, WHOLE),
    ({"If-Modified-Since": "Sunday, 06-Nov-94 08:49:37 GMT"}, NOT_MODIFIED),
    ({"If-Modified-Since": "Sun Nov  6 08:49:37 1994"}, NOT_MODIFIED),
    ({"If-Modified-Since": "junk"}, WHOLE),
    ({"If-Modified-Since": ""}, WHOLE),
    ({"If-Modified-Since": [SAME, SAME]}, WHOLE),
    # ... which If-None-Match overrides
    ({"If-None-Match": '"other"', "If-Modified-Since": SAME}, WHOLE),
    ({"If-None-Match": TAG, "If-Modified-Since": EARLIER}, NOT_MODIFIED),
    ({"If-None-Match": "junk", "If-Modified-Since": SAME}, WHOLE),
    # both pairs: 412 takes precedence
    ({"If-Match": '"other"', "If-None-Match": TAG}, FAILED),
    ({"If-Match": TAG, "If-None-Match": TAG}, NOT_MODIFIED),
    ({"If-Unmodified-Since": EARLIER, "If-Modified-Since": LATER}, FAILED),
    ({"If-Unmodified-Since": SAME, "If-Modified-Since": SAME}, NOT_MODIFIED),
    # conditions are evaluated before Range
    ({"If-Match": TAG, "Range": "bytes=0-4"}, FIRST_FIVE),
    ({"If-Match": '"other"', "Range": "bytes=0-4"}, FAILED),
    ({"If-None-Match": TAG, "Range": "bytes=0-4"}, NOT_MODIFIED),
    ({"If-None-Match": '"other"', "Range": "bytes=0-4"}, FIRST_FIVE),
    ({"If-None-Match": TAG, "Range": "bytes=11-"}, NOT_MODIFIED),
    ({"If-Unmodified-Since": SAME, "Range": "bytes=11-"}, UNSATISFIABLE),
    ({"If-Modified-Since": SAME, "Range": "bytes=0-4"}, NOT_MODIFIED),
    # If-Range: strong
    ({"If-Range": TAG, "Range": "bytes=0-4"}, FIRST_FIVE),
    ({"If-Range": b" " + TAG + b"\t", "Range": "bytes=0-4"}, FIRST_FIVE),
    ({"If-Range": TAG, "Range": "bytes=11-"}, UNSATISFIABLE),
    ({"If-Range": '"other"', "Range": "bytes=0-4"}, WHOLE),
    ({"If-Range": '"other"', "Range": "bytes=11-"}, WHOLE),
    ({"If-Range": b"W/" + TAG, "Range": "bytes=0-4"}, WHOLE),
    ({"If-Range": TAG + b", " + TAG, "Range": "bytes=0-4"}, WHOLE),
    ({"If-Range": [TAG, TAG], "Range": "bytes=0-4"}, WHOLE),
    ({"If-Range": "*", "Range": "bytes=0-4"}, WHOLE),
    ({"If-Range": "", "Range": "bytes=0-4"}, WHOLE),
    ({"If-Range": "junk", "Range": "bytes=0-4"}, WHOLE),
    ({"If-Range": TAG[1:-1], "Range": "bytes=0-4"}, WHOLE),
    ({"If-Range": SAME, "Range": "bytes=0-4"}, FIRST_FIVE),
    ({"If-Range": EARLIER, "Range": "bytes=0-4"}, WHOLE),
    ({"If-Range": LATER, "Range": "bytes=0-4"}, WHOLE),
    ({"If-Range": TAG}, WHOLE),
    ({"If-Range": '"other"'}, WHOLE),
    ({"If-Range": TAG, "If-None-Match": TAG, "Range": "bytes=0-4"}, NOT_MODIFIED),
    # Range once
    ({"Range": [b"bytes=0-4", b"bytes=0-4"]}, WHOLE),
    ({"Range": [b"bytes=0-4", b""]}, WHOLE),
]

#: The same while the file is fresh and its tag is weak.
FRESH_CONDITIONS: list[tuple[Fields, Decision]] = [
    ({"Range": "bytes=0-4"}, FIRST_FIVE),
    ({"If-Match": WEAK}, FAILED),
    ({"If-Match": TAG}, FAILED),
    ({"If-Match": "*"}, WHOLE),
    ({"If-None-Match": WEAK}, NOT_MODIFIED),
    ({"If-None-Match": TAG}, NOT_MODIFIED),
    ({"If-Range": WEAK, "Range": "bytes=0-4"}, WHOLE),
    ({"If-Range": TAG, "Range": "bytes=0-4"}, WHOLE),
    ({"If-Range": SAME, "Range": "bytes=0-4"}, WHOLE),
    ({"If-Modified-Since": SAME}, NOT_MODIFIED),
]


class RangeTests(SynchronousTestCase):
    """``Range`` alone."""

    def test_table(self):
        """
        The requested range is sent; a malformed one is ignored, and one beyond the end is a 416.
        """
        for value, expected in RANGES:
            for method in (b"GET", b"HEAD"):
                self.assertEqual(ask({"Range": value}, method=method), expected, value[:80])

    def test_other_methods(self):
        """``Range`` is ignored for methods other than ``GET`` and ``HEAD`` (RFC 9110, 14.2)."""
        for method in (b"POST", b"PUT", b"DELETE", b"get"):
            self.assertEqual(ask({"Range": "bytes=0-4"}, method=method), WHOLE)

    def test_empty_file(self):
        """A range of an empty file is a 416; a suffix of at least one byte is ignored."""
        whole = Decision(200, 0, 0)
        unsatisfiable = Decision(416, 0, 0, ((b"Content-Range", b"bytes */0"),))
        for value, expected in [
            ("bytes=0-", unsatisfiable),
            ("bytes=0-0", unsatisfiable),
            ("bytes=0-4", unsatisfiable),
            ("bytes=1-", unsatisfiable),
            ("bytes=-0", unsatisfiable),
            ("bytes=-5", whole),
            ("bytes=-" + "9" * 30, whole),
            ("bytes=-", whole),
            ("bytes=4-0", whole),
        ]:
            self.assertEqual(ask({"Range": value}, EMPTY), expected, value)

    def test_large_file(self):
        """Offsets beyond 32 or 53 bits are exact."""
        size = 2**63 - 1
        facts = FACTS._replace(size=size)
        for value, first, last in [
            ("bytes=4294967296-4294967297", 2**32, 2**32 + 1),
            ("bytes=9007199254740993-9007199254740993", 2**53 + 1, 2**53 + 1),
            ("bytes=9223372036854775806-", size - 1, size - 1),
            ("bytes=-1", size - 1, size - 1),
            ("bytes=0-", 0, size - 1),
            ("bytes=1-9223372036854775807", 1, size - 1),
        ]:
            self.assertEqual(ask({"Range": value}, facts), partial(first, last, size), value)

    @given(
        st.one_of(
            st.text("0123456789-, =").map(lambda text: "bytes=" + text),
            st.from_regex(r"bytes=[ ,\t]{0,2}[0-9]{0,3}-[0-9]{0,3}[ ,\t]{0,2}", fullmatch=True),
        ),
        st.integers(0, 200),
    )
    @example("bytes=-0", 0)
    def test_like_the_rules(self, value: str, size: int):
        """The decision agrees with RFC 9110 applied naively to a list of all offsets."""
        offsets = list(range(size))
        ranges = [r.strip(" \t") for r in value[6:].split(",") if r.strip(" \t")]
        found = re.fullmatch("(\\d*)-(\\d*)", ranges[0]) if len(ranges) == 1 else None
        selected: list[int] | None = None
        if found and found[1] and not (found[2] and int(found[2]) < int(found[1])):
            end = int(found[2]) + 1 if found[2] else size
            selected = offsets[int(found[1]) : end]
        elif found and not found[1] and found[2]:
            selected = offsets[-int(found[2]) :] if int(found[2]) else []
            if not size and int(found[2]):
                selected = None
        decision = ask({"Range": value}, FACTS._replace(size=size))
        if selected is None:
            self.assertEqual(decision.status, 200)
            self.assertEqual((decision.first, decision.length), (0, size))
        elif not selected:
            self.assertEqual(decision.status, 416)
            self.assertEqual(decision.headers, ((b"Content-Range", b"bytes */%d" % size),))
        else:
            self.assertEqual(decision, partial(selected[0], selected[-1], size))


class ConditionTests(SynchronousTestCase):
    """Preconditions, alone and with ``Range`` (RFC 9110, 13.2.2)."""

    def test_settled(self):
        """Each condition is evaluated correctly and in the order of RFC 9110."""
        for fields, expected in CONDITIONS:
            for method in (b"GET", b"HEAD"):
                self.assertEqual(ask(fields, method=method), expected, fields)

    def test_fresh(self):
        """
        A file that may change again within its timestamp has a weak tag, which fails strong
        comparisons.
        """
        for fields, expected in FRESH_CONDITIONS:
            self.assertEqual(ask(fields, now_ns=FRESH), expected, fields)

    def test_other_methods(self):
        """
        For other methods ``If-None-Match`` fails with 412 and ``If-Modified-Since`` is ignored.
        """
        table: list[tuple[Fields, Decision]] = [
            ({"If-None-Match": TAG}, FAILED),
            ({"If-None-Match": "*"}, FAILED),
            ({"If-None-Match": '"other"'}, WHOLE),
            ({"If-Modified-Since": SAME}, WHOLE),
            ({"If-Match": '"other"'}, FAILED),
            ({"If-Unmodified-Since": EARLIER}, FAILED),
        ]
        for fields, expected in table:
            self.assertEqual(ask(fields, method=b"PUT"), expected, fields)

    def test_headers_of_twisted(self):
        """The headers of a request in Twisted are understood."""
        headers = Headers({"RANGE": ["bytes=0-4"], "if-range": [TAG.decode()]})
        self.assertEqual(decide(b"GET", headers, FACTS, SETTLED), FIRST_FIVE)

    def test_modified_in_the_future(self):
        """
        The date of a file from the future is now: it counts as modified, and is no strong
        validator.
        """
        facts = FACTS._replace(mtime_ns=SETTLED + 3600 * SECOND)
        now = format_http_date(SETTLED // SECOND)
        self.assertEqual(last_modified(facts, SETTLED), now)
        self.assertEqual(ask({"If-Modified-Since": SAME}, facts), WHOLE)
        self.assertEqual(ask({"If-Unmodified-Since": SAME}, facts), FAILED)
        self.assertEqual(ask({"If-Range": now, "Range": "bytes=0-4"}, facts), WHOLE)

    def test_the_date_of_a_range_has_to_be_settled(self):
        """A date in ``If-Range`` is a strong validator only from one second after the change."""
        fields: Fields = {"If-Range": SAME, "Range": "bytes=0-4"}
        self.assertEqual(ask(fields, now_ns=MODIFIED + SECOND - 1), WHOLE)
        self.assertEqual(ask(fields, now_ns=MODIFIED + SECOND), FIRST_FIVE)


values = st.one_of(
    st.binary(),
    st.text('W/"*,abc \t').map(str.encode),
    st.sampled_from([TAG, WEAK, b"W/" + TAG, b"*", b'"other"', SAME, EARLIER, LATER]),
    st.sampled_from([value.encode("latin-1") for value, _ in RANGES if len(value) < 100]),
)
requests = st.dictionaries(
    st.sampled_from(
        [
            "Range",
            "If-Range",
            "If-Match",
            "If-None-Match",
            "If-Modified-Since",
            "If-Unmodified-Since",
        ]
    ),
    st.lists(values, min_size=1, max_size=3),
)
times = st.integers(-(2**63), 2**63 - 1)


class DecisionTests(SynchronousTestCase):
    """Properties of the decision for every request and every file."""

    @given(
        requests,
        st.builds(
            FileFacts, st.integers(0), st.integers(0), st.integers(0, 2**63 - 1), times, times
        ),
        st.integers(0, 2**62),
        st.sampled_from([b"GET", b"HEAD"]),
    )
    def test_within_the_file(self, fields: Fields, facts: FileFacts, now_ns: int, method: bytes):
        """Every decision is within the file, and its ``Content-Range`` matches it."""
        decision = ask(fields, facts, now_ns, method)
        self.assertIn(decision.status, (200, 206, 304, 412, 416))
        self.assertLessEqual(0, decision.first)
        self.assertLessEqual(decision.first + decision.length, facts.size)
        extent = dict(decision.headers).get(b"Content-Range")
        if decision.status == 206:
            self.assertGreater(decision.length, 0)
            last = decision.first + decision.length - 1
            self.assertEqual(extent, b"bytes %d-%d/%d" % (decision.first, last, facts.size))
        elif decision.status == 416:
            self.assertEqual((decision.length, extent), (0, b"bytes */%d" % facts.size))
        else:
            full = facts.size if decision.status == 200 else 0
            self.assertEqual((decision.first, decision.length, extent), (0, full, None))

    @given(requests, st.integers(0, 2 * SECOND))
    def test_a_part_only_of_what_the_client_has(self, fields: Fields, age: int):
        """With ``If-Range`` a part is sent only of the version that the client has."""
        now_ns = MODIFIED + age
        decision = ask(fields, now_ns=now_ns)
        if decision.status == 206 and "If-Range" in fields:
            self.assertGreaterEqual(age, SECOND)
            validators = [v.strip(b" \t") for v in fields["If-Range"] if isinstance(v, bytes)]
            self.assertIn(validators, ([TAG], [SAME]))


class ValidatorTests(SynchronousTestCase):
    """`etag` and `last_modified`."""

    def test_form(self):
        """The tag has the form of an entity tag (RFC 9110, 8.8.3)."""
        self.assertTrue(re.fullmatch(rb'"[0-9a-f]{32}"', TAG), TAG)
        self.assertEqual(WEAK, b"W/" + TAG)

    def test_weak_while_fresh(self):
        """
        A tag is weak until one second after the last change, since the file may change without
        changing it.
        """
        for age, weak in [
            (0, True),
            (SECOND - 1, True),
            (SECOND, False),
            (SECOND + 1, False),
            (-1, True),
            (-3600 * SECOND, True),
        ]:
            self.assertEqual(etag(FACTS, MODIFIED + age).startswith(b"W/"), weak, age)

    def test_every_fact_counts(self):
        """The tags of two versions or two files differ."""
        others = [
            FACTS._replace(device=1),
            FACTS._replace(inode=1),
            FACTS._replace(size=12),
            FACTS._replace(mtime_ns=MODIFIED + 1),
            FACTS._replace(ctime_ns=MODIFIED + 1),
            FACTS._replace(mtime_ns=MODIFIED + 1, ctime_ns=MODIFIED - 1),
            FACTS._replace(device=FACTS.inode, inode=FACTS.device),
            FACTS._replace(device=647691, inode=234567),
        ]
        self.assertEqual(len({TAG, *(etag(facts, SETTLED) for facts in others)}), len(others) + 1)

    def test_the_same_every_time(self):
        """The tag of an unchanged file does not change."""
        self.assertEqual(etag(FACTS._replace(), SETTLED + SECOND), TAG)
        self.assertEqual(TAG, b'"75a8b27a4985082e7e58e5970b949bef"')

    def test_the_inode_is_not_told(self):
        """The tag does not show the numbers from which it is computed."""
        for number in (FACTS.inode, FACTS.device, FACTS.mtime_ns):
            self.assertNotIn(b"%d" % number, TAG)
            self.assertNotIn(b"%x" % number, TAG)

    def test_last_modified(self):
        """``Last-Modified`` is rounded down and never in the future."""
        self.assertEqual(last_modified(FACTS, SETTLED), SAME)
        self.assertEqual(last_modified(FACTS, MODIFIED), SAME)
        self.assertEqual(last_modified(FACTS, MODIFIED - SECOND), EARLIER)
        before = FACTS._replace(mtime_ns=-1)
        self.assertEqual(last_modified(before, SETTLED), b"Wed, 31 Dec 1969 23:59:59 GMT")
