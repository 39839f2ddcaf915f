"""
Reads a path that a JSON request body names (reference/listing, "Entries").
"""

from __future__ import annotations

from chatfiles.errors import BadRequest, InvalidPath
from chatfiles.rules.query import decode_query_value
from chatfiles.rules.virtual_paths import VirtualPath, check_form

__all__ = ["invalid_field", "named_path"]


def named_path(given: object) -> VirtualPath:
    """
    :param given: a JSON object that names a path: as text in ``path``, or encoded in ``ref``.
    :return: the path.
    :raise BadRequest: it names none, or not a valid one; ``detail`` has an invalid one.
    """
    members = given if isinstance(given, dict) else {}
    text, ref = members.get("path"), members.get("ref")
    named = text if ref is None else ref
    if not isinstance(named, str) or (text is not None and ref is not None):
        raise invalid_field("give path or ref")
    try:
        raw = named.encode("utf-8")
    except UnicodeEncodeError:  # JSON can name a surrogate, which is no text
        raise InvalidPath(detail=ascii(named)[1:-1]) from None
    try:
        return check_form([raw if ref is None else decode_query_value(raw)])
    except InvalidPath as error:
        error.detail = named
        raise


def invalid_field(text: str) -> BadRequest:
    """:return: the error for a member that breaks the rule that *text* names."""
    return BadRequest(text, code="invalid_field")
