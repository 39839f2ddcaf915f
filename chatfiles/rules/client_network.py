"""
Which clients share a limit.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

__all__ = ["client_network"]

#: The part of an IPv6 address that one client usually has for itself (RFC 6177): it can choose the
#: other 64 bits for each request.
_PREFIX = 64


@lru_cache(4096)
def client_network(address: str) -> str:
    """
    :param address: of a client; a text that is no address stands for itself.
    :return: the key of a limit: the same for all addresses that one client can use.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed), _PREFIX), strict=False))
