"""
Workspace URLs and the address policy, against the resolver of the system, other parsers of URLs,
and what `ipaddress` knows.
"""

from __future__ import annotations

import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st

from chatfiles.rules.address_policy import AddressPolicy, parse_networks
from chatfiles.rules.urls import WorkspaceURL, parse_workspace_url
from tests.fuzz.wire import mostly

EVERYTHING = AddressPolicy(parse_networks(["0.0.0.0/0", "::/0"]))
NOTHING = AddressPolicy()

NUMBERS = st.one_of(
    st.integers(0, 256).map(str),
    st.integers(0, 2**32).map(str),
    st.integers(0, 2**32).map(hex),
    st.integers(0, 2**32).map("0{:o}".format),
    st.sampled_from(["", "00", "0x", "08", "1e3", "１", "127", "169", "254", "10"]),
)
V4 = st.one_of(
    st.lists(NUMBERS, min_size=1, max_size=5).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.sampled_from(["127.0.0.1", "169.254.169.254", "168.63.129.16", "10.1.2.3", "1.1.1.1"]),
)
PREFIXES = [
    "::",
    "::ffff:",
    "::ffff:0:",
    "64:ff9b::",
    "64:ff9b:1::",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "2001:0:a9fe:a9fe::",
    "2001:0::",
    "fe80::",
    "fd00::",
    "ff02::",
    "2606:4700::",
    "0:0:0:0:0:ffff:",
    "2001:db8::",
    "3fff::",
]
V6 = st.one_of(
    st.ip_addresses(v=6).map(str),
    st.builds(
        "{}{}{}".format,
        st.sampled_from(PREFIXES),
        V4 | st.just("1") | st.just("7f00:1"),
        st.sampled_from(["", "%eth0", "%25eth0", "%1"]),
    ),
).map("[{}]".format)
NAMES = st.lists(
    st.sampled_from(
        [
            "localhost",
            "nip",
            "io",
            "good",
            "test",
            "a_b",
            "-x",
            "xn--bcher-kva",
            "0x7f",
            "127",
            "ｌ",
            "ß",
            "%6c",
            "x" * 63,
            "x" * 64,
            "",
            "host-1",
            "①",
        ]
    ),
    min_size=1,
    max_size=4,
).map(".".join)
TEXTS = st.builds(
    "{}{}{}{}{}".format,
    mostly(
        ["http://", "https://", "HTTP://"], ["http:/", "http:", "ftp://", "//", "http:\\\\", ""]
    ),
    mostly([""], ["user@", ":@", "user:pw@", "good.test\\@", "good.test#@", "good.test?@"]),
    V4 | V6 | NAMES,
    mostly(["", ":80", ":8000"], [":0", ":65536", ":", ":080", ":-1", ":+1", ":８０", ".", ".:80"]),
    mostly(
        ["", "/", "/base", "/base/", "/%2e%2e/", "/..", "//", "/;x=1"],
        [
            "/a b",
            "/%zz",
            "?x",
            "#f",
            "\\",
            "\0",
            "\r\nHost: x",
            "\t",
            "/ä",
        ],
    ),
) | st.text(max_size=30)


def dialled(url: WorkspaceURL) -> IPv4Address | IPv6Address | None:
    """:return: the address that the system takes the host for without a name server."""
    try:
        found = socket.getaddrinfo(
            url.host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    except (socket.gaierror, UnicodeError):
        return None
    return ipaddress.ip_address(found[0][4][0])


def inside(address: IPv6Address) -> list[IPv4Address]:
    """:return: IPv4 addresses that `ipaddress`, or the last 32 bits, find in an address."""
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in ipaddress.ip_network("64:ff9b::/96") or int(address) >> 32 == 0:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in found if each is not None]


def is_never(address: IPv4Address | IPv6Address) -> bool:
    """Whether no operator can allow it."""
    parts = [address, *(inside(address) if isinstance(address, IPv6Address) else ())]
    if str(address) in ("::", "0.0.0.0", "255.255.255.255"):
        return True
    return any(part.is_link_local or part.is_multicast for part in parts)


def parsed(text: str) -> IPv4Address | IPv6Address | None:
    """:return: the address that *text* is."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


@given(TEXTS, st.ip_addresses() | V6.map(lambda text: parsed(text[1:-1])))
def check(text: str, other: IPv4Address | IPv6Address | None) -> None:
    """A URL that is accepted has one meaning."""
    if other is not None:
        check_address(other)
    try:
        url = parse_workspace_url(text)
    except ValueError:
        return
    check_form(text, url)
    assert dialled(url) == url.address, (url, dialled(url))
    if url.address is not None:
        check_address(url.address)


def check_form(text: str, url: WorkspaceURL) -> None:
    """Other parsers read the same from it, and it cannot be made to mean more."""
    assert text.isascii()
    assert text.isprintable()
    assert not set(text) & set(" \\@?#")
    joined = url.join(b"/internal/file/read?path=/x").decode("ascii")
    standard = urlsplit(joined)
    default = {"http": 80, "https": 443}[url.scheme]
    assert (standard.scheme, standard.hostname, standard.port or default) == (
        url.scheme,
        url.host,
        url.port,
    )
    assert (standard.username, standard.fragment, standard.query) == (None, "", "path=/x")
    assert standard.path == url.prefix.decode() + "/internal/file/read"
    assert parse_workspace_url(url.join(b"").decode()) == url


def check_address(address: IPv4Address | IPv6Address) -> None:
    """Only public addresses are allowed by default; some addresses never are."""
    if NOTHING.refusal(address) is None:
        parts = [address, *(inside(address) if isinstance(address, IPv6Address) else ())]
        assert all(part.is_global and not part.is_reserved for part in parts), address
        assert EVERYTHING.refusal(address) is None
    if is_never(address):
        assert EVERYTHING.refusal(address) is not None, address
    elif getattr(address, "scope_id", None) is None and not has_hidden(address):
        assert EVERYTHING.refusal(address) is None, address


def has_hidden(address: IPv4Address | IPv6Address) -> bool:
    """Whether a translator of another kind may find an IPv4 address in it."""
    networks = ("64:ff9b:1::/48", "::ffff:0:0:0/96")
    return address.version == 6 and any(address in ipaddress.ip_network(each) for each in networks)
