"""
Validates the members of the platform's JSON request bodies, each in one place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from chatfiles.errors import BadRequest
from chatfiles.model import ALL_SCOPES, Scope, parse_uuid
from chatfiles.platform import error_texts

__all__ = [
    "optional_flag",
    "optional_text",
    "printable_part",
    "require_allowed",
    "required_id",
    "scopes_of",
    "time_text",
]

#: Maximum length of a name or mode in characters.
MAX_TEXT = 256


def optional_text(body: dict[str, Any], name: str, limit: int = MAX_TEXT) -> str | None:
    """
    :param body: a JSON body.
    :param name: a member of it.
    :param limit: its maximum length in characters.
    :return: the text of the member; ``None`` if it is absent or null.
    :raise BadRequest: the member is not text, is too long, or has control characters.
    """
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > limit or not value.isprintable():
        raise BadRequest(
            f"{name} must be a printable text of at most {limit} characters", code="invalid_field"
        )
    return value


def optional_flag(body: dict[str, Any], name: str) -> bool:
    """
    :return: the member of a JSON body; ``False`` if it is absent.
    :raise BadRequest: the member is neither true nor false.
    """
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise BadRequest(f"{name} must be true or false", code="invalid_field")
    return value


def printable_part(value: object, limit: int = MAX_TEXT) -> str:
    """
    :return: the first *limit* characters of *value*, with spaces for control characters; empty if
        *value* is not text.
    """
    text = value if isinstance(value, str) else ""
    return "".join(c if c.isprintable() else " " for c in text[:limit]).strip()


def required_id(body: dict[str, Any], name: str) -> UUID:
    """
    :param body: a JSON body.
    :param name: the member that holds a workspace id.
    :return: the workspace id.
    :raise BadRequest: the member is absent or is not a UUID.
    """
    value = body.get(name)
    workspace_id = parse_uuid(value) if isinstance(value, str) else None
    if workspace_id is None:
        raise error_texts.invalid_id()
    return workspace_id


async def require_allowed(url: str, check_url: Callable[[str], Awaitable[None]]) -> None:
    """
    :param url: the URL of a workspace.
    :param check_url: raises `ValueError` with the reason (reference/workspace-urls, "When it is
        checked").
    :raise BadRequest: the URL is not allowed.
    """
    try:
        await check_url(url)
    except ValueError as error:
        raise BadRequest(f"workspace URL not allowed: {error}", code="invalid_url") from None


def scopes_of(body: dict[str, Any]) -> frozenset[Scope]:
    """
    :return: the ``scopes`` of a JSON body; all scopes if the member is absent or null.
    :raise BadRequest: the member is not a list of known scopes.
    """
    given = body.get("scopes")
    if given is None:
        return ALL_SCOPES
    try:
        if not isinstance(given, list) or not given:
            raise ValueError
        return frozenset(Scope(scope) for scope in given)
    except (ValueError, TypeError):
        names = ", ".join(Scope)
        raise BadRequest(
            f"scopes must be a non-empty list of: {names}", code="invalid_scopes"
        ) from None


def time_text(value: datetime | None) -> str | None:
    """:return: the time in the format of JSON responses (ISO 8601); ``None`` for ``None``."""
    return value.isoformat() if value is not None else None
