"""
The requests that write files and change names, as both roles read them (reference/writes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatfiles.errors import (
    BadRequest,
    LengthRequired,
    TooLarge,
    UnsupportedMediaType,
)
from chatfiles.rules.digest_fields import CONTENT_DIGEST, REPR_DIGEST, given_sha256
from chatfiles.rules.header_fields import HeaderFields, is_coded
from chatfiles.rules.json_path import invalid_field, named_path
from chatfiles.rules.parameters import Query, invalid, single
from chatfiles.rules.virtual_paths import VirtualPath, check_form

__all__ = [
    "Move",
    "WriteOptions",
    "check_write_head",
    "file_too_large",
    "flag",
    "given_digests",
    "move_body",
    "path_of",
    "write_options",
]

_MODE = re.compile(rb"[4-7][0-7][0-7]")


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """
    The parameters of a ``PUT``.

    :param parents: whether to create missing directories.
    :param mode: the permission bits of the file; ``None`` if the client does not say.
    """

    parents: bool = False
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """
    The body of a move.

    :param overwrite: whether a file may be replaced.
    """

    origin: VirtualPath
    destination: VirtualPath
    overwrite: bool = False


def path_of(query: Query) -> VirtualPath:
    """
    :return: the path that a query names.
    :raise chatfiles.errors.InvalidPath: 400, it breaks a rule of form.
    """
    return check_form(list(query.get(b"path", ())))


def write_options(query: Query) -> WriteOptions:
    """
    :return: the parameters of a ``PUT``, without its path.
    :raise chatfiles.errors.BadRequest: 400, one is invalid or repeated.
    """
    parents, mode = flag(query, "parents"), single(query, "mode")
    if mode is None:
        return WriteOptions(parents)
    if not _MODE.fullmatch(mode):
        raise invalid("mode")
    return WriteOptions(parents, int(mode, 8))


def flag(query: Query, name: str) -> bool:
    """
    :param name: of a parameter that is ``0`` or ``1``.
    :return: whether it is ``1``.
    :raise chatfiles.errors.BadRequest: 400, it is something else, or repeated.
    """
    value = single(query, name)
    if value not in (None, b"0", b"1"):
        raise invalid(name)
    return value == b"1"


def check_write_head(fields: HeaderFields, length: int | None, limit: int) -> None:
    """
    Validate the headers of a ``PUT``.

    :param length: the declared length of the body in bytes; ``None`` if it is chunked.
    :param limit: the most bytes of a file.
    :raise LengthRequired: 411, the length of the body is unknown.
    :raise UnsupportedMediaType: 415, the body would not be the file.
    :raise TooLarge: 413, the body is too large.
    :raise BadRequest: 400, a digest is malformed.
    """
    framing = (b"content-length", b"transfer-encoding")
    if not any(fields.getRawHeaders(name, ()) for name in framing):
        raise LengthRequired
    if is_coded(fields):
        raise UnsupportedMediaType("a file must not have a Content-Encoding")
    if fields.getRawHeaders(b"content-range", ()):
        raise UnsupportedMediaType("a part of a file cannot be written")
    types = fields.getRawHeaders(b"content-type", ())
    if any(each.split(b";")[0].strip().lower() == b"multipart/form-data" for each in types):
        text = "a form would be stored as the file"
        raise UnsupportedMediaType(text, detail="send the bytes of the file as the body")
    if length is not None and length > limit:
        raise file_too_large(limit)
    given_digests(fields)


def file_too_large(limit: int) -> TooLarge:
    """:return: the error for a file of more than *limit* bytes."""
    return TooLarge(f"file exceeds limit ({limit} bytes)", code="file_too_large")


def given_digests(fields: HeaderFields) -> frozenset[bytes]:
    """
    :param fields: the headers of an upload.  It has no content coding, so ``Repr-Digest`` and
        ``Content-Digest`` mean the same (RFC 9530, 2 and 3).
    :return: every SHA-256 that the file must have, 32 bytes each.
    :raise BadRequest: 400, a header is malformed, or has no SHA-256.
    """
    found = set()
    for name in (REPR_DIGEST, CONTENT_DIGEST):
        if values := fields.getRawHeaders(name, ()):
            digest = given_sha256(values)
            if digest is None:
                raise BadRequest("invalid digest field", code="invalid_digest")
            found.add(digest)
    return frozenset(found)


def move_body(body: Mapping[str, Any]) -> Move:
    """
    :param body: the JSON object of the request.
    :return: what is moved.
    :raise chatfiles.errors.BadRequest: 400, a member is missing or invalid.
    """
    origin, destination = (_named(body, name) for name in ("from", "to"))
    overwrite = body.get("overwrite", False)
    if not isinstance(overwrite, bool):
        raise invalid_field("overwrite must be true or false")
    return Move(origin, destination, overwrite)


def _named(body: Mapping[str, Any], member: str) -> VirtualPath:
    if not isinstance(body.get(member), dict):
        raise invalid_field(f'{member} must be an object with "path" or "ref"')
    return named_path(body[member])
