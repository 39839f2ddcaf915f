"""
Finds the client's address in ``X-Forwarded-For``, as far as trusted proxies wrote it.

Each proxy appends the address of its own client.  So the list is read from its end, as long as the
entry was appended by a trusted proxy.  The entries before that may be forged.  ``Forwarded``
(RFC 7239) has the same purpose but is not read: one header is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from itertools import islice

from chatfiles.rules.address_policy import IPAddress, IPNetwork, parse_networks

__all__ = ["MAX_HOPS", "UNIX", "TrustedProxies", "parse_hop"]

#: The most entries of a list that are read, to bound the cost.
MAX_HOPS = 32
#: The value of ``--trusted-proxy`` for peers without an address: those on Unix sockets.
UNIX = "unix"

# Some proxies add the port.  A zone is refused: it has no meaning on another machine.
_HOP = re.compile(
    rb"(?P<v4>[0-9.]{7,15})(:[0-9]{1,5})?|\[(?P<v6>[0-9A-Fa-f:.]{2,45})\](:[0-9]{1,5})?"
    rb"|(?P<bare>[0-9A-Fa-f:.]{2,45})"
)
#: The most bytes of an entry.  Longer ones are not parsed, and take no place in the cache.
_LONGEST = 64


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """
    The proxies whose ``X-Forwarded-For`` is trusted.

    :param networks: the networks of ``--trusted-proxy``.
    :param unix: whether peers without an address (those on Unix sockets) are trusted.
    """

    networks: tuple[IPNetwork, ...] = ()
    unix: bool = False

    @classmethod
    def parse(cls, texts: Iterable[str]) -> TrustedProxies:
        """
        :param texts: the values of ``--trusted-proxy``: networks, single addresses, or ``unix``.
        :return: the proxies.
        :raise ValueError: a text is none of these; the error is a sentence that names the first
            such text.
        """
        given = list(texts)
        networks = [text for text in given if text != UNIX]
        return cls(parse_networks(networks), len(networks) < len(given))

    def client_address(self, peer: str | None, forwarded: Sequence[bytes]) -> str:
        """
        :param peer: the address of the connection's peer; ``None`` if it has none.
        :param forwarded: the values of every ``X-Forwarded-For`` line, in the order received.
        :return: the last address in the list that is not a trusted proxy.  If there is none, or an
            entry after it is not an address: the last address that is known, that of a trusted
            proxy, or ``-`` if that has none.  The result is always an address or ``-``.
        """
        hop = None if peer is None else _peer_address(peer)
        if self.trusts(peer):
            for entry in islice(_from_the_end(forwarded), MAX_HOPS):
                named = parse_hop(entry)
                if named is None:
                    break
                hop = named
                if not self._trusts(hop):
                    break
        return "-" if hop is None else str(hop)

    def trusts(self, peer: str | None) -> bool:
        """
        :param peer: the address of a connection's peer; ``None`` if it has none.
        :return: whether the peer is a trusted proxy.
        """
        return self.unix if peer is None else self._trusts(_peer_address(peer))

    def _trusts(self, address: IPAddress | None) -> bool:
        return address is not None and any(address in network for network in self.networks)


def parse_hop(entry: bytes) -> IPAddress | None:
    """
    :param entry: an element of the list: an address, perhaps with a port.
    :return: the address, as IPv4 if it is IPv4-mapped; ``None`` if *entry* is not an address.
    """
    entry = entry.strip(b" \t")
    return _parse(entry) if len(entry) <= _LONGEST else None


@lru_cache(maxsize=4096)
def _parse(entry: bytes) -> IPAddress | None:
    match = _HOP.fullmatch(entry)
    if match is None:
        return None
    text: bytes = match["v4"] or match["v6"] or match["bare"]
    try:
        address = ip_address(text.decode("ascii"))
    except ValueError:
        return None
    if match["v6"] and address.version == 4:
        return None
    return _plain(address)


@lru_cache(maxsize=1024)
def _peer_address(text: str) -> IPAddress | None:
    try:
        return _plain(ip_address(text))
    except ValueError:
        return None


def _plain(address: IPAddress) -> IPAddress:
    """:return: ``10.0.0.1`` for ``::ffff:10.0.0.1``, the form on a socket for both families."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _from_the_end(values: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the elements of the list in these lines (RFC 9110, 5.3), from last to first."""
    for value in reversed(values):
        comma, rest = b",", value
        while comma:
            rest, comma, entry = rest.rpartition(b",")
            yield entry
