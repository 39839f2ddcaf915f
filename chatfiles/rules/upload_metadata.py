"""
The header ``Upload-Metadata`` of tus (reference/resumable, "Metadata").
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from chatfiles.errors import BadRequest
from chatfiles.rules.header_fields import TOKEN
from chatfiles.rules.media_types import media_type_essence

__all__ = ["MAX_METADATA", "Metadata", "encode_metadata", "is_metadata", "parse_metadata"]

#: The most bytes of the header.
MAX_METADATA: Final = 8 * 1024

_KEY = re.compile(rb"[!-+\--~]+")
_SHA256 = re.compile(rb"[0-9A-Fa-f]{64}")
_MEDIA_TYPE = re.compile(TOKEN + rb"/" + TOKEN)


@dataclass(frozen=True, slots=True)
class Metadata:
    """
    What a client says of the file that it uploads.

    :param values: the values by key, in the order of the header; empty for a key without a value.
    """

    values: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def filename(self) -> str:
        """The name that the client gives the file, or an empty text."""
        return self.values.get(b"filename", b"").decode("utf-8", "replace")

    @property
    def sha256(self) -> bytes | None:
        """The SHA-256 that the whole file must have, 32 bytes; ``None`` if it is not given."""
        given = self.values.get(b"sha256")
        return None if given is None else bytes.fromhex(given.decode("ascii"))

    def media_type(self, name: bytes) -> str:
        """
        :param name: of the file.
        :return: the media type without parameters: the given one, else by the name's extension.
        """
        given = self.values.get(b"filetype", b"").partition(b";")[0].strip().lower()
        if _MEDIA_TYPE.fullmatch(given):
            return given.decode("ascii")
        return media_type_essence(name)


def parse_metadata(lines: Sequence[bytes]) -> Metadata:
    """
    :param lines: the values of the header, one for each of its lines; several are one list.
    :return: the metadata; empty without the header.
    :raise BadRequest: 400, the header is malformed or too long.
    """
    text = b",".join(lines)
    if len(text) > MAX_METADATA:
        raise _invalid(f"it has more than {MAX_METADATA} bytes")
    values: dict[bytes, bytes] = {}
    for item in text.split(b",") if text.strip(b" \t") else ():
        key, _, encoded = item.strip(b" \t").partition(b" ")
        if not _KEY.fullmatch(key):
            raise _invalid("an item has no key")
        if key in values:
            raise _invalid("a key is repeated")
        values[key] = _decoded(encoded)
    if not _SHA256.fullmatch(values.get(b"sha256", b"0" * 64)):
        raise _invalid("sha256 must have 64 hexadecimal digits")
    return Metadata(values)


def is_metadata(value: bytes) -> bool:
    """:return: whether a value of the header is well-formed."""
    try:
        parse_metadata([value])
    except BadRequest:
        return False
    return True


def encode_metadata(values: Iterable[tuple[bytes, bytes]]) -> bytes:
    """
    :param values: keys and values.
    :return: the value of the header.
    """
    return b",".join(
        b"%b %b" % (key, base64.b64encode(value)) if value else key for key, value in values
    )


def _decoded(encoded: bytes) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise _invalid("a value is not in base64 with padding") from None


def _invalid(detail: str) -> BadRequest:
    return BadRequest("invalid Upload-Metadata", code="invalid_metadata", detail=detail)
