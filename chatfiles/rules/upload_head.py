"""
The checks of an upload that both roles make before its body (reference/uploads, "Before the body").
"""

from __future__ import annotations

from multipart import parse_options_header

from chatfiles.errors import BadRequest, TooLarge, UnsupportedMediaType
from chatfiles.rules.header_fields import HeaderFields, is_coded

__all__ = ["MAX_FILES", "check_upload_head", "invalid_form", "megabytes", "request_too_large"]

#: The most files in one request.
MAX_FILES = 64
#: The most characters in a boundary (RFC 2046, 5.1.1).
MAX_BOUNDARY = 70


def megabytes(limit: int) -> str:
    """
    :param limit: a number of bytes.
    :return: the limit as text for error messages, such as ``100 MB``.
    """
    if limit % (1 << 20):
        return f"{limit} bytes"
    return f"{limit >> 20} MB"


def request_too_large(limit: int) -> TooLarge:
    """:return: the error for a body of more than *limit* bytes."""
    return TooLarge(
        f"request body exceeds total limit ({megabytes(limit)})", code="request_too_large"
    )


def invalid_form(detail: str) -> BadRequest:
    """
    :param detail: the ``detail`` of the response.
    :return: the error for a body that is not a well-formed form.
    """
    return BadRequest("failed to parse multipart form", code="invalid_multipart", detail=detail)


def check_upload_head(fields: HeaderFields, length: int | None, limit: int) -> str:
    """
    Validate the headers of an upload.

    :param fields: the headers of the request.
    :param length: the declared length of the body in bytes; ``None`` if the body is chunked.
    :param limit: the most bytes that a body may have.
    :return: the boundary between the parts of the form.
    :raise UnsupportedMediaType: the body is not ``multipart/form-data``, or has a content coding.
    :raise BadRequest: there is no valid boundary.
    :raise TooLarge: the declared length exceeds *limit*.
    """
    if is_coded(fields):
        raise UnsupportedMediaType("an upload must not have a Content-Encoding")
    types = fields.getRawHeaders(b"content-type", ())
    essence, options = parse_options_header(types[0].decode("latin-1")) if types else ("", {})
    if len(types) != 1 or essence.lower() != "multipart/form-data":
        raise UnsupportedMediaType("expected multipart/form-data")
    if length is not None and length > limit:
        raise request_too_large(limit)
    boundary = str(options.get("boundary", ""))
    if not 0 < len(boundary) <= MAX_BOUNDARY or not (boundary.isascii() and boundary.isprintable()):
        raise invalid_form("no valid boundary")
    return boundary
