"""
Pure: what is told of a row that breaks a rule of its table.  The rules are of others.
"""

from __future__ import annotations

from chatfiles.errors import BadRequest, ChatfilesError, ConstraintViolated, Misconfigured

__all__ = ["violation"]

#: Columns that stay empty only if the caller gives nothing.
_GIVEN = frozenset({"url", "delivery_mode"})


def violation(rule: str, missing: str | None) -> ChatfilesError:
    """
    :param rule: which rule it is, in the database's words, without a value of the row.
    :param missing: the column that has to have a value but got none, if that is the rule.
    :return: the error: trying again will not help.
    """
    if missing is None:
        return ConstraintViolated(detail=rule)
    if missing in _GIVEN:
        return BadRequest(f"this registry needs {missing}", code="invalid_field", detail=rule)
    return Misconfigured(detail=rule)
