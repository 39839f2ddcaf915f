"""
Pure: the error for a row that violates a constraint of its table.

Operators and other programs may have added constraints that chatfiles does not know.
"""

from __future__ import annotations

from chatfiles.errors import BadRequest, ChatfilesError, ConstraintViolated, Misconfigured

__all__ = ["constraint_error"]

#: Columns that are empty only if the client sent no value for them.
_FROM_CLIENT = frozenset({"url", "delivery_mode"})


def constraint_error(rule: str, missing: str | None) -> ChatfilesError:
    """
    :param rule: the constraint in the words of the database, without a value of the row.
    :param missing: the column that must not be NULL, if this is the constraint.
    :return: the error.  A retry would fail in the same way.
    """
    if missing is None:
        return ConstraintViolated(detail=rule)
    if missing in _FROM_CLIENT:
        return BadRequest(f"this registry needs {missing}", code="invalid_field", detail=rule)
    return Misconfigured(detail=rule)
