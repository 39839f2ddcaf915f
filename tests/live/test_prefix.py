"""
howto/several-nodes, "Share a host with other sites": a platform below a prefix that a balancer
removes, as the manual configures it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.docs import read
from tests.live.balancer import KINDS, Balancer
from tests.live.links import make_link
from tests.live.processes import LiveCase, Pair
from tests.live.rawhttp import fetch

BROWSER = {"Accept": "text/html"}
PREFIX = "/files"
_LOCATION = re.compile(r"location \S+ \{\n +proxy_pass \S+;\n")


def changes(kind: str) -> Mapping[str, str]:
    """:return: the changes to the example that the manual describes."""
    text = read("docs", "howto", "several-nodes.rst")
    if kind == "haproxy":
        [line] = re.findall(r"(?m)^    http-request replace-path .*\n", text)
        before = "    balance leastconn\n"
        return {before: before + line}
    example = read("docs", "several-nodes", "nginx.conf")
    return dict(zip(_LOCATION.findall(example), _LOCATION.findall(text), strict=True))


class PrefixTests(LiveCase):
    """Each balancer in front of one platform."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(platform=[f"--public-url=https://files.example{PREFIX}"])

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.write("workspace/small.txt", b"small")

    def test_below_prefix(self) -> None:
        """The page, a download and a link work below the prefix, and no log has a link."""
        for kind in KINDS:
            balancer = Balancer(kind, [f"127.0.0.1:{self.pair.platform.port}"], changes(kind))
            self.addCleanup(balancer.stop)
            for path in ("/", "/ui"):
                answer = fetch(balancer.url, PREFIX + path, BROWSER)
                self.assertEqual((answer.status, answer["location"]), (303, "ui/"), kind)
            self.assertIn(b"<script", fetch(balancer.url, f"{PREFIX}/ui/").body)
            target = self.pair.download_target(b"path=/workspace/small.txt")
            answer = fetch(balancer.url, PREFIX.encode() + target, self.pair.bearer)
            self.assertEqual(answer.body, b"small", kind)
            link = make_link(self.pair, self.pair.platform.url, path="/workspace/small.txt")
            place = link.removeprefix("https://files.example")
            self.assertEqual(fetch(balancer.url, place).body, b"small", kind)
            balancer.logged(f"{PREFIX}/links/file")
            self.assertNotIn(link.rpartition("s=")[2], balancer.log)
