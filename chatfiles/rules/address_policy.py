"""
Decides which addresses a workspace may have (reference/workspace-urls, "Addresses").

Public addresses are allowed, and so are the networks that the operator allows.  The tables follow
the IANA special-purpose registries (RFC 6890).  `ipaddress.is_global` is not used, because its
results differ between versions of Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)

__all__ = ["AddressPolicy", "IPAddress", "IPNetwork", "parse_networks"]

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


def _table(*rows: tuple[str, str]) -> tuple[tuple[IPNetwork, str], ...]:
    return tuple((ip_network(network), kind) for network, kind in rows)


#: Refused even if the operator allows them, also as IPv4 inside IPv6.
_NEVER_INSIDE = _table(("169.254.0.0/16", "link-local"), ("224.0.0.0/4", "multicast"))

#: Refused even if the operator allows them: none of these is the global address of one host.
_NEVER = _NEVER_INSIDE + _table(
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
    ("0.0.0.0/32", "unspecified"),
    ("::/128", "unspecified"),
    ("255.255.255.255/32", "broadcast"),
)

#: Refused unless the operator allows them.  The kind is that of the first match.
_SPECIAL = _table(
    ("0.0.0.0/8", "not a host's address (RFC 791)"),
    ("10.0.0.0/8", "private (RFC 1918)"),
    ("100.64.0.0/10", "shared by a carrier's NAT (RFC 6598)"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "an Azure platform service"),
    ("172.16.0.0/12", "private (RFC 1918)"),
    ("192.0.0.0/24", "reserved for protocols (RFC 6890)"),
    ("192.0.2.0/24", "for documentation (RFC 5737)"),
    ("192.88.99.0/24", "a 6to4 relay (RFC 7526)"),
    ("192.168.0.0/16", "private (RFC 1918)"),
    ("198.18.0.0/15", "for benchmarks (RFC 2544)"),
    ("198.51.100.0/24", "for documentation (RFC 5737)"),
    ("203.0.113.0/24", "for documentation (RFC 5737)"),
    ("240.0.0.0/4", "reserved (RFC 1112)"),
    ("::1/128", "loopback"),
    ("::/96", "IPv4 inside IPv6 (compatible)"),
    ("::ffff:0:0/96", "IPv4 inside IPv6 (mapped)"),
    ("::ffff:0:0:0/96", "IPv4 inside IPv6 (translated)"),
    ("64:ff9b::/96", "IPv4 inside IPv6 (NAT64)"),
    ("64:ff9b:1::/48", "IPv4 inside IPv6 (NAT64)"),
    ("100::/64", "discarded (RFC 6666)"),
    ("2001::/32", "IPv4 inside IPv6 (Teredo)"),
    ("2001::/23", "reserved for protocols (RFC 2928)"),
    ("2001:db8::/32", "for documentation (RFC 3849)"),
    ("2002::/16", "IPv4 inside IPv6 (6to4)"),
    ("3fff::/20", "for documentation (RFC 9637)"),
    ("fc00::/7", "private (RFC 4193)"),
    ("fec0::/10", "site-local (RFC 3879)"),
)

#: The part of IPv6 that is assigned as public (RFC 4291, 2.4).
_GLOBAL_UNICAST = IPv6Network("2000::/3")

_TEREDO = IPv6Network("2001::/32")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
#: IPv6 prefixes whose addresses contain an IPv4 address, and the number of bits after it.
_EMBEDDING: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::/96"), 0),
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (_NAT64_LOCAL, 0),
    (IPv6Network("2002::/16"), 80),
    (_TEREDO, 64),
)
_WORD = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """
    Decides to which addresses the platform may connect.

    An allowed network covers only addresses of its own family: ``10.0.0.0/8`` does not allow
    ``::ffff:10.0.0.1``, but ``::ffff:10.0.0.0/104`` does.

    :param allow: the networks of ``--upstream-allow``.
    """

    allow: tuple[IPNetwork, ...] = ()

    def refusal(self, address: IPAddress) -> str | None:
        """
        :param address: the address to connect to.
        :return: ``None`` if it is allowed, else a sentence for people that gives the reason.
        """
        kind = self.refused_kind(address)
        return None if kind is None else f"{address} is {kind}"

    def refused_kind(self, address: IPAddress) -> str | None:
        """
        :param address: the address to connect to.
        :return: ``None`` if it is allowed, else its kind as text, which does not contain the
            address.
        """
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return "in a zone of this machine"
        if (kind := _kind(address, _NEVER)) is not None:
            return f"{kind} and never allowed"
        for inside in _embedded(address):
            if (kind := _kind(inside, _NEVER_INSIDE)) is not None:
                return f"{kind} inside IPv6 and never allowed"
        if any(address in network for network in self.allow):
            return None
        kind = _kind(address, _SPECIAL)
        if kind is None and address.version == 6 and address not in _GLOBAL_UNICAST:
            kind = "not public"
        return kind


def parse_networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """
    :param texts: the values of ``--upstream-allow``: networks, or single addresses.
    :return: the networks, in the same order.
    :raise ValueError: a text is neither; the error is a sentence that names the first such text.
    """
    return tuple(_parse_network(text.strip()) for text in texts)


def _parse_network(text: str) -> IPNetwork:
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a network; give one such as 10.0.0.0/8 or fd00::/8"
        ) from None
    raise ValueError(f"{text!r} has bits set behind its mask; did you mean {meant}?")


def _kind(address: IPAddress, table: tuple[tuple[IPNetwork, str], ...]) -> str | None:
    return next((kind for network, kind in table if address in network), None)


def _embedded(address: IPAddress) -> Iterator[IPv4Address]:
    """Yield every IPv4 address that a translator may extract from *address*."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    for network, shift in _EMBEDDING:
        if address in network:
            yield IPv4Address(number >> shift & _WORD)
    if address in _TEREDO:  # the client's address is stored inverted (RFC 4380, 4)
        yield IPv4Address(~number & _WORD)
    if address in _NAT64_LOCAL:  # 16 bits, a byte of zeros, 16 bits (RFC 6052, 2.2)
        yield IPv4Address((number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF)
