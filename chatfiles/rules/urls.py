"""
Pure: the URL of a workspace (CONTRACT 8), text in, its parts or the reason against it out.

Only one spelling of every host is taken, so that what was judged is what will be dialled: there is
nothing left for a resolver or another URL parser to read differently.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

__all__ = ["MAX_URL_LENGTH", "PATH", "WorkspaceURL", "parse_workspace_url"]

#: Characters in a workspace's URL.
MAX_URL_LENGTH = 2048

_DEFAULT_PORTS = {"http": 80, "https": 443}
#: Octets of a host name (RFC 1035, 2.3.4), its final dot left out.
_MAX_HOST_LENGTH = 253

_PORT = re.compile(r"[1-9][0-9]{0,4}")
# Letters, digits, hyphens (RFC 1123, 2.1); underscores because container networks use them.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# What the URL standard takes for a number, and so the host for an IPv4 address.
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
#: Segments of pchar (RFC 3986, 3.3).
PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*")


@dataclass(frozen=True, slots=True)
class WorkspaceURL:
    """
    A URL that keeps every rule of form.

    :param scheme: ``http`` or ``https``.
    :param host: lower-case ASCII name or canonical address, without brackets.
    :param port: 1–65535.
    :param prefix: the path before every request's, without a final slash; often empty.
    :param address: the address if *host* is one, else ``None``.
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
        :param target: an absolute path of the workspace with its query, already encoded.
        :return: the whole URL to ask for.
        """
        return self.origin + self.prefix + target


def parse_workspace_url(text: str) -> WorkspaceURL:
    """
    Judge the form of a workspace's URL; no name is looked up.

    :raise ValueError: with a sentence for a person that says what is wrong.
    """
    scheme, authority, path = _split(text)
    host, port = _split_port(authority)
    if host.startswith("["):
        address: IPv4Address | IPv6Address | None = _ipv6(host)
    elif _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
        address = _ipv4(host)
    else:
        _check_name(host)
        address = None
    if not PATH.fullmatch(path):
        raise ValueError("a character of the path must be percent-encoded")
    return WorkspaceURL(
        scheme,
        host if address is None else str(address),
        _DEFAULT_PORTS[scheme] if port is None else _port(port),
        path.rstrip("/").encode("ascii"),
        address,
    )


def _split(text: str) -> tuple[str, str, str]:
    """:return: scheme and authority in lower case, and the path."""
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
    return scheme, authority.lower(), slash + path


def _check_characters(text: str) -> None:
    if len(text) > MAX_URL_LENGTH:
        raise ValueError(f"the URL has more than {MAX_URL_LENGTH} characters")
    if not text.isascii():
        raise ValueError("the URL must be ASCII; give a host name in its xn-- form")
    if not text.isprintable() or " " in text:
        raise ValueError("the URL must not have spaces or control characters")
    if "\\" in text:
        raise ValueError("the URL must not have backslashes")


def _split_port(authority: str) -> tuple[str, str | None]:
    bracket = authority.rfind("]") + 1
    host, colon, port = authority[bracket:].partition(":")
    host = authority[:bracket] + host
    if not host:
        raise ValueError("the URL must have a host")
    return host, port if colon else None


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
