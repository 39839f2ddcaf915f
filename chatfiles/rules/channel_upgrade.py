"""
The upgrade that turns a connection round: after it, the side that has accepted the connection sends
the requests, and the side that has made it responds (transposed HTTP, draft-unknown-ptth-ptth).

A workspace makes such a connection to its platform, and a platform node to another node, which
passes the bytes on.  Both sides build and check the messages with this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

from chatfiles.rules.header_fields import HeaderFields, header_lines

__all__ = [
    "APPLICATION",
    "CHANNEL_PATH",
    "HOST",
    "NODE",
    "PROTOCOL",
    "RELAY_PROTOCOL",
    "UpgradeFault",
    "node_of",
    "request_fault",
    "response_fault",
    "upgrade_request",
    "upgrade_response",
]

#: The path of the platform at which a workspace asks for the upgrade.
CHANNEL_PATH = "/registry/channel"
#: The name of the protocol, in ``Upgrade``.
PROTOCOL = b"ptth"
#: The same between two nodes of a platform.
RELAY_PROTOCOL = b"ptth-relay"
#: The header with the protocol that is spoken after the upgrade: HTTP/1.1, as RFC 7639 writes it.
APPLICATION = (b"ALPN", b"http%2F1.1")
#: The header with the id of the platform node that has accepted.
NODE = b"Chatfiles-Node"
#: ``Host`` of the requests after the upgrade: a workspace that has connected by itself has no name.
HOST = b"workspace.invalid"

_NODE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class UpgradeFault(Enum):
    """What is wrong with a request for an upgrade."""

    PROTOCOL = "it does not ask for exactly this upgrade, or is HTTP/1.0"
    BODY = "it has a body"
    APPLICATION = "the other side would not speak HTTP/1.1 after it"


def upgrade_request(
    path: bytes,
    host: bytes,
    bearer: bytes,
    more: Iterable[tuple[bytes, bytes]] = (APPLICATION,),
    protocol: bytes = PROTOCOL,
) -> bytes:
    """
    :param path: the target, such as `CHANNEL_PATH`.
    :param host: the value of ``Host``.
    :param bearer: the token, or the secret.
    :param more: names and values of further headers.
    :param protocol: the protocol to upgrade to.
    :return: the request.
    """
    fields = (
        (b"Host", host),
        (b"Authorization", b"Bearer " + bearer),
        *_upgrade(protocol),
        *more,
    )
    return b"GET %b HTTP/1.1\r\n%b\r\n" % (path, header_lines(fields))


def upgrade_response(
    more: Iterable[tuple[bytes, bytes]] = (APPLICATION,), protocol: bytes = PROTOCOL
) -> bytes:
    """
    :param more: names and values of further headers, such as that of `NODE`.
    :param protocol: the protocol that was asked for.
    :return: the response ``101``.
    """
    fields = header_lines((*_upgrade(protocol), *more))
    return b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n" % fields


def _upgrade(protocol: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return (b"Connection", b"upgrade"), (b"Upgrade", protocol)


def request_fault(
    version: bytes, fields: HeaderFields, length: int | None, protocol: bytes = PROTOCOL
) -> UpgradeFault | None:
    """
    :param version: of the request, such as ``HTTP/1.1``.
    :param fields: its headers.
    :param length: of its body in bytes; ``None`` if it is chunked.
    :param protocol: the protocol that the server offers.
    :return: what is wrong with the request; ``None`` if it may be accepted.
    """
    if version == b"HTTP/1.0" or not _names(fields, protocol):
        return UpgradeFault.PROTOCOL
    if length != 0:
        return UpgradeFault.BODY
    offered = _members(fields, APPLICATION[0])
    return UpgradeFault.APPLICATION if offered and APPLICATION[1].lower() not in offered else None


def response_fault(fields: HeaderFields, protocol: bytes = PROTOCOL) -> str:
    """
    :param fields: the headers of a response ``101``.
    :param protocol: the protocol that was asked for.
    :return: what is wrong with the response, as the rest of a sentence; empty if it is accepted.
    """
    if not _names(fields, protocol):
        return f"does not upgrade to {protocol.decode('ascii')}"
    chosen = _members(fields, APPLICATION[0])
    if chosen and chosen != [APPLICATION[1].lower()]:
        return "does not select HTTP/1.1"
    return ""


def node_of(fields: HeaderFields) -> str:
    """
    :param fields: the headers of a response ``101``.
    :return: the id of the node that sent it; empty if there is none that can be shown.
    """
    values = fields.getRawHeaders(NODE, ())
    if len(values) == 1 and _NODE_ID.fullmatch(values[0]):
        return values[0].decode("ascii")
    return ""


def _names(fields: HeaderFields, protocol: bytes) -> bool:
    """:return: whether the upgrade is to *protocol* only (RFC 9110, 7.8)."""
    options = _members(fields, b"Connection")
    return b"upgrade" in options and _members(fields, b"Upgrade") == [protocol]


def _members(fields: HeaderFields, name: bytes) -> list[bytes]:
    """:return: the members of a list (RFC 9110, 5.6.1), in lower case."""
    members = [
        member.strip(b" \t").lower()
        for value in fields.getRawHeaders(name, ())
        for member in value.split(b",")
    ]
    return [member for member in members if member]
