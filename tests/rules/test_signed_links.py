"""
Signed links: vectors that were computed without this code, and properties.
"""

from __future__ import annotations

import hmac
import json
import os
import re
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import ChatfilesError, Forbidden
from chatfiles.rules.signed_links import (
    LinkOperation,
    PresentedLink,
    SignedLink,
    check_signature,
    check_times,
    join_options,
    link_target,
    message,
    parse_link,
    signature,
    split_options,
)

VECTORS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "vectors", "links.json")
ID = UUID("3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d")
KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
NOW = 1_796_000_000
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

seconds = st.integers(0, 10**12 - 1).map(lambda number: b"%d" % number)
links = st.builds(
    SignedLink,
    st.sampled_from(LinkOperation),
    st.uuids(),
    st.binary(max_size=40),
    st.binary(max_size=20),
    st.binary(max_size=20),
    seconds,
    seconds,
)


def rows() -> list[dict[str, Any]]:
    with open(VECTORS, encoding="utf-8") as file:
        found: list[dict[str, Any]] = json.load(file)["rows"]
    return found


def link(**given: Any) -> SignedLink:
    values: dict[str, Any] = {
        "operation": LinkOperation.FILE,
        "workspace_id": ID,
        "path": b"/workspace/a b.txt",
        "options": b"",
        "token_id": b"8a6f2f0e-0c1b-4d2a-9d8e-5b7c1f2a3e4d",
        "issued": b"%d" % NOW,
        "expires": b"%d" % (NOW + 3600),
    }
    return SignedLink(**values | given)


def query_of(target: str) -> bytes:
    return target.partition("?")[2].encode("ascii")


class VectorTests(SynchronousTestCase):
    """``tests/vectors/links.json``."""

    def test_vectors(self) -> None:
        """Each row has its message and signature, and is valid with its key."""
        self.assertGreaterEqual(len(rows()), 12)
        for row in rows():
            key, query = bytes.fromhex(row["key_hex"]), row["query"].encode("ascii")
            presented = parse_link(LinkOperation(row["operation"]), query)
            self.assertEqual(message(presented.link).hex(), row["message_hex"], row["id"])
            self.assertEqual(signature(presented.link, key).decode(), row["s"], row["id"])
            self.assertEqual(presented.link.path.hex(), row["p_hex"], row["id"])
            checked = check_signature(presented, key)
            check_times(checked, int(row["i"]))
            self.assertIs(checked, presented.link)

    def test_targets(self) -> None:
        """A link that is made of the values of a row presents the same link."""
        for row in rows():
            operation = LinkOperation(row["operation"])
            presented = parse_link(operation, row["query"].encode("ascii"))
            target = link_target(presented.link, row["k"], bytes.fromhex(row["key_hex"]))
            self.assertEqual(target.partition("?")[0], f"/links/{operation}")
            self.assertEqual(parse_link(operation, query_of(target)), presented)


