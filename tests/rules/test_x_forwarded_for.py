"""
The client's address behind a chain of proxies.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.x_forwarded_for import MAX_HOPS, TrustedProxies, parse_hop

#: Two tiers of proxies, an IPv6 network, and proxies on the machine itself.
TRUSTED = TrustedProxies.parse(["10.0.0.0/24", "10.1.0.1", "fd00:77::/32", "unix"])

#: The peer, the lines of the header, the client.
WALKS: list[tuple[str | None, Sequence[bytes], str]] = [
    # an untrusted peer
    ("203.0.113.9", [], "203.0.113.9"),
    ("203.0.113.9", [b"192.0.2.1"], "203.0.113.9"),
    ("203.0.113.9", [b"10.0.0.1"], "203.0.113.9"),
    ("10.0.1.1", [b"192.0.2.1"], "10.0.1.1"),
    ("2001:db8::9", [b"192.0.2.1"], "2001:db8::9"),
    # one proxy
    ("10.0.0.5", [b"192.0.2.1"], "192.0.2.1"),
    ("10.1.0.1", [b"192.0.2.1"], "192.0.2.1"),
    ("10.0.0.5", [b"2001:DB8::0001"], "2001:db8::1"),
    ("fd00:77::5", [b"192.0.2.1"], "192.0.2.1"),
    ("10.0.0.5", [b" \t192.0.2.1\t "], "192.0.2.1"),
    ("10.0.0.5", [b"192.0.2.1:4711"], "192.0.2.1"),
    ("10.0.0.5", [b"[2001:db8::1]:4711"], "2001:db8::1"),
    ("10.0.0.5", [b"[2001:db8::1]"], "2001:db8::1"),
    # what the client sent is before what the proxy appended
    ("10.0.0.5", [b"198.51.100.1, 192.0.2.1"], "192.0.2.1"),
    ("10.0.0.5", [b"10.0.0.1, 192.0.2.1"], "192.0.2.1"),
    ("10.0.0.5", [b"<script>, 192.0.2.1"], "192.0.2.1"),
    ("10.0.0.5", [b"198.51.100.1", b"192.0.2.1"], "192.0.2.1"),
    ("10.0.0.5", [b"192.0.2.1", b"198.51.100.1"], "198.51.100.1"),
    ("10.0.0.5", [b"a", b"b, c", b"d,192.0.2.1"], "192.0.2.1"),
    # several proxies
    ("10.0.0.5", [b"198.51.100.1, 192.0.2.1, 10.1.0.1"], "192.0.2.1"),
    ("10.0.0.5", [b"192.0.2.1", b"fd00:77::1", b"10.0.0.6, 10.0.0.7"], "192.0.2.1"),
    # a socket for both families
    ("::ffff:10.0.0.5", [b"192.0.2.1"], "192.0.2.1"),
    ("::ffff:203.0.113.9", [b"192.0.2.1"], "203.0.113.9"),
    ("10.0.0.5", [b"192.0.2.1, ::ffff:10.0.0.6"], "192.0.2.1"),
    ("10.0.0.5", [b"::ffff:192.0.2.1"], "192.0.2.1"),
    # clients at trusted addresses: the first entry
    ("10.0.0.5", [], "10.0.0.5"),
    ("10.0.0.5", [b"10.0.0.9"], "10.0.0.9"),
    ("10.0.0.5", [b"10.0.0.9, 10.0.0.8"], "10.0.0.9"),
    # an entry that cannot be parsed ends the walk
    ("10.0.0.5", [b""], "10.0.0.5"),
    ("10.0.0.5", [b"192.0.2.1,"], "10.0.0.5"),
    ("10.0.0.5", [b"192.0.2.1", b""], "10.0.0.5"),
    ("10.0.0.5", [b"192.0.2.1, unknown"], "10.0.0.5"),
    ("10.0.0.5", [b"192.0.2.1, _hidden, 10.0.0.6"], "10.0.0.6"),
    ("10.0.0.5", [b"192.0.2.1;10.0.0.6"], "10.0.0.5"),
    # peers without an address
    (None, [b"192.0.2.1"], "192.0.2.1"),
    (None, [b"198.51.100.1, 192.0.2.1, 10.0.0.6"], "192.0.2.1"),
    (None, [], "-"),
    (None, [b"unknown"], "-"),
]

#: Entries that are not an address, or not one that may be logged.
NO_HOPS = [
    *b"""
    1 1.2.3 1.2.3.4.5 01.2.3.4 1.2.3.256 1.2.3.4: 1.2.3.4:123456 1.2.3.4/32 1.2.3.4:x ::: :1 g::1
    fe80::1%eth0 fe80::1%25eth0 [fe80::1%eth0] [::1 ::1] [::1]x [1.2.3.4] [1.2.3.4]:80 [] "1.2.3.4"
    for=1.2.3.4 localhost 0x7f.0.0.1 2130706433 1.2.3.4%0a ::ffff:1.2.3 1.2.3.4.
    1:2:3:4:5:6:7:8:9 1.2.3.\xb2 \xff -
    """.split(),
    *(b"", b" ", b"1.2.3.4 5.6.7.8", b"1.2.3.4\x0b", b"\xc2\xa01.2.3.4", b"1" * 5000),
]

addresses = st.ip_addresses()
texts = st.one_of(
    addresses.map(lambda address: str(address).encode()),
    st.binary(max_size=20).filter(lambda text: b"\n" not in text),
    st.sampled_from([b"10.0.0.7", b"fd00:77::9", b"unknown", b"", b"fe80::1%a b"]),
)


class WalkTests(SynchronousTestCase):
    """From the connection's peer back to the client."""

    def test_table(self) -> None:
        """
        The client is the last address that is not a trusted proxy; entries before it are ignored.
        """
        for peer, lines, client in WALKS:
            self.assertEqual(TRUSTED.client_address(peer, lines), client, (peer, lines))

    def test_nobody_is_trusted(self) -> None:
        """
        Without the option the header is ignored, so that clients cannot choose the address in the
        log.
        """
        nobody = TrustedProxies.parse([])
        for peer, lines, _ in WALKS:
            told = "-" if peer is None else peer.removeprefix("::ffff:")
            self.assertEqual(nobody.client_address(peer, lines), told)

    def test_unix_has_to_be_said(self) -> None:
        """Peers on Unix sockets are trusted only with ``unix``, not with any network."""
        networks = TrustedProxies.parse(["0.0.0.0/0", "::/0"])
        self.assertEqual(networks.client_address(None, [b"192.0.2.1"]), "-")
        only_unix = TrustedProxies.parse(["unix"])
        self.assertEqual(only_unix.client_address("10.0.0.5", [b"192.0.2.1"]), "10.0.0.5")

    def test_trusts(self) -> None:
        """Exactly the peers in the networks of the option are trusted proxies."""
        for peer in ("10.0.0.5", "::ffff:10.1.0.1", "fd00:77::1", None):
            self.assertTrue(TRUSTED.trusts(peer), peer)
        for peer in ("10.0.1.5", "fd00:78::1", "::1", ""):
            self.assertFalse(TRUSTED.trusts(peer), peer)
        self.assertFalse(TrustedProxies().trusts("10.0.0.5") or TrustedProxies().trusts(None))

    def test_bounded(self) -> None:
        """At most `MAX_HOPS` entries are read."""
        lines = [b"192.0.2.1" + b",10.0.0.1" * 1000 + b",10.0.0.2" * (MAX_HOPS - 1)]
        self.assertEqual(TRUSTED.client_address("10.0.0.5", lines), "10.0.0.1")
        within = [b"192.0.2.1" + b",10.0.0.1" * (MAX_HOPS - 1)]
        self.assertEqual(TRUSTED.client_address("10.0.0.5", within), "192.0.2.1")

    def test_wrong_networks(self) -> None:
        """An invalid network is an error that names it."""
        for text in (
            "10.0.0.1/8",
            "proxy.example.com",
            "Unix",
            "",
            "10.0.0.0/33",
            "fe80::1%eth0/64",
        ):
            with self.assertRaises(ValueError) as caught:
                TrustedProxies.parse(["10.0.0.0/8", text])
            self.assertIn(text, str(caught.exception))


