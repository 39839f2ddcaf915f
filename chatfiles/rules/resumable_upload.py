"""
The headers of resumable uploads, as both roles read them (tus 1.0.0; reference/resumable).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chatfiles.errors import (
    BadRequest,
    PreconditionFailed,
    TooLarge,
    UnsupportedMediaType,
)
from chatfiles.rules.header_fields import HeaderFields, is_coded
from chatfiles.rules.upload_metadata import Metadata, parse_metadata

__all__ = [
    "ALGORITHMS",
    "CHUNK_TYPE",
    "EXTENSIONS",
    "UPLOAD_ID",
    "VERSION",
    "Checksum",
    "Chunk",
    "Creation",
    "check_body",
    "creation_of",
    "patch_of",
    "require_version",
    "upload_too_large",
    "upload_too_long",
]

VERSION: Final = b"1.0.0"
EXTENSIONS: Final = (
    b"creation,creation-with-upload,creation-defer-length,expiration,termination,checksum"
)
#: The media type of a body that is a part of a file.
CHUNK_TYPE: Final = b"application/offset+octet-stream"
#: The algorithms of checksums, and the bytes of each.
ALGORITHMS: Final = {b"sha1": 20, b"sha256": 32}
UPLOAD_ID: Final = re.compile(r"[0-9a-f]{32}")

_NUMBER = re.compile(rb"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Checksum:
    """
    The checksum of one chunk.

    :param algorithm: ``sha1`` or ``sha256``.
    """

    algorithm: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Creation:
    """
    The request that creates an upload.

    :param length: bytes of the whole file; ``None`` if a later request says it.
    :param metadata: of the file.
    """

    length: int | None
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Chunk:
    """
    The request that appends to an upload.

    :param offset: where its body begins, in bytes; ``None`` at the creation.
    :param length: of the whole file, if it is deferred and the request says it.
    :param declared: bytes of the body; ``None`` if it is chunked.
    :param checksum: that the body must have.
    """

    offset: int | None
    length: int | None
    declared: int | None
    checksum: Checksum | None


def require_version(fields: HeaderFields) -> None:
    """
    :raise PreconditionFailed: 412, the client does not speak tus 1.0.0.
    """
    if list(fields.getRawHeaders(b"Tus-Resumable", ())) != [VERSION]:
        text = "Tus-Resumable: 1.0.0 required"
        raise PreconditionFailed(text, code="unsupported_tus_version")


def creation_of(fields: HeaderFields, limit: int) -> Creation:
    """
    :param fields: the headers of a ``POST``.
    :param limit: the most bytes of a file.
    :return: what they ask for.
    :raise BadRequest: 400, a header is missing or malformed.
    :raise TooLarge: 413, the file is too large.
    """
    lengths, deferred = (
        fields.getRawHeaders(name, ()) for name in (b"Upload-Length", b"Upload-Defer-Length")
    )
    length = _number(lengths)
    if (length is None) == (not deferred) or (lengths and deferred) or not _is_one(deferred):
        text = "Upload-Length or Upload-Defer-Length: 1 required"
        raise BadRequest(text, code="upload_length_required")
    if length is not None and length > limit:
        raise upload_too_large(limit)
    return Creation(length, parse_metadata(fields.getRawHeaders(b"Upload-Metadata", ())))


def check_body(fields: HeaderFields, declared: int | None, length: int | None) -> Chunk | None:
    """
    Validate the body of a ``POST``.

    :param declared: bytes of the body; ``None`` if it is chunked, 0 if there is none.
    :param length: of the whole file; ``None`` if it is not known.
    :return: the chunk with which the upload begins; ``None`` if there is no body.
    :raise UnsupportedMediaType: 415, the body would not be the file.
    :raise TooLarge: 413, the body is longer than the file.
    :raise BadRequest: 400, the checksum is malformed.
    """
    if declared == 0:
        return None
    _check_type(fields)
    if None not in (declared, length) and (declared or 0) > (length or 0):
        raise upload_too_long()
    return Chunk(None, None, declared, _checksum(fields))


def patch_of(fields: HeaderFields, declared: int | None, limit: int) -> Chunk:
    """
    :param fields: the headers of a ``PATCH``.
    :param declared: bytes of the body; ``None`` if it is chunked.
    :param limit: the most bytes of a file.
    :return: what they ask for.
    :raise UnsupportedMediaType: 415, the body would not be a part of the file.
    :raise BadRequest: 400, a header is missing or malformed.
    :raise TooLarge: 413, the file is too large.
    """
    _check_type(fields)
    offset = _number(fields.getRawHeaders(b"Upload-Offset", ()))
    if offset is None:
        raise BadRequest("invalid Upload-Offset", code="invalid_upload_offset")
    lengths = fields.getRawHeaders(b"Upload-Length", ())
    length = _number(lengths)
    if lengths and length is None:
        raise BadRequest("invalid Upload-Length", code="invalid_upload_length")
    if length is not None and length > limit:
        raise upload_too_large(limit)
    return Chunk(offset, length, declared, _checksum(fields))


def upload_too_large(limit: int) -> TooLarge:
    """:return: the error for a file of more than *limit* bytes."""
    return TooLarge(f"upload exceeds limit ({limit} bytes)", code="upload_too_large")


def upload_too_long() -> TooLarge:
    """:return: the error for more bytes than the file has."""
    return TooLarge("more than Upload-Length", code="upload_too_long")


def _number(values: Sequence[bytes]) -> int | None:
    """:return: the only value, a number of 1 to 18 digits; else ``None``."""
    is_number = len(values) == 1 and _NUMBER.fullmatch(values[0])
    return int(values[0]) if is_number else None


def _is_one(values: Sequence[bytes]) -> bool:
    return not values or list(values) == [b"1"]


def _check_type(fields: HeaderFields) -> None:
    types = [
        each.partition(b";")[0].strip().lower()
        for each in fields.getRawHeaders(b"Content-Type", ())
    ]
    if types != [CHUNK_TYPE]:
        raise UnsupportedMediaType(f"Content-Type must be {CHUNK_TYPE.decode('ascii')}")
    if is_coded(fields):
        raise UnsupportedMediaType("a part of a file must not have a Content-Encoding")


def _checksum(fields: HeaderFields) -> Checksum | None:
    values = fields.getRawHeaders(b"Upload-Checksum", ())
    if not values:
        return None
    algorithm, _, encoded = values[0].partition(b" ")
    if len(values) > 1 or not encoded:
        raise _invalid_checksum()
    if algorithm not in ALGORITHMS:
        text = "unsupported checksum"
        raise BadRequest(text, code="unsupported_checksum", detail="sha1 and sha256 are supported")
    try:
        digest = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise _invalid_checksum() from None
    if len(digest) != ALGORITHMS[algorithm]:
        raise _invalid_checksum()
    return Checksum(algorithm.decode("ascii"), digest)


def _invalid_checksum() -> BadRequest:
    return BadRequest("invalid Upload-Checksum", code="invalid_checksum")