class ParseTests(SynchronousTestCase):
    """Which queries present a link."""

    def assert_refused(self, query: bytes) -> None:
        with self.assertRaises(ChatfilesError) as caught:
            parse_link(LinkOperation.FILE, query)
        error = caught.exception
        told = (error.status, error.code, error.text)
        self.assertEqual(told, (400, "malformed_link", "malformed link"), query)

    def test_each_parameter_once(self) -> None:
        """A parameter that is missing or repeated makes a link malformed."""
        query = query_of(link_target(link(), "5eed0001", KEY))
        pairs = query.split(b"&")
        self.assertEqual(len(pairs), 8)
        for pair in pairs:
            self.assert_refused(b"&".join(each for each in pairs if each != pair))
            self.assert_refused(query + b"&" + pair)
            name = pair.partition(b"=")[0]
            self.assert_refused(query + b"&%%%x=x" % name[0])
        self.assert_refused(b"")

    def test_forms(self) -> None:
        """Ids, times and signatures have one form."""
        for name, values in {
            b"w": (b"", b"x", ID.hex.encode(), b"{%b}" % str(ID).encode(), str(ID).encode() + b"0"),
            b"i": (b"", b"-1", b"1.0", b"0x10", b"%2B1", b"1%20", b"1" * 13, b"%D9%A1"),
            b"e": (b"", b"-1", b"1e3", b"+1", b"never", b"1" * 13, b"%D9%A1"),
            b"s": (b"", b"A" * 42, b"A" * 44, b"A" * 43 + b"%3D", b"A" * 42 + b"%2B"),
        }.items():
            query = query_of(link_target(link(), "5eed0001", KEY))
            for value in values:
                changed = re.sub(rb"(?<![^&])%b=[^&]*" % name, b"%b=%b" % (name, value), query)
                self.assertNotEqual(changed, query)
                self.assert_refused(changed)

    def test_last_character(self) -> None:
        """A signature has one spelling: of 64 last characters, 16 are valid."""
        query = query_of(link_target(link(), "5eed0001", KEY))
        accepted = []
        for character in BASE64URL:
            try:
                parse_link(LinkOperation.FILE, query[:-1] + character.encode())
            except ChatfilesError:
                continue
            accepted.append(character)
        self.assertEqual("".join(accepted), "AEIMQUYcgkosw048")

    def test_more_parameters(self) -> None:
        """Other parameters are ignored."""
        query = query_of(link_target(link(), "5eed0001", KEY))
        plain = parse_link(LinkOperation.FILE, query)
        more = b"disposition=inline&" + query + b"&utm_source=mail&path=%2Fetc"
        self.assertEqual(parse_link(LinkOperation.FILE, more), plain)

    def test_upper_case_id(self) -> None:
        """The id of the workspace is signed in lower case."""
        query = query_of(link_target(link(), "5eed0001", KEY))
        upper = query.replace(str(ID).encode(), str(ID).upper().encode())
        self.assertNotEqual(upper, query)
        self.assertEqual(
            parse_link(LinkOperation.FILE, upper), parse_link(LinkOperation.FILE, query)
        )


