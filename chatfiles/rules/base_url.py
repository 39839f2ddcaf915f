"""
Pure: the base URL of a platform, as a person gives it to a workspace or to the console script.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import SplitResult, urlsplit

from chatfiles.rules.urls import PATH

__all__ = ["parse_base_url"]

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HOST_AND_PORT = re.compile(
    r"(?:[A-Za-z0-9_.-]+|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{1,5}))?"
)


def parse_base_url(text: str) -> str:
    """
    :param text: what the person gave.
    :return: it, its scheme in lower case, without a slash at the end.
    :raise ValueError: it is not an ``http`` or ``https`` URL of a host and perhaps a port and a
        path; the text says what it must be, and does not repeat it.
    """
    if not _VISIBLE.fullmatch(text):
        raise ValueError("it must have visible ASCII characters only")
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if parts.scheme not in ("http", "https"):
        raise ValueError("it must begin with http:// or https://, and a host")
    if "@" in parts.netloc:
        raise ValueError("it must not hold a user or password")
    if "?" in text or "#" in text:
        raise ValueError("it must not have a query or fragment")
    if not _is_host_and_port(parts.netloc):
        raise ValueError("it must name a host, and a port if not the usual one")
    if not PATH.fullmatch(parts.path):
        raise ValueError("its path must be percent-encoded")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _is_host_and_port(netloc: str) -> bool:
    found = _HOST_AND_PORT.fullmatch(netloc)
    if found is None or not 0 < int(found["port"] or 80) < 65536:
        return False
    try:
        return found["ipv6"] is None or IPv6Address(found["ipv6"]) is not None
    except AddressValueError:
        return False
