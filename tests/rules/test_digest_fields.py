"""
The headers of digests, compared with an independent parser.
"""

from __future__ import annotations

import base64
import hashlib
import re

from http_sfv.dictionary import Dictionary
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.digest_fields import is_repr_digest, repr_digest, wants_sha256

DIGEST = hashlib.sha256(b"hello").digest()
B64 = base64.b64encode(DIGEST)
VALUE = b"sha-256=:%b:" % B64

#: Lines of Want-Repr-Digest, and whether the SHA-256 is wanted.
WANTS: list[tuple[list[bytes], bool]] = [
    ([b"sha-256=1"], True),
    ([b"sha-256=10"], True),
    ([b"sha-256=010"], True),
    ([b"sha-256=5;q=1; other"], True),
    ([b"sha-512=3, sha-256=10, unixsum=0"], True),
    ([b"sha-512=3,sha-256=10"], True),
    ([b"sha-512=3\t,\t sha-256=10"], True),
    ([b"sha-512=3", b"sha-256=10"], True),
    ([b'*=?1, a="\\"x\\\\", b=(1 a "s");c, d=1.5, e=:AA==:, f=t/k:n, g, sha-256=2'], True),
    ([b"a=(), sha-256=2"], True),
    ([b"a=( 1  2 ), sha-256=2"], True),
    # a repeated key: the last one counts
    ([b"sha-256=0, sha-256=1"], True),
    ([b"sha-256=1, sha-256=0"], False),
    ([b"sha-256=1", b"sha-256=0"], False),
    ([b"sha-256=1, sha-256"], False),
    # not wanted, or no weight
    ([], False),
    ([b""], False),
    ([b"sha-256=0"], False),
    ([b"sha-256=-0"], False),
    ([b"sha-256=-1"], False),
    ([b"sha-256=11"], False),
    ([b"sha-256=999999999999999"], False),
    ([b"sha-256=1.0"], False),
    ([b"sha-256"], False),
    ([b"sha-256=?1"], False),
    ([b'sha-256="1"'], False),
    ([b"sha-256=:AQ==:"], False),
    ([b"sha-256=(1)"], False),
    ([b"sha-512=10"], False),
    ([b"sha-2560=1"], False),
    ([b"x-sha-256=1"], False),
    # malformed
    ([b"SHA-256=1"], False),
    ([b"sha-256=1, Other=1"], False),
    ([b"sha-256=1,"], False),
    ([b"sha-256=1, "], False),
    ([b"sha-256=1", b""], False),
    ([b"", b"sha-256=1"], False),
    ([b",sha-256=1"], False),
    ([b"sha-256=1,,a"], False),
    ([b"sha-256=1;"], False),
    ([b"sha-256=1 a=2"], False),
    ([b"sha-256 =1"], False),
    ([b"sha-256= 1"], False),
    ([b"sha-256="], False),
    ([b"sha-256=+1"], False),
    ([b"sha-256=1234567890123456"], False),
    ([b"sha-256=1."], False),
    ([b"sha-256=1, a=1."], False),
    ([b"sha-256=1, a=1.2345"], False),
    ([b"sha-256=1, a=1234567890123.0"], False),
    ([b'sha-256=1, a="x'], False),
    ([b'sha-256=1, a="\\x"'], False),
    ([b"sha-256=1, a=(1"], False),
    ([b"sha-256=1, a=(1,2)"], False),
    ([b"sha-256=1, a=:A:"], False),
    ([b"sha-256=1, a=?2"], False),
    ([b"sha-256=1, a='x'"], False),
    ([b"sha-256=\xb2"], False),
    ([b"sha-256=1 "], True),
    ([b"\tsha-256=1"], False),
    ([b"1"], False),
]

#: Lines of Repr-Digest, and whether they are relayed.
DIGESTS: list[tuple[list[bytes], bool]] = [
    ([VALUE], True),
    ([VALUE + b";x=1"], True),
    ([b"sha-512=:AAAA:, " + VALUE], True),
    ([VALUE + b",a=1"], True),
    ([b"sha-256=1, " + VALUE], True),
    ([VALUE + b", sha-256=1"], False),
    ([], False),
    ([b""], False),
    ([VALUE, VALUE], False),
    ([VALUE, b""], False),
    ([VALUE + b","], False),
    ([VALUE + b", "], False),
    ([VALUE.upper()], False),
    ([b"sha-512=:%b:" % B64], False),
    ([b"sha-256=%b" % B64], False),
    ([b'sha-256="%b"' % B64], False),
    ([b"sha-256=:%b:" % B64.rstrip(b"=")], False),
    ([b"sha-256=:%b:" % B64.replace(b"/", b"_").replace(b"+", b"-")], False),
    ([b"sha-256=:%b:" % base64.b64encode(DIGEST[:31])], False),
    ([b"sha-256=:%b:" % base64.b64encode(DIGEST + b"x")], False),
    ([b"sha-256=:%b:" % DIGEST.hex().encode()], False),
    ([b"sha-256=::"], False),
    ([b"sha-256=(:%b:)" % B64], False),
    ([b"sha-256=: %b:" % B64], False),
    ([b"sha-256=:%b" % B64], False),
    ([VALUE + b"\xff"], False),
    ([b"SHA-256=" + B64], False),  # the obsolete Digest of RFC 3230
]