class CheckTests(SynchronousTestCase):
    """Which links are valid."""

    def presented(self, **given: Any) -> PresentedLink:
        target = link_target(link(**given), "5eed0001", KEY)
        return parse_link(LinkOperation.FILE, query_of(target))

    def code_of(self, presented: PresentedLink, key: bytes | None = KEY, now: float = NOW) -> str:
        try:
            check_times(check_signature(presented, key), now)
        except ChatfilesError as error:
            self.assertEqual(error.status, 403)
            return error.code
        return ""

    def test_times(self) -> None:
        """There is no grace after expiry, and a small one for the clock of the maker."""
        for now, code in (
            (NOW, ""),
            (NOW + 3599.999, ""),
            (NOW + 3600, "link_expired"),
            (NOW + 10**6, "link_expired"),
            (NOW - 300, ""),
            (NOW - 300.001, "invalid_link"),
        ):
            self.assertEqual(self.code_of(self.presented(), now=now), code, now)

    def test_many_revocations(self) -> None:
        """Revocations may move new links ahead of the clock; nothing else may."""
        checked = check_signature(self.presented(), KEY)
        early = NOW - 1000
        check_times(checked, early, NOW)
        for not_before in (0, early, NOW - 1):
            with self.assertRaises(Forbidden) as caught:
                check_times(checked, early, not_before)
            self.assertEqual(caught.exception.code, "invalid_link")

    def test_keys(self) -> None:
        """Another key, or none, makes a link invalid, also one that has expired."""
        for key in (OTHER_KEY, None):
            for now in (NOW, NOW + 10**6):
                self.assertEqual(self.code_of(self.presented(), key, now), "invalid_link")

    def test_no_key_is_no_key(self) -> None:
        """A link that is signed with the stand-in for an unknown key is invalid."""
        target = link_target(link(), "5eed0001", bytes(32))
        presented = parse_link(LinkOperation.FILE, query_of(target))
        self.assertEqual(self.code_of(presented, bytes(32)), "")
        self.assertEqual(self.code_of(presented, None), "invalid_link")

    def test_same_work(self) -> None:
        """For an unknown key the same is computed and compared as for a known one."""
        work = []
        compare, digest = hmac.compare_digest, hmac.digest

        def compared(*values: bytes) -> bool:
            work.append([len(value) for value in values])
            return compare(*values)

        def digested(key: bytes, text: bytes, method: Any) -> bytes:
            work.append([len(key), len(text)])
            return digest(key, text, method)

        self.patch(hmac, "compare_digest", compared)
        self.patch(hmac, "digest", digested)
        for key in (OTHER_KEY, None):
            presented = self.presented()
            work.clear()
            self.code_of(presented, key)
            self.assertEqual(work, [[32, len(message(presented.link))], [43, 43]])

    @given(links, links)
    def test_distinct(self, one: SignedLink, other: SignedLink) -> None:
        """Two links have the same message only if they are equal."""
        self.assertEqual(message(one) == message(other), one == other)

    @given(links, st.data())
    def test_bytes_move(self, one: SignedLink, data: st.DataObject) -> None:
        """Bytes that move from one value to the next change the message."""
        joined = one.path + one.options
        at = data.draw(st.integers(0, len(joined)))
        values = {"path": joined[:at], "options": joined[at:]}
        moved = link(**values)
        self.assertEqual(
            message(moved) == message(link(path=one.path, options=one.options)),
            at == len(one.path),
        )

    @given(links)
    def test_round_trip(self, made: SignedLink) -> None:
        """A URL has one line of ASCII, and presents what was signed."""
        target = link_target(made, "5eed0001", KEY)
        self.assertRegex(target, r"\A/links/[a-z]+\?[A-Za-z0-9._~/%&=-]+\Z")
        presented = parse_link(made.operation, query_of(target))
        self.assertEqual(presented.link, made)
        self.assertEqual(presented.key_id, b"5eed0001")

    @given(links, st.sampled_from([quote, quote_plus]), st.sampled_from(["", "/~"]))
    def test_spellings(self, made: SignedLink, spell: Any, safe: str) -> None:
        """Programs on the way may escape other characters, or write ``+`` for a space."""
        target = link_target(made, "5eed0001", KEY)
        pairs = [pair.partition(b"=") for pair in query_of(target).split(b"&")]
        path = spell(made.path, safe=safe).encode("ascii")
        changed = b"&".join(
            name + b"=" + (path if name == b"p" else value) for name, _, value in pairs
        )
        presented = parse_link(made.operation, changed)
        self.assertEqual(presented, parse_link(made.operation, query_of(target)))

    @given(links, st.sampled_from(LinkOperation))
    def test_operation(self, made: SignedLink, operation: LinkOperation) -> None:
        """A link opens no other route than its own."""
        presented = parse_link(operation, query_of(link_target(made, "5eed0001", KEY)))
        expected = "" if operation is made.operation else "invalid_link"
        now = max(0, int(made.issued))
        valid = int(made.expires) > now
        self.assertEqual(
            self.code_of(presented, now=now),
            expected or ("" if valid else "link_expired"),
        )


class OptionsTests(SynchronousTestCase):
    """The options of a link."""

    def test_options(self) -> None:
        """They are joined in the order of their keys."""
        for options, text in (
            ({}, b""),
            ({"d": "inline"}, b"d=inline"),
            ({"v": "a=1", "d": "inline"}, b"d=inline;v=a=1"),
            ({"mf": "3", "mb": "1048576"}, b"mb=1048576;mf=3"),
        ):
            self.assertEqual(join_options(options), text)
            self.assertEqual(split_options(text), options)
