"""
Tests for `chatfiles.rules.address_policy`.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.address_policy import AddressPolicy, parse_networks

STRICT = AddressPolicy()
EVERYTHING = AddressPolicy(parse_networks(["0.0.0.0/0", "::/0"]))

#: Public addresses, including the neighbours of every special range.
PUBLIC = """
    1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.1 126.255.255.255
    128.0.0.0 168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.1
    191.255.255.255 192.0.1.0 192.0.3.0 192.88.98.255 192.167.255.255 192.169.0.0 198.17.255.255
    198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255
    2000:: 2001:200:: 2001:db7:ffff::1 2001:db9::1 2003::1 2606:4700::1111 3ffe::1
"""

#: Refused unless allowed, each with a network that contains it.
SPECIAL = [
    ("0.0.0.1", "0.0.0.0/8"),
    ("0.255.255.255", "0.0.0.0/8"),
    ("10.0.0.1", "10.0.0.0/8"),
    ("10.255.255.255", "10.0.0.0/8"),
    ("100.64.0.1", "100.64.0.0/10"),
    ("100.100.100.200", "100.64.0.0/10"),
    ("100.127.255.255", "100.64.0.0/10"),
    ("127.0.0.1", "127.0.0.0/8"),
    ("127.255.255.254", "127.0.0.0/8"),
    ("168.63.129.16", "168.63.129.16/32"),
    ("172.16.0.1", "172.16.0.0/12"),
    ("172.31.255.255", "172.16.0.0/12"),
    ("192.0.0.192", "192.0.0.0/24"),
    ("192.0.2.1", "192.0.2.0/24"),
    ("192.88.99.1", "192.88.99.0/24"),
    ("192.168.1.1", "192.168.0.0/16"),
    ("198.18.0.1", "198.18.0.0/15"),
    ("198.19.255.255", "198.18.0.0/15"),
    ("198.51.100.1", "198.51.100.0/24"),
    ("203.0.113.1", "203.0.113.0/24"),
    ("240.0.0.1", "240.0.0.0/4"),
    ("255.255.255.254", "240.0.0.0/4"),
    ("::1", "::1/128"),
    ("::127.0.0.1", "::/96"),
    ("::8.8.8.8", "::/96"),
    ("::ffff:127.0.0.1", "::ffff:0:0/96"),
    ("::ffff:8.8.8.8", "::ffff:0:0/96"),
    ("::ffff:0:127.0.0.1", "::ffff:0:0:0/96"),
    ("64:ff9b::7f00:1", "64:ff9b::/96"),
    ("64:ff9b::808:808", "64:ff9b::/96"),
    ("64:ff9b:1::7f00:1", "64:ff9b:1::/48"),
    ("100::1", "100::/64"),
    ("100:0:0:1::1", "100::/32"),
    ("2001:0:7f00:1::", "2001::/32"),
    ("2001:2::1", "2001:2::/48"),
    ("2001:10::1", "2001:10::/28"),
    ("2001:20::1", "2001:20::/28"),
    ("2001:db8::1", "2001:db8::/32"),
    ("2002:7f00:1::", "2002::/16"),
    ("2002:808:808::", "2002::/16"),
    ("3fff::1", "3fff::/20"),
    ("4000::1", "4000::/3"),
    ("5f00::1", "5f00::/16"),
    ("fc00::1", "fc00::/7"),
    ("fd00:ec2::254", "fd00::/8"),
    ("fec0::1", "fec0::/10"),
]

#: Refused whatever is allowed, as they are and inside IPv6.
NEVER = """
    0.0.0.0 169.254.0.1 169.254.169.254 169.254.255.255 224.0.0.1 239.255.255.255 255.255.255.255
    :: fe80::1 febf::1 ff00:: ff02::1 ffff::
    ::169.254.169.254 ::ffff:169.254.169.254 ::ffff:224.0.0.1 ::ffff:0:a9fe:a9fe
    64:ff9b::a9fe:a9fe 64:ff9b::e000:1 64:ff9b:1::a9fe:a9fe 64:ff9b:1:a9fe:a9:fe00::
    2002:a9fe:a9fe:: 2002:e000:1:: 2001:0:a9fe:a9fe:: 2001:0:808:808::5601:5601
