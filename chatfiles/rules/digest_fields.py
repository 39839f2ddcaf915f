"""
The headers ``Want-Repr-Digest``, ``Repr-Digest`` and ``Content-Digest`` (RFC 9530;
reference/digests, "Request header" and "Response header").

All are dictionaries of structured fields (RFC 8941, 3.2).  Only the member ``sha-256`` counts, but
a dictionary with a malformed member is malformed as a whole.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

__all__ = [
    "CONTENT_DIGEST",
    "REPR_DIGEST",
    "WANT_REPR_DIGEST",
    "given_sha256",
    "is_repr_digest",
    "repr_digest",
    "wants_sha256",
]

WANT_REPR_DIGEST, REPR_DIGEST = b"Want-Repr-Digest", b"Repr-Digest"
CONTENT_DIGEST = b"Content-Digest"

# The grammar of RFC 8941, 3.  No alternative begins like another one, so a match takes time
# proportional to the length.
_KEY = rb"[a-z*][a-z0-9_.*-]*+"
_BARE = (
    rb"(?:-?[0-9]{1,12}\.[0-9]{1,3}+(?![0-9])|-?[0-9]{1,15}+(?![0-9.])"
    rb'|"(?:[ !#-\[\]-~]|\\["\\])*+"'
    rb"|[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*+"
    rb"|:(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?+:"
    rb"|\?[01])"
)
_PARAMETERS = rb"(?:; *+%b(?:=%b)?+)*+" % (_KEY, _BARE)
_INNER_LIST = rb"\( *+(?:%b%b(?: ++|(?=\))))*+\)" % (_BARE, _PARAMETERS)
_MEMBER = re.compile(
    rb"(%b)(?:=(%b|%b))?+%b[ \t]*+(?:(,)[ \t]*+|\Z)" % (_KEY, _BARE, _INNER_LIST, _PARAMETERS)
)
_INTEGER = re.compile(rb"[0-9]{1,15}")
#: A byte sequence of 32 bytes, in base64 with its padding.
_SHA256 = re.compile(rb":[A-Za-z0-9+/]{43}=:")


def wants_sha256(values: Sequence[bytes]) -> bool:
    """
    :param values: of the header ``Want-Repr-Digest``, one for each line; several are one list.
    :return: whether the client wants the SHA-256: the member ``sha-256`` is an integer from 1 to
        10.  A malformed header is ignored.
    """
    if not values:
        return False
    weight = _sha256_member(values)
    return _INTEGER.fullmatch(weight) is not None and 1 <= int(weight) <= 10


def is_repr_digest(values: Sequence[bytes]) -> bool:
    """
    :param values: of the header ``Repr-Digest``, one for each line.
    :return: whether there is one line, a dictionary whose member ``sha-256`` has 32 bytes.
    """
    return len(values) == 1 and _SHA256.fullmatch(_sha256_member(values)) is not None


def given_sha256(values: Sequence[bytes]) -> bytes | None:
    """
    :param values: of the header ``Repr-Digest`` or ``Content-Digest`` of an upload, one for each
        line; several are one dictionary.
    :return: its SHA-256, 32 bytes; ``None`` if it has none, or is malformed.
    """
    member = _sha256_member(values)
    return base64.b64decode(member[1:-1]) if _SHA256.fullmatch(member) else None


def repr_digest(sha256: bytes) -> bytes:
    """
    :param sha256: the SHA-256 of a whole file, 32 bytes.
    :return: the value of ``Repr-Digest``.
    """
    return b"sha-256=:%b:" % base64.b64encode(sha256)


def _sha256_member(lines: Sequence[bytes]) -> bytes:
    """
    :return: the last member ``sha-256`` of a dictionary, as it is written, without its parameters;
        empty if there is none, or the dictionary is malformed.
    """
    text, position = b", ".join(lines).strip(b" "), 0
    found, comma = b"", True
    while comma:  # a comma is followed by another member
        member = _MEMBER.match(text, position)
        if member is None:
            return b""
        if member[1] == b"sha-256":
            found = member[2] or b""  # without a value it is the boolean true
        position, comma = member.end(), bool(member[3])
    return found
