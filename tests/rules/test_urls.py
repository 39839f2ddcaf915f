"""
Tests for `chatfiles.rules.urls`, and that `--advertise` uses it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit
from uuid import UUID

from hyperlink import EncodedURL
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI

from chatfiles.rules.urls import MAX_URL_LENGTH, WorkspaceURL, parse_workspace_url
from chatfiles.runtime.options import Options

GOOD = [
    ("http://good.test", WorkspaceURL("http", "good.test", 80, b"", None)),
    ("http://good.test/", WorkspaceURL("http", "good.test", 80, b"", None)),
    ("https://good.test", WorkspaceURL("https", "good.test", 443, b"", None)),
    ("HTTP://Good.TEST:8000/Base", WorkspaceURL("http", "good.test", 8000, b"/Base", None)),
    ("http://good.test:8000/base/", WorkspaceURL("http", "good.test", 8000, b"/base", None)),
    (
        "http://good.test/a/b;c=%2F,d@e:f//",
        WorkspaceURL("http", "good.test", 80, b"/a/b;c=%2F,d@e:f", None),
    ),
    ("http://ws_1.my-net", WorkspaceURL("http", "ws_1.my-net", 80, b"", None)),
    ("http://xn--bcher-kva.test", WorkspaceURL("http", "xn--bcher-kva.test", 80, b"", None)),
    ("http://1.2.3.4.nip.io:1", WorkspaceURL("http", "1.2.3.4.nip.io", 1, b"", None)),
    (
        "http://10.0.0.1:65535",
        WorkspaceURL("http", "10.0.0.1", 65535, b"", IPv4Address("10.0.0.1")),
    ),
    ("http://[::1]:8000", WorkspaceURL("http", "::1", 8000, b"", IPv6Address("::1"))),
    ("http://[0:0:0:0:0:0:0:1]", WorkspaceURL("http", "::1", 80, b"", IPv6Address("::1"))),
    ("http://[FD00::AB]/x", WorkspaceURL("http", "fd00::ab", 80, b"/x", IPv6Address("fd00::ab"))),
    ("http://" + "a" * 63 + ".b", WorkspaceURL("http", "a" * 63 + ".b", 80, b"", None)),
]

BAD = [
    # scheme
    ("", "begin with http"),
    ("good.test", "begin with http"),
    ("good.test:8000", "begin with http"),
    ("//good.test", "begin with http"),
    ("http:good.test", "begin with http"),
    ("http:/good.test", "begin with http"),
    ("file:///etc/passwd", "begin with http"),
    ("ftp://good.test", "begin with http"),
    ("gopher://good.test:70/_x", "begin with http"),
    ("unix:///var/run/docker.sock", "begin with http"),
    ("javascript:alert(1)//http://good.test", "begin with http"),
    ("httpx://good.test", "begin with http"),
    ("ws://good.test", "begin with http"),
    # host
    ("http://", "have a host"),
    ("http:///path", "have a host"),
    ("http://:8000", "have a host"),
    ("http://.", "must not end with a dot"),
    ("http://localhost.:8000", "must not end with a dot"),
    ("http://127.0.0.1.:8000", "must not end with a dot"),
    ("http://good..test", "labels"),
    ("http://.good.test", "labels"),
    ("http://-good.test", "labels"),
    ("http://good-.test", "labels"),
    ("http://" + "a" * 64 + ".test", "labels"),
    ("http://" + ".".join(["a" * 49] * 6), "253"),
    ("http://go%6fd.test", "labels"),
    ("http://127%2e0.0.1", "four decimal"),
    ("http://good.test%00.evil", "labels"),
    ("http://good,test", "labels"),
    ("http://go*d.test", "labels"),
    ("http://[good.test]:8000", "IPv6"),
    ("http://[127.0.0.1]", "IPv6"),
    ("http://[::1", "IPv6"),
    ("http://::1]", "labels"),
    ("http://[]", "IPv6"),
    ("http://[::1]good.test", "IPv6"),
    ("http://good.test[::1]", "labels"),
    ("http://[[::1]]", "IPv6"),
    ("http://[fe80::1%eth0]", "IPv6"),
    ("http://[fe80::1%25eth0]", "IPv6"),
    ("http://::1:8000", "have a host"),
    # other spellings of IPv4
    ("http://127.1:8000", "four decimal"),
    ("http://127.0.1", "four decimal"),
    ("http://2130706433", "four decimal"),
    ("http://0", "four decimal"),
    ("http://0x7f000001:8000", "four decimal"),
    ("http://0X7F.0.0.1", "four decimal"),
    ("http://127.0.0.0x1", "four decimal"),
    ("http://127.0.0.0x", "four decimal"),
    ("http://017700000001:8000", "four decimal"),
    ("http://0177.0.0.1", "four decimal"),
    ("http://127.0.0.01", "four decimal"),
    ("http://127.0.0.256", "four decimal"),
    ("http://127.0.0.1.1", "four decimal"),
    ("http://good.test.1", "four decimal"),
    # characters
    ("http://127\u30020\u30020\u30021:8000", "ASCII"),
    ("http://127\uff0e0\uff0e0\uff0e1", "ASCII"),
    ("http://\uff11\uff12\uff17.0.0.1", "ASCII"),
    ("http://\u2460\u2461\u2466.0.0.1", "ASCII"),
    ("http://b\u00fccher.test", "xn--"),
    ("http://good.test/\u00fc", "ASCII"),
    ("http://good\u00ad.test", "ASCII"),
    ("http://good.test:\u0661", "ASCII"),
    ("http://good.test:8000/\x00", "control"),
    ("http://good.test/\r\nX: y", "control"),
    ("http://good\t.test", "control"),
    ("\nhttp://good.test", "control"),
    ("http://good.test/\x7f", "control"),
    (" http://good.test", "spaces"),
    ("http://good.test ", "spaces"),
    ("http://good.test/a b", "spaces"),
    ("http://127.0.0.1:8000\\@good.test/", "backslash"),
    ("http:\\\\good.test", "backslash"),
    ("http://good.test/\\x", "backslash"),
    ('http://good.test/"', "percent-encoded"),
    ("http://good.test/<>", "percent-encoded"),
    ("http://good.test/a|b", "percent-encoded"),
    ("http://good.test/%zz", "percent-encoded"),
    ("http://good.test/%2", "percent-encoded"),
    ("http://good.test/[", "percent-encoded"),
    # user, query, fragment
    ("http://user:pass@good.test:8000", "user name"),
    ("http://user@good.test", "user name"),
    ("http://@good.test", "user name"),
    ("http://good.test@127.0.0.1", "user name"),
    ("http://good.test:80@127.0.0.1", "user name"),
    ("http://good.test:8000/base#f", "fragment"),
    ("http://good.test#@127.0.0.1", "fragment"),
    ("http://good.test/#", "fragment"),
    ("http://good.test?x=1", "query"),
    ("http://good.test/?", "query"),
    ("http://good.test?@127.0.0.1", "query"),
    # port
    ("http://good.test:", "port"),
    ("http://good.test:0", "port"),
    ("http://good.test:-1", "port"),
    ("http://good.test:+1", "port"),
    ("http://good.test:65536", "port"),
    ("http://good.test:99999999999999999999", "port"),
    ("http://good.test:080", "port"),
    ("http://good.test:80:80", "port"),
    ("http://good.test:http", "port"),
    ("http://good.test:0x50", "port"),
    ("http://[::1]:", "port"),
]

LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
HOSTS = (
    NAMES
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map("[{}]".format)
    | st.from_regex(r"[0-9a-fx.]{1,20}", fullmatch=True)
)
PATHS = st.from_regex(r"(/[a-zA-Z0-9._~!$&'()*+,;=:@%-]{0,8}){0,3}", fullmatch=True)


class ParseWorkspaceURLTests(SynchronousTestCase):
    """Exactly one spelling of every host is accepted, and the platform connects to that host."""

    def test_good(self):
        """A valid URL is split into scheme, host, port, prefix and address."""
        for text, expected in GOOD:
            self.assertEqual(parse_workspace_url(text), expected, text)

    def test_bad(self):
        """A URL that another parser may read differently is refused, with the reason."""
        for text, reason in BAD:
            error = self.assertRaises(ValueError, parse_workspace_url, text)
            self.assertIn(reason, str(error), text)

    def test_length(self):
        """A URL that is too long is refused."""
        start = "http://good.test/"
        longest = start + "a" * (MAX_URL_LENGTH - len(start))
        self.assertEqual(parse_workspace_url(longest).host, "good.test")
        error = self.assertRaises(ValueError, parse_workspace_url, longest + "a")
        self.assertIn("2048", str(error))

    def test_join(self):
        """
        A request's path is appended to the prefix with one slash, whatever the prefix ends with.
        """
        for text, expected in [
            ("http://good.test", b"http://good.test/x?y=1"),
            ("http://good.test:80/", b"http://good.test/x?y=1"),
            ("https://good.test:80/base", b"https://good.test:80/base/x?y=1"),
            ("http://[::1]:8000/a/b/", b"http://[::1]:8000/a/b/x?y=1"),
            ("http://[0::1]:80/", b"http://[::1]/x?y=1"),
        ]:
            self.assertEqual(parse_workspace_url(text).join(b"/x?y=1"), expected)

    def test_advertised(self):
        """``--advertise`` refuses a URL that the platform refuses, with the same reason."""
        words = ["--role=workspace", "--platform=http://h", f"--workspace-id={UUID(int=1)}"]
        for text, _ in GOOD:
            Options({}).parseOptions([*words, f"--advertise={text}"])
        for text, reason in BAD:
            with self.assertRaises(SystemExit, msg=text) as caught:
                Options({}).parseOptions([*words, f"--advertise={text}"])
            line = str(caught.exception)
            self.assertIn("--advertise takes a URL, such as http://10.0.0.7:8000: ", line)
            self.assertIn(reason, line)
            self.assertNotIn("\n", line)

    @given(st.text(max_size=40) | st.builds("http://{}".format, st.text(max_size=30)))
    def test_any_text(self, text: str):
        """Any text is accepted or refused with `ValueError`; none raises another exception."""
        try:
            parse_workspace_url(text)
        except ValueError as error:
            self.assertTrue(str(error))

    @given(st.sampled_from(["http", "https"]), HOSTS, st.integers(1, 65535), PATHS)
    def test_others_agree(self, scheme: str, host: str, port: int, path: str):
        """All URL parsers that are involved read the same host, port and path."""
        try:
            url = parse_workspace_url(f"{scheme}://{host}:{port}{path}")
        except ValueError:
            return
        joined = url.join(b"/file?path=/a%20b")
        ours = (url.scheme, url.host, url.port, url.prefix.decode() + "/file")
        standard = urlsplit(joined.decode())
        default = {"http": 80, "https": 443}[url.scheme]
        self.assertEqual(
            (standard.scheme, standard.hostname, standard.port or default, standard.path), ours
        )
        twisted = URI.fromBytes(joined)
        self.assertEqual((twisted.host.decode(), twisted.port), ours[1:3])
        treq = EncodedURL.from_text(joined.decode())
        self.assertEqual((treq.scheme, treq.host, treq.port), ours[:3])
        self.assertEqual(treq.to_text(), joined.decode())
        if url.address is not None:
            self.assertEqual(url.address, ip_address(url.host))

    @given(HOSTS, st.integers(1, 65535), PATHS)
    def test_stable(self, host: str, port: int, path: str):
        """A URL that was parsed and written is parsed as the same URL."""
        try:
            url = parse_workspace_url(f"http://{host}:{port}{path}")
        except ValueError:
            return
        self.assertEqual(parse_workspace_url(url.join(b"").decode()), url)