"""


class AddressPolicyTests(SynchronousTestCase):
    """The policy refuses addresses that are not public, except those that the operator allows."""

    def test_public(self):
        """A public address is allowed, even next to a special range."""
        for text in PUBLIC.split():
            self.assertIsNone(STRICT.refusal(ip_address(text)), text)

    def test_special(self):
        """A private or special address is refused, with a reason that names it."""
        for text, _ in SPECIAL:
            self.assertIn(str(ip_address(text)), STRICT.refusal(ip_address(text)) or "", text)

    def test_special_but_allowed(self):
        """The operator can allow a network, and only that network is allowed."""
        for text, network in SPECIAL:
            allowed = AddressPolicy(parse_networks([network]))
            self.assertIsNone(allowed.refusal(ip_address(text)), text)
            other = AddressPolicy(parse_networks(["192.168.77.0/24", "fd77::/16"]))
            self.assertIsNotNone(other.refusal(ip_address(text)), text)

    def test_never(self):
        """
        Link-local addresses (the metadata service), multicast and "this machine" are refused in any
        spelling, whatever is allowed.
        """
        for text in NEVER.split():
            self.assertIsNotNone(STRICT.refusal(ip_address(text)), text)
            self.assertIn("never allowed", EVERYTHING.refusal(ip_address(text)) or "", text)

    def test_zone(self):
        """An address with a zone, which selects an interface of this machine, is refused."""
        for text in ("fd00::1%eth0", "2606:4700::1111%1"):
            self.assertIn("zone", EVERYTHING.refusal(ip_address(text)) or "")

    def test_mapped_is_not_its_v4(self):
        """Allowing an IPv4 network does not allow the IPv6 spellings of it."""
        policy = AddressPolicy(parse_networks(["127.0.0.0/8"]))
        for text in ("::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"):
            self.assertIsNotNone(policy.refusal(ip_address(text)), text)
        mapped = AddressPolicy(parse_networks(["::ffff:127.0.0.0/104"]))
        self.assertIsNone(mapped.refusal(ip_address("::ffff:127.0.0.1")))
        self.assertIsNotNone(mapped.refusal(ip_address("127.0.0.1")))

    @given(st.ip_addresses())
    def test_agrees_with_the_library(self, address: IPv4Address | IPv6Address):
        """No address that is special in Python's own tables is public."""
        if STRICT.refusal(address) is None:
            self.assertTrue(address.is_global and not address.is_multicast, address)

    @given(
        st.ip_addresses(v=4, network="169.254.0.0/16") | st.ip_addresses(v=4, network="224.0.0.0/4")
    )
    def test_never_inside_ipv6(self, address: IPv4Address):
        """An address that is never allowed is refused in every IPv6 spelling of it."""
        number = int(address)
        nat64 = int(IPv6Address("64:ff9b:1::"))
        for outer in (
            number,
            0xFFFF << 32 | number,
            0xFFFF << 48 | number,
            int(IPv6Address("64:ff9b::")) | number,
            nat64 | 7 << 40 | number,
            nat64 | number >> 16 << 64 | (number & 0xFFFF) << 40,
            0x2002 << 112 | number << 80 | 5,
            0x2001 << 112 | number << 64,
            0x2001 << 112 | 9 << 64 | ~number & 0xFFFFFFFF,
        ):
            self.assertIn("never", EVERYTHING.refusal(IPv6Address(outer)) or "", IPv6Address(outer))


class ParseNetworksTests(SynchronousTestCase):
    """The option ``--upstream-allow``."""

    def test_good(self):
        """Networks of both families and single addresses are accepted."""
        self.assertEqual(
            parse_networks(["10.0.0.0/8", " fd00::/8 ", "192.0.2.7", "::1"]),
            tuple(map(ip_network, ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32", "::1/128"])),
        )
        self.assertEqual(parse_networks([]), ())

    def test_bits_behind_the_mask(self):
        """A network with host bits set is refused; the message suggests the network."""
        error = self.assertRaises(ValueError, parse_networks, ["::1/128", "10.1.2.3/8"])
        self.assertIn("did you mean 10.0.0.0/8?", str(error))

    def test_bad(self):
        """Text that is not a network is refused; the message names it."""
        for text in ("", "localhost", "10.0.0.0/33", "10.0.0/8x", "10.0.0.0/8,::1", "*"):
            error = self.assertRaises(ValueError, parse_networks, [text])
            self.assertIn(repr(text), str(error))
