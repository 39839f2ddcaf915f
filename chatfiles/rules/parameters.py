"""
Reads the parameters of a query that have a fixed form (reference/listing, "Parameters").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from chatfiles.errors import BadRequest

__all__ = ["invalid", "number", "single"]

_NUMBER = re.compile(rb"[0-9]{1,15}")

Query = Mapping[bytes, Sequence[bytes]]


def single(query: Query, name: str) -> bytes | None:
    """
    :param query: the result of `chatfiles.rules.query.parse_query`.
    :param name: of a parameter that may be given once.
    :return: its value; ``None`` if it is not given.
    :raise chatfiles.errors.BadRequest: 400, it is given more than once.
    """
    values = query.get(name.encode("ascii"), ())
    if len(values) > 1:
        raise BadRequest(f"{name} must be given once", code="parameter_repeated")
    return values[0] if values else None


def number(query: Query, name: str, least: int, most: int, default: int) -> int:
    """
    :param query: as for `single`.
    :param name: of a parameter whose value is a decimal number.
    :param least: the least that is valid.
    :param most: the most that is valid.
    :param default: the result if it is not given.
    :return: the number.
    :raise chatfiles.errors.BadRequest: 400, it is not a number, out of bounds, or repeated.
    """
    value = single(query, name)
    if value is None:
        return default
    if not _NUMBER.fullmatch(value) or not least <= int(value) <= most:
        raise invalid(name)
    return int(value)


def invalid(name: str) -> BadRequest:
    """:return: the error for a parameter *name* whose value is invalid."""
    return BadRequest(f"invalid {name}", code=f"invalid_{name}")
