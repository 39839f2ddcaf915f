"""
Which clients share a limit.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.client_network import client_network


class ClientNetworkTests(SynchronousTestCase):
    """`client_network`."""

    def test_table(self) -> None:
        """An IPv4 address is a client; so are the first 64 bits of an IPv6 address."""
        for address, key in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.2", "192.0.2.2"),
            ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
            ("2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::/64"),
            ("2001:db8:0:2::1", "2001:db8:0:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("::1", "::/64"),
            ("-", "-"),
        ):
            self.assertEqual(client_network(address), key, address)