_keys = st.sampled_from(["sha-256", "sha-512", "a", "*b.c_d-e"])
_tokens = st.from_regex(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]{0,5}", fullmatch=True)
_strings = st.text("az \"\\'", max_size=4).map(lambda s: re.sub(r'(["\\])', r"\\\1", s))
_bare = st.one_of(
    st.integers(-1, 12).map(str),
    st.integers(-(10**15) + 1, 10**15 - 1).map(str),
    st.decimals(-1000, 1000, places=2).map(str),
    _strings.map('"{}"'.format),
    _tokens,
    st.binary(max_size=34).map(lambda b: f":{base64.b64encode(b).decode()}:"),
    st.sampled_from(["?0", "?1"]),
)
_parameters = st.lists(
    st.builds(
        "{}{}{}".format, st.sampled_from([";", "; "]), _keys, st.just("") | _bare.map("={}".format)
    ),
    max_size=2,
).map("".join)
_inner = st.lists(st.builds("{}{}".format, _bare, _parameters), max_size=2).map(
    lambda items: f"({'  '.join(items)})"
)
_members = st.builds(
    "{}{}{}".format, _keys, st.just("") | (_bare | _inner).map("={}".format), _parameters
)
_dictionaries = st.lists(_members, min_size=1, max_size=4).map(", ".join)


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    """:return: a dictionary with one character more, less, or another one."""
    text = draw(_dictionaries)
    at = draw(st.integers(0, len(text)))
    return (
        text[:at]
        + draw(st.text('sha-256=:,;()".?\\ \tA1', max_size=1))
        + text[at + draw(st.integers(0, 1)) :]
    )


def _parsed(text: str) -> Dictionary | None:
    parsed = Dictionary()
    try:
        parsed.parse(text.encode())
    except (ValueError, IndexError):
        return None
    return parsed


def _expected(text: str) -> tuple[bool, bool]:
    """:return: what `wants_sha256` and `is_repr_digest` should return, by the other parser."""
    parsed = _parsed(text)
    member = None if parsed is None else parsed.get("sha-256")
    value = getattr(member, "value", None)  # an inner list has none
    return (
        type(value) is int and 1 <= value <= 10,
        isinstance(value, bytes) and len(value) == 32,
    )


class DigestFieldTests(SynchronousTestCase):
    """`wants_sha256`, `is_repr_digest` and `repr_digest`."""

    def test_wants(self) -> None:
        """The table of requests."""
        for lines, expected in WANTS:
            self.assertEqual(wants_sha256(lines), expected, lines)

    def test_digests(self) -> None:
        """The table of responses."""
        for lines, expected in DIGESTS:
            self.assertEqual(is_repr_digest(lines), expected, lines)

    def test_tables(self) -> None:
        """The other parser agrees with the tables."""
        for lines, expected in WANTS:
            text = b", ".join(lines).decode("latin-1")
            if not re.search(r"1\.(,|\Z)", text):  # it takes "1." for a decimal
                self.assertEqual(_expected(text)[0], expected, lines)

    @given(_dictionaries)
    @example("sha-256=1;a, b=(1 2)")
    def test_other_parser(self, text: str) -> None:
        """Both parsers read every dictionary in the same way."""
        ours = wants_sha256([text.encode()]), is_repr_digest([text.encode()])
        self.assertIsNotNone(_parsed(text))
        self.assertEqual(ours, _expected(text))

    @given(_damaged())
    def test_damaged(self, text: str) -> None:
        """What the other parser refuses is ignored."""
        ours = wants_sha256([text.encode()]), is_repr_digest([text.encode()])
        expected = _expected(text)
        # It is more lenient than RFC 8941 about decimals and base64, and knows RFC 9651.
        self.assertTrue(
            all(theirs or not mine for mine, theirs in zip(ours, expected, strict=True))
        )

    @given(st.binary(min_size=32, max_size=32))
    def test_round_trip(self, digest: bytes) -> None:
        """What is sent is valid, and means the digest."""
        value = repr_digest(digest)
        self.assertTrue(is_repr_digest([value]))
        parsed = _parsed(value.decode())
        assert parsed is not None
        self.assertEqual(parsed["sha-256"].value, digest)

    def test_long(self) -> None:
        """The time is proportional to the length: a header of 16 KiB takes no longer than that."""
        for text in (
            b"a=(" * 5000,
            b"sha-256=1, " * 1400,
            b"a" + b";a" * 8000 + b"=",
            b'a="' + b"\\\\" * 8000,
        ):
            self.assertFalse(wants_sha256([text]))