class HopTests(SynchronousTestCase):
    """One entry of the list."""

    def test_none(self) -> None:
        """An entry that is not an address is not trusted and not logged."""
        for entry in NO_HOPS:
            self.assertIsNone(parse_hop(entry), entry)


class PropertyTests(SynchronousTestCase):
    """Properties for every list."""

    @given(st.none() | addresses, st.lists(st.lists(texts).map(b",".join)))
    def test_always_an_address(self, peer: object, lines: list[bytes]) -> None:
        """The result is an address or ``-``, never text of a client."""
        client = TRUSTED.client_address(None if peer is None else str(peer), lines)
        if client != "-":
            self.assertEqual(str(ip_address(client)), client)
            self.assertNotIn("%", client)

    @given(st.lists(st.lists(texts).map(b",".join)), addresses)
    def test_what_the_client_says_does_not_matter(self, lines: list[bytes], client: object) -> None:
        """What a client sends in the header does not change its address, in however many lines."""
        told = TrustedProxies.parse(["10.0.0.0/24"])
        if str(client).startswith("10.0.0."):
            return
        own = str(client).encode()
        expected = told.client_address("10.0.0.5", [own])
        appended = [*lines[:-1], b", ".join([*lines[-1:], own])]
        for seen in (appended, [*lines, own]):
            self.assertEqual(told.client_address("10.0.0.5", seen), expected)

    @given(st.lists(texts), st.integers(0, 10))
    def test_lines_do_not_matter(self, entries: list[bytes], at: int) -> None:
        """
        A list in one line and the same list in several lines have the same result (RFC 9110, 5.3).
        """
        at = min(at, len(entries))
        halves = [b",".join(half) for half in (entries[:at], entries[at:]) if half]
        whole = [b",".join(entries)] if entries else []
        self.assertEqual(
            TRUSTED.client_address("10.0.0.5", halves), TRUSTED.client_address("10.0.0.5", whole)
        )

    @given(addresses)
    def test_addresses_are_read(self, address: object) -> None:
        """Any address is parsed, with or without a port."""
        plain = getattr(address, "ipv4_mapped", None) or address
        text = str(address).encode()
        forms = [text, b"[%b]:443" % text if b":" in text else text + b":443"]
        for form in forms:
            self.assertEqual(parse_hop(form), plain)
