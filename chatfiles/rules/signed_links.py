"""
Signed links: what is signed, and whether a presented link is valid (reference/links, "Signature").

A link carries its values in a query.  Its signature covers the decoded values, not the text of the
URL.  So a mail client that writes ``%2F`` for ``/`` breaks nothing, and there is no canonical form
of a URL that two programs could compute differently.  Each value is signed as a netstring
(https://cr.yp.to/proto/netstrings.txt), because a sequence of netstrings can be divided in one way
only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from chatfiles.errors import BadRequest, Forbidden
from chatfiles.model import parse_uuid
from chatfiles.rules.query import encode_query_value, parse_query

__all__ = [
    "KEY_BYTES",
    "MAX_LIFETIME",
    "LinkOperation",
    "PresentedLink",
    "SignedLink",
    "check_signature",
    "check_times",
    "invalid_link",
    "join_options",
    "link_target",
    "message",
    "parse_link",
    "revoked_link",
    "signature",
    "split_options",
]

#: Bytes of a key.
KEY_BYTES: Final = 32
#: The most seconds for which a link may be valid: seven days.
MAX_LIFETIME: Final = 604_800
#: Seconds by which the clock of the node that made a link may be fast.
MAX_CLOCK_SKEW: Final = 300

_VERSION: Final = b"chatfiles-link-1"
#: The parameters of a link, in the order in which a URL has them.
_PARAMETERS: Final = (b"w", b"p", b"o", b"t", b"i", b"e", b"k", b"s")
_TOKEN_ID = re.compile(rb"[0-9A-Za-z-]{1,36}")
_SECONDS = re.compile(rb"[0-9]{1,12}")
# 43 characters hold 258 bits, and an HMAC has 256.  The last character must not use the other two
# bits: else four spellings of a signature would be valid.
_SIGNATURE = re.compile(rb"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
#: The key that an unknown key id is checked with, so that it takes as long as a known one.
_NO_KEY: Final = bytes(KEY_BYTES)


class LinkOperation(StrEnum):
    """What a link is for: the last segment of its route."""

    FILE = "file"
    ARCHIVE = "archive"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class SignedLink:
    """
    The values that a link signs.

    :param path: a virtual path; empty for an upload.
    :param options: the result of `join_options`.
    :param token_id: the id of the token that made the link, in ASCII.
    :param issued: unix seconds in decimal digits, like *expires*.
    """

    operation: LinkOperation
    workspace_id: UUID
    path: bytes
    options: bytes
    token_id: bytes
    issued: bytes
    expires: bytes

    @property
    def values(self) -> tuple[bytes, ...]:
        """All but the operation, in the order in which they are signed and written in a query."""
        workspace_id = str(self.workspace_id).encode("ascii")
        return (
            workspace_id,
            self.path,
            self.options,
            self.token_id,
            self.issued,
            self.expires,
        )

    @property
    def maker(self) -> str:
        """The id of the token as text; ``?`` if it is none: it may have been signed elsewhere."""
        return self.token_id.decode("ascii") if _TOKEN_ID.fullmatch(self.token_id) else "?"


@dataclass(frozen=True, slots=True)
class PresentedLink:
    """
    A link in a request, whose signature has not been checked.

    :param key_id: the id of the key that it claims, as it is in the query.
    :param signature: 43 characters of base64url.
    """

    link: SignedLink
    key_id: bytes
    signature: bytes


def message(link: SignedLink) -> bytes:
    """:return: the bytes that the signature of *link* covers."""
    values = (_VERSION, link.operation.encode("ascii"), *link.values)
    return b"".join(b"%d:%b," % (len(value), value) for value in values)


def signature(link: SignedLink, key: bytes) -> bytes:
    """
    :param key: `KEY_BYTES` bytes.
    :return: the HMAC-SHA256 of the message of *link*, in base64url without padding: 43 characters.
    """
    digest = hmac.digest(key, message(link), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=")


def link_target(link: SignedLink, key_id: str, key: bytes) -> str:
    """
    Sign a link.

    :param key_id: the id of *key*, which has `KEY_BYTES` bytes.
    :return: the path and query of its URL, in ASCII without spaces.
    """
    values = (*link.values, key_id.encode("ascii"), signature(link, key))
    pairs = zip(_PARAMETERS, values, strict=True)
    query = "&".join(f"{name.decode()}={encode_query_value(value)}" for name, value in pairs)
    return f"/links/{link.operation}?{query}"


def parse_link(operation: LinkOperation, query: bytes) -> PresentedLink:
    """
    :param operation: that of the route.
    :param query: the bytes after the ``?`` of the target.  Parameters that a link does not have are
        ignored.
    :return: the link that it presents.
    :raise chatfiles.errors.BadRequest: 400, a parameter is missing, repeated or malformed.
    """
    values = parse_query(query)
    given = [values.get(name, []) for name in _PARAMETERS]
    if any(len(each) != 1 for each in given):
        raise _malformed_link()
    w, path, options, token_id, issued, expires, key_id, signed = (each[0] for each in given)
    workspace_id = parse_uuid(w.decode("latin-1"))
    times_fit = _SECONDS.fullmatch(issued) and _SECONDS.fullmatch(expires)
    if workspace_id is None or not times_fit or not _SIGNATURE.fullmatch(signed):
        raise _malformed_link()
    link = SignedLink(operation, workspace_id, path, options, token_id, issued, expires)
    return PresentedLink(link, key_id, signed)


def check_signature(presented: PresentedLink, key: bytes | None) -> SignedLink:
    """
    Check the signature of a link.

    :param key: the key that the link claims; ``None`` if there is no such key, which takes the
        same time.
    :return: the link, whose values can be trusted.
    :raise chatfiles.errors.Forbidden: 403, the link is not valid.
    """
    link = presented.link
    expected = signature(link, _NO_KEY if key is None else key)
    is_signed = hmac.compare_digest(expected, presented.signature)
    if key is None or not is_signed:
        raise invalid_link()
    return link


def check_times(link: SignedLink, now: float, not_before: int = 0) -> None:
    """
    Check the times of a link.  Whether it has been revoked is not checked.

    :param link: its signature is right.
    :param now: unix seconds.
    :param not_before: what the registry has as the earliest `issued` of the workspace's links.
        Many revocations in one second move it ahead of the clock, and new links with it.
    :raise chatfiles.errors.Forbidden: 403, the link has expired, or is not valid yet.
    """
    if int(link.expires) <= now:
        raise Forbidden("link has expired", code="link_expired")
    if int(link.issued) > max(now + MAX_CLOCK_SKEW, not_before):
        raise invalid_link()


def join_options(options: Mapping[str, str]) -> bytes:
    """
    :param options: the options of a link, by their short names: ASCII without ``;``, and names
        without ``=``.
    :return: ``key=value``, joined by ``;`` in the order of the keys; empty without options.
    """
    return ";".join(f"{key}={options[key]}" for key in sorted(options)).encode("ascii")


def split_options(raw: bytes) -> dict[str, str]:
    """:return: the options of a link whose signature is valid; see `join_options`."""
    pairs = (each.partition("=") for each in raw.decode("latin-1").split(";") if each)
    return {key: value for key, _, value in pairs}


def invalid_link() -> Forbidden:
    """:return: the error for a link that was not made with a key of this platform."""
    return Forbidden("link is not valid", code="invalid_link")


def revoked_link() -> Forbidden:
    """:return: the error for a link that was ended before it expired."""
    return Forbidden("link has been revoked", code="link_revoked")


def _malformed_link() -> BadRequest:
    return BadRequest("malformed link", code="malformed_link")
