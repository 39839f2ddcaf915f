"""
Tests for `chatfiles.rules.upload_metadata`.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import BadRequest
from chatfiles.rules.upload_metadata import (
    MAX_METADATA,
    encode_metadata,
    is_metadata,
    parse_metadata,
)

KEYS = st.text("".join(map(chr, range(0x21, 0x7F))).replace(",", ""), min_size=1, max_size=20)


class MetadataTests(SynchronousTestCase):
    """``Upload-Metadata``."""

    @given(st.dictionaries(KEYS.filter(lambda key: key != "sha256"), st.binary(max_size=40)))
    def test_round_trip(self, values: dict[str, bytes]) -> None:
        """What is encoded is read again, in its order."""
        given_values = {key.encode(): value for key, value in values.items()}
        encoded = encode_metadata(given_values.items())
        if len(encoded) <= MAX_METADATA:
            self.assertEqual(parse_metadata([encoded]).values, given_values)

    @given(st.binary(max_size=60))
    def test_any_bytes(self, value: bytes) -> None:
        """Whatever is sent is read or refused, and never copied as it is."""
        if is_metadata(value):
            encoded = encode_metadata(parse_metadata([value]).values.items())
            self.assertTrue(encoded.isascii())
            self.assertNotIn(b"\n", encoded)
        else:
            with self.assertRaises(BadRequest) as caught:
                parse_metadata([value])
            self.assertEqual(caught.exception.code, "invalid_metadata")

    def test_table(self) -> None:
        """Values, and what is malformed."""
        for lines, expected in (
            ([], {}),
            ([b""], {}),
            ([b"a"], {b"a": b""}),
            ([b"a "], {b"a": b""}),
            ([b"a,b eA=="], {b"a": b"", b"b": b"x"}),
            ([b"a", b"b"], {b"a": b"", b"b": b""}),
            ([b" a eA== , b "], {b"a": b"x", b"b": b""}),
        ):
            self.assertEqual(parse_metadata(lines).values, expected, lines)
        for value in (
            b",",
            b"a,,b",
            b"a,",
            b"a,a",
            b"a eA",
            b"a eA==x",
            b"a  eA==",
            b"a -_8=",
            b"\xe4",
            b"a\x00",
            b"sha256",
            b"sha256 eA==",
            b"a " + b"A" * MAX_METADATA,
        ):
            self.assertFalse(is_metadata(value), value)

    def test_known_keys(self) -> None:
        """The name, the media type and the digest of the file."""
        digest = b"aB" * 32
        metadata = parse_metadata([encode_metadata([(b"sha256", digest), (b"filename", b"\xff")])])
        self.assertEqual(metadata.sha256, b"\xab" * 32)
        self.assertEqual(metadata.filename, "�")
        self.assertEqual(metadata.media_type(b"a.txt"), "text/plain")
        for given_type, expected in (
            (b"Image/PNG; x=y", "image/png"),
            (b"a b/c", "text/plain"),
            (b"x\r\ny/z", "text/plain"),
        ):
            metadata = parse_metadata([encode_metadata([(b"filetype", given_type)])])
            self.assertEqual(metadata.media_type(b"a.txt"), expected)
        self.assertEqual(parse_metadata([]).sha256, None)
