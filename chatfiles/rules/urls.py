"""
Parses the URL of a workspace and the base URL of a platform.

Of a workspace's host only one spelling is accepted, which every resolver and URL parser reads the
same way.  So the host that was checked is the host that the platform connects to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

__all__ = ["MAX_URL_LENGTH", "WorkspaceURL", "parse_base_url", "parse_workspace_url"]

#: The largest number of characters in a URL.
MAX_URL_LENGTH = 2048

_DEFAULT_PORTS = {"http": 80, "https": 443}
#: The largest number of bytes in a host name (RFC 1035, 2.3.4), without its final dot.
_MAX_HOST_LENGTH = 253

_PORT = re.compile(r"[1-9][0-9]{0,4}")
# Letters, digits, hyphens (RFC 1123, 2.1); underscores because container networks use them.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A last label that the URL standard reads as a number.  It then reads the host as an IPv4 address.
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
# An operator may use any name that the resolver accepts, also one with a final dot.
_ANY_NAME = re.compile(r"[A-Za-z0-9_.-]+")
# Segments of pchar (RFC 3986, 3.3).
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*")


@dataclass(frozen=True, slots=True)
class WorkspaceURL:
    """
    A valid URL of a workspace.

    :param scheme: ``http`` or ``https``.
    :param host: a lower-case ASCII name, or a canonical address without brackets.
    :param port: 1–65535.
    :param prefix: the path that precedes the path of every request; no final slash, often empty.
    :param address: the address, if *host* is one; else ``None``.
    """

    scheme: str
    host: str
    port: int
    prefix: bytes
    address: IPv4Address | IPv6Address | None

    @property
    def authority(self) -> bytes:
        """Host and port as in a ``Host`` header: brackets around IPv6, no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.port == _DEFAULT_PORTS[self.scheme]:
            return host.encode("ascii")
        return f"{host}:{self.port}".encode("ascii")

    @property
    def origin(self) -> bytes:
        """Scheme and authority, such as ``http://127.0.0.1:8000``."""
        return b"%b://%b" % (self.scheme.encode("ascii"), self.authority)

    def join(self, target: bytes) -> bytes:
        """
        :param target: an absolute path of the workspace with its query, percent-encoded.
        :return: the URL to request.
        """
        return self.origin + self.prefix + target


def parse_base_url(text: str) -> str:
    """
    Check the base URL of a platform, as a user gives it to a workspace or to the command line.

    :param text: the URL.
    :return: the URL with its scheme in lower case, without a final slash.
    :raise ValueError: the URL is not valid; the text is a sentence for people, which does not
        contain the URL.
    """
    scheme, authority, host, _, path = _split(text)
    if host.startswith("["):
        _ipv6(host)
    elif not _ANY_NAME.fullmatch(host):
        raise ValueError("the host name must consist of letters, digits, hyphens and dots")
    return f"{scheme}://{authority}{path}".rstrip("/")


def parse_workspace_url(text: str) -> WorkspaceURL:
    """
    Check the URL of a workspace.  Its host name is not looked up.

    :param text: the URL.
    :return: the parts of the URL.
    :raise ValueError: the URL is not valid; the text is a sentence for people.
    """
    scheme, _, host, port, path = _split(text)
    host = host.lower()
    if host.startswith("["):
        address: IPv4Address | IPv6Address | None = _ipv6(host)
    elif _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
        address = _ipv4(host)
    else:
        _check_name(host)
        address = None
    name = host if address is None else str(address)
    return WorkspaceURL(scheme, name, port, path.rstrip("/").encode("ascii"), address)


def _split(text: str) -> tuple[str, str, str, int, str]:
    """
    Split a URL by the grammar that both kinds of URL share.

    :return: the scheme in lower case, the authority, its host and port, and the path.
    """
    _check_characters(text)
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _DEFAULT_PORTS:
        raise ValueError("the URL must begin with http:// or https://")
    if "#" in rest:
        raise ValueError("the URL must not have a fragment")
    if "?" in rest:
        raise ValueError("the URL must not have a query")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        raise ValueError("the URL must not have a user name or password")
    host, port = _split_port(authority)
    if not _PATH.fullmatch(slash + path):
        raise ValueError("a character of the path must be percent-encoded")
    return scheme, authority, host, port or _DEFAULT_PORTS[scheme], slash + path


def _check_characters(text: str) -> None:
    if len(text) > MAX_URL_LENGTH:
        raise ValueError(f"the URL has more than {MAX_URL_LENGTH} characters")
    if not text.isascii():
        raise ValueError("the URL must be ASCII; give a host name in its xn-- form")
    if not text.isprintable() or " " in text:
        raise ValueError("the URL must not have spaces or control characters")
    if "\\" in text:
        raise ValueError("the URL must not have backslashes")


def _split_port(authority: str) -> tuple[str, int | None]:
    bracket = authority.rfind("]") + 1
    host, colon, port = authority[bracket:].partition(":")
    host = authority[:bracket] + host
    if not host:
        raise ValueError("the URL must have a host")
    if host.startswith("[") and not host.endswith("]"):  # the colon may be one of the address
        return host, None
    return host, _port(port) if colon else None


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise ValueError("the port must be a number from 1 to 65535")
    return int(text)


def _ipv4(host: str) -> IPv4Address:
    try:
        return IPv4Address(host)
    except AddressValueError:
        raise ValueError("an IPv4 address must be four decimal numbers with dots") from None


def _ipv6(host: str) -> IPv6Address:
    try:
        address = IPv6Address(host[1:-1] if host.endswith("]") else "")
    except AddressValueError:
        address = None
    if address is None or address.scope_id is not None:
        raise ValueError("brackets must hold an IPv6 address, without a zone")
    return address


def _check_name(host: str) -> None:
    if len(host) > _MAX_HOST_LENGTH:
        raise ValueError(f"the host name has more than {_MAX_HOST_LENGTH} characters")
    if host.endswith("."):
        raise ValueError("the host name must not end with a dot")
    if not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ValueError(
            "the host name must consist of labels of 1 to 63 letters, digits and hyphens"
        )
