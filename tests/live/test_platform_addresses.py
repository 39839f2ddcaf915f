"""reference/workspace-urls, "Addresses" on a running platform: which URLs a workspace may have."""

from __future__ import annotations

import json

from tests.live.platform_case import (
    PlatformCase,
)
from tests.live.processes import Pair, Role
from tests.live.rawhttp import Connection, Response

# URLs that a workspace may never have, whatever the operator allows.
NEVER: tuple[str, ...] = (
    "http://127.1:8000",
    "http://127.0.1:8000",
    "http://2130706433:8000",
    "http://0x7f000001:8000",
    "http://0x7f.0.0.1:8000",
    "http://0x7f.1:8000",
    "http://017700000001:8000",
    "http://0177.0.0.1:8000",
    "http://127.0.0.01:8000",
    "http://127.0.0.1.:8000",
    "http://127.0.0.256:8000",
    "http://1.2.3.4.5:8000",
    "http://0.0.0.0:8000",
    "http://0:8000",
    "http://[::]:8000",
    "http://[::ffff:169.254.169.254]:8000",
    "http://[::169.254.169.254]:8000",
    "http://[64:ff9b::169.254.169.254]:8000",
    "http://[64:ff9b:1::a9fe:a9fe]:8000",
    "http://[2002:a9fe:a9fe::]:8000",
    "http://[2001:0:a9fe:a9fe::]:8000",
    "http://[fe80::1]:8000",
    "http://[fe80::1%25eth0]:8000",
    "http://[fe80::1%eth0]:8000",
    "http://[ff02::1]:8000",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.0.1:8000",
    "http://224.0.0.1:8000",
    "http://239.255.255.255:8000",
    "http://255.255.255.255:8000",
    "http://１２７.0.0.1:8000",
    "http://127。0。0。1:8000",
    "http://①②⑦.0.0.1:8000",
    "http://localhost.:8000",
    "http://%6c%6f%63alhost:8000",
    "http://%31%32%37.0.0.1:8000",
    "http://exa mple.com:8000",
    "http://example.com\t:8000",
    "http://-example.com:8000",
    "http://example..com:8000",
    "http://.example.com:8000",
    "http://" + "a" * 64 + ".com",
    "http://" + "a." * 130 + "com",
    "file:///etc/passwd",
    "unix:///var/run/docker.sock",
    "ftp://example.com/",
    "gopher://example.com/",
    "ws://example.com/",
    "javascript:alert(1)",
    "data:text/plain,x",
    "http:/example.com",
    "http:example.com",
    "http:///path",
    "http://",
    "http://:8000",
    "https://",
    "//example.com",
    "/internal",
    "example.com",
    "example.com:8000",
    " http://1.1.1.1",
    "http://1.1.1.1 ",
    "http://user@1.1.1.1",
    "http://user:password@1.1.1.1",
    "http://@1.1.1.1",
    "http://:@1.1.1.1",
    "http://1.1.1.1?x=1",
    "http://1.1.1.1/?",
    "http://1.1.1.1/base#fragment",
    "http://1.1.1.1#",
    "http://1.1.1.1\\@example.com/",
    "http:\\\\1.1.1.1",
    "http://1.1.1.1/\\x",
    "http://1.1.1.1/\x00",
    "http://1.1.1.1/\r\nHost: x",
    "http://1.1.1.1/ä",
    "http://1.1.1.1/<>",
    "http://1.1.1.1/%zz",
    "http://1.1.1.1:",
    "http://1.1.1.1:0",
    "http://1.1.1.1:00080",
    "http://1.1.1.1:65536",
    "http://1.1.1.1:-1",
    "http://1.1.1.1:+80",
    "http://1.1.1.1:8 0",
    "http://1.1.1.1:http",
    "http://1.1.1.1:８０",
    "http://[1.1.1.1]:8000",
    "http://[example.com]:8000",
    "http://[::1:8000",
    "http://::1:8000",
    "http://[]:8000",
    "http://[v1.x]:8000",
    "http://1.1.1.1/" + "x" * 3000,
)

