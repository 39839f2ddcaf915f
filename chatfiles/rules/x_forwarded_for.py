"""
For whom a request was made: ``X-Forwarded-For``, believed as far as trusted hops vouch for it.

Each proxy appends the address that *it* was asked from, so the list is true from its end up to the
first address that nobody trusted vouches for; what stands before that may be anybody's invention.
``Forwarded`` (RFC 7239) follows the same rules but is not read: one way to say it is enough.
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

#: Entries of a list that are looked at, so that the work for one is bounded.
MAX_HOPS = 32
#: Stands among the networks for peers without an address, those of Unix sockets.
UNIX = "unix"

# Some proxies add the port.  No zone: it may hold anything, and means nothing on this machine.
_HOP = re.compile(
    rb"(?P<v4>[0-9.]{7,15})(:[0-9]{1,5})?|\[(?P<v6>[0-9A-Fa-f:.]{2,45})\](:[0-9]{1,5})?"
    rb"|(?P<bare>[0-9A-Fa-f:.]{2,45})"
)
#: Octets of an element that can be one; what is remembered of the longer ones is nothing.
_LONGEST = 64


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """
    Who is believed when it names another as the client.

    :param networks: of ``--trusted-proxy``.
    :param unix: whether peers without an address are, too.
    """

    networks: tuple[IPNetwork, ...] = ()
    unix: bool = False

    @classmethod
    def parse(cls, texts: Iterable[str]) -> TrustedProxies:
        """
        :param texts: the values of ``--trusted-proxy``: networks, single addresses, or ``unix``.
        :raise ValueError: for the first that is not one, with a sentence that names it.
        """
        given = list(texts)
        networks = [text for text in given if text != UNIX]
        return cls(parse_networks(networks), len(networks) < len(given))

    def client_address(self, peer: str | None, forwarded: Sequence[bytes]) -> str:
        """
        :param peer: the address at the other end of the connection; ``None`` where it has none.
        :param forwarded: the values of every ``X-Forwarded-For``, in order, as they were received.
        :return: the last address of the way that is not itself trusted.  Where the way ends before,
            or an entry is not an address, it is the last one that is known: that of a trusted hop,
            or ``-`` where that has none.  Never anything but an address or ``-``.
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
        :param peer: the address at the other end of a connection; ``None`` where it has none.
        :return: whether it is believed.
        """
        return self.unix if peer is None else self._trusts(_peer_address(peer))

    def _trusts(self, address: IPAddress | None) -> bool:
        return address is not None and any(address in network for network in self.networks)


def parse_hop(entry: bytes) -> IPAddress | None:
    """
    :param entry: an element of the list: an address, perhaps with a port.
    :return: the address, IPv4 where it is that inside IPv6; ``None`` if it is none.
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
    """What a socket for both families calls ``::ffff:10.0.0.1`` is ``10.0.0.1``."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _from_the_end(values: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the elements of the list that these lines make up (RFC 9110, 5.3), last to first."""
    for value in reversed(values):
        comma, rest = b",", value
        while comma:
            rest, comma, entry = rest.rpartition(b",")
            yield entry
