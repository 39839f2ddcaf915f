"""Tests for `chatfiles.rules.node_address`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.node_address import endpoint_of_worker, parse_url, url_of_worker


class NodeAddressTests(SynchronousTestCase):
    """URLs of nodes, and those of workers."""

    def test_urls(self) -> None:
        """A URL has a host and a port, or is the path of a socket."""
        for given, parsed in [
            ("http://10.0.0.3:8081", "http://10.0.0.3:8081"),
            ("http://node-1:8081/", "http://node-1:8081"),
            ("https://node-1:8081", "https://node-1:8081"),
            ("http://[2001:db8::1]:81", "http://[2001:db8::1]:81"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
        ]:
            self.assertEqual(parse_url(given), parsed)
        for wrong in (
            "",
            "10.0.0.3:8081",
            "http://10.0.0.3",
            "ftp://10.0.0.3:8081",
            "http://10.0.0.3:8081/x",
            "http://10.0.0.3:8081?x",
            "http://a@10.0.0.3:8081",
            "http://10.0.0.3:99999",
            "http://:8081",
            "http://b\u00fc:80",
            "unix:a",
        ):
            self.assertRaises(ValueError, parse_url, wrong)

    def test_workers(self) -> None:
        """Each worker has the next port, or another path."""
        for number, url, endpoint in [
            (1, "http://a:81", "tcp:81:interface=10.0.0.3"),
            (3, "http://a:83", "tcp:83:interface=10.0.0.3"),
        ]:
            self.assertEqual(url_of_worker("http://a:81", number), url)
            given = "tcp:81:interface=10.0.0.3"
            self.assertEqual(endpoint_of_worker(given, number), endpoint)
        self.assertEqual(url_of_worker("unix:/a", 2), "unix:/a.2")
        self.assertEqual(endpoint_of_worker("unix:/a:mode=600", 2), "unix:/a.2:mode=600")
        self.assertEqual(endpoint_of_worker("tcp6:port=81", 2), "tcp6:port=82")
        self.assertEqual(
            endpoint_of_worker("chatfiles-tls:81:interface=::", 2), "chatfiles-tls:82:interface=::"
        )
        self.assertEqual(endpoint_of_worker("fd:3", 1), "fd:3")
        self.assertRaises(ValueError, endpoint_of_worker, "fd:3", 2)