# URLs that a workspace may have only if the operator allows it.
NOT_BY_DEFAULT: tuple[str, ...] = (
    "http://127.0.0.1:8000",
    "http://127.255.255.254:8000",
    "http://localhost:8000",
    "http://LOCALHOST:8000",
    "http://[::1]:8000",
    "http://[0:0:0:0:0:0:0:1]:8000",
    "http://[::ffff:127.0.0.1]:8000",
    "http://[::ffff:7f00:1]:8000",
    "http://[::127.0.0.1]:8000",
    "http://[64:ff9b::127.0.0.1]:8000",
    "http://[64:ff9b::10.0.0.1]:8000",
    "http://[64:ff9b:1::1]:8000",
    "http://[2002:7f00:1::]:8000",
    "http://[2001:0:7f00:1::]:8000",
    "http://10.0.0.1:8000",
    "http://10.255.255.255:8000",
    "http://172.16.0.1:8000",
    "http://172.31.255.255:8000",
    "http://192.168.0.1:8000",
    "http://100.64.0.1:8000",
    "http://100.127.255.255:8000",
    "http://0.1.2.3:8000",
    "http://192.0.0.1:8000",
    "http://192.0.2.1:8000",
    "http://198.18.0.1:8000",
    "http://198.19.255.255:8000",
    "http://198.51.100.1:8000",
    "http://203.0.113.1:8000",
    "http://240.0.0.1:8000",
    "http://168.63.129.16/",
    "http://[fc00::1]:8000",
    "http://[fdff::1]:8000",
    "http://[fec0::1]:8000",
    "http://[100::1]:8000",
    "http://[2001:db8::1]:8000",
    "http://[3fff::1]:8000",
    "http://[2001:2::1]:8000",
    "http://[5f00::1]:8000",
    "http://[4000::1]:8000",
)

ALWAYS: tuple[str, ...] = (
    "http://1.1.1.1",
    "http://1.1.1.1/",
    "https://1.1.1.1:8443/base/path/",
    "HTTP://1.1.1.1:80",
    "http://1.1.1.1:1",
    "http://1.1.1.1:65535",
    "http://1.1.1.1/%20~!$&'()*+,;=:@-._",
    "http://9.255.255.255:8000",
    "http://11.0.0.0:8000",
    "http://172.15.255.255:8000",
    "http://172.32.0.1:8000",
    "http://100.63.255.255:8000",
    "http://100.128.0.1:8000",
    "http://192.167.255.255:8000",
    "http://192.169.0.1:8000",
    "http://198.17.255.255:8000",
    "http://198.20.0.1:8000",
    "http://169.253.255.255:8000",
    "http://169.255.0.1:8000",
    "http://168.63.129.15/",
    "http://223.255.255.255:8000",
    "http://[2606:4700::1111]:8000",
    "http://[2A00:1450::1]:8000",
)


class AddressTests(PlatformCase):
    """
    Which URLs a workspace may have (reference/workspace-urls, "When it is checked"), as checked
    when a workspace is created or registers.
    """

    @classmethod
    def make_pair(cls) -> Pair:
        pair = Pair()
        everywhere = ("--upstream-allow=0.0.0.0/0", "--upstream-allow=::/0")
        pair.roles.append(Role("platform", f"--state-dir={pair.at('strict')}"))
        pair.roles.append(Role("platform", f"--state-dir={pair.at('open')}", *everywhere))
        return pair

    def tell(self, name: str, urls: tuple[str, ...]) -> dict[str, Response]:
        """:return: the response to each URL from the ``strict`` or the ``open`` platform."""
        role = self.pair.roles[("strict", "open").index(name) + 2]
        assert role.url, "it listens, so there is an admin token"
        with open(self.pair.at(name, "admin-token")) as file:
            fields = {"Authorization": f"Bearer {file.read().strip()}"}
        answers = {}
        with Connection(role.url) as connection:
            for url in urls:
                body = json.dumps({"url": url}).encode()
                answers[url] = connection.exchange("POST", "/workspaces", fields, body)
        return answers

    def refused(self, name: str, urls: tuple[str, ...]) -> None:
        """Each URL is refused, with a reason for a person."""
        for url, answer in self.tell(name, urls).items():
            self.assertEqual(answer.status, 400, url)
            self.assert_error(answer, 400, answer.error, url)
            self.assertGreater(len(answer.error.split()), 3, answer.error)

    def taken(self, name: str, urls: tuple[str, ...]) -> None:
        """Each URL is allowed."""
        for url, answer in self.tell(name, urls).items():
            self.assertEqual(answer.status, 201, (url, answer.body))

    def test_never(self) -> None:
        """Some URLs are not allowed even if every network is."""
        self.refused("open", NEVER)
        self.refused("strict", NEVER)

    def test_not_by_default(self) -> None:
        """Private and special addresses are allowed only if the operator allows them."""
        self.refused("strict", NOT_BY_DEFAULT)
        self.taken("open", NOT_BY_DEFAULT)

    def test_always(self) -> None:
        """Public addresses are allowed, also those right beside special ones."""
        self.taken("strict", ALWAYS)
        self.taken("open", ALWAYS)

    def test_registration(self) -> None:
        """
        The URL of a workspace that registers is checked alike; if it is refused, the workspace
        keeps the URL that it had.
        """
        kept = "http://127.0.0.1:9"
        workspace_id, token = self.pair.add(kept)
        for url in ("http://169.254.169.254/", "http://10.0.0.1", "http://127.1", "nonsense"):
            body = {"id": workspace_id, "url": url}
            answer = self.post("/registry/register", body, token)
            self.assertEqual(answer.status, 400, url)
        self.assertEqual(self.ask(f"/workspaces/{workspace_id}").json["url"], kept)
