"""
Pure: converts rows of the registry to values, and values to columns of a row.

Other programs may have written the rows, so every column is validated.  A row whose id is not a
canonical UUID is ignored, an unknown scope grants nothing, and a time that cannot be parsed is
``None``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from chatfiles.model import ALL_SCOPES, ChannelPlace, LinkClock, Scope, Token, Workspace, parse_uuid
from chatfiles.rules.link_keys import LinkKey
from chatfiles.rules.signed_links import KEY_BYTES

__all__ = [
    "channel_place_from_row",
    "format_scopes",
    "format_time",
    "link_clock_from_row",
    "link_key_from_row",
    "parse_scopes",
    "parse_time",
    "parse_uuid",
    "token_from_row",
    "utc",
    "workspace_from_row",
]


def workspace_from_row(row: Sequence[object]) -> Workspace | None:
    """
    :param row: a workspace row, in the order of `chatfiles.platform.registry.statements`.
    :return: the workspace, or ``None`` if the row's id is not a UUID.
    """
    raw_id, name, url, status, delivery_mode, secret, last_heartbeat_at, *ours = row
    not_before, following, channel_seen_at = ours
    workspace_id = stored_uuid(raw_id)
    if workspace_id is None:
        return None
    return Workspace(
        id=workspace_id,
        name=_text(name) or "",
        url=_text(url),
        status=_text(status),
        delivery_mode=_text(delivery_mode),
        inbound_secret=_text(secret),
        last_heartbeat_at=parse_time(last_heartbeat_at),
        links_not_before=not_before if isinstance(not_before, int) else 0,
        next_secret=_text(following),
        channel_seen_at=parse_time(channel_seen_at),
    )


def channel_place_from_row(row: Sequence[object]) -> ChannelPlace | None:
    """
    :param row: of `chatfiles.platform.registry.statements.Statements.channel_nodes`.
    :return: the place, or ``None`` if the id of the node is not a UUID.
    """
    raw_id, url, silent = row
    node_id = stored_uuid(raw_id)
    if node_id is None or not isinstance(silent, float):
        return None
    return ChannelPlace(node_id, _text(url), silent)


def link_clock_from_row(row: Sequence[object]) -> LinkClock:
    """
    :param row: of `chatfiles.platform.registry.statements.Statements.workspace_link_clock`.
    :return: its values, which are integers in both databases.
    """
    now, not_before = (value if isinstance(value, int) else 0 for value in row)
    return LinkClock(now, not_before)


def token_from_row(row: Sequence[object]) -> Token | None:
    """
    :param row: a token row, in the order of `chatfiles.platform.registry.statements`.
    :return: the token, or ``None`` if its id or its workspace's is not a UUID.
    """
    raw_id, raw_workspace_id, prefix, scopes, name, created_at, last_used_at = row
    token_id, workspace_id = stored_uuid(raw_id), stored_uuid(raw_workspace_id)
    if token_id is None or workspace_id is None:
        return None
    return Token(
        id=token_id,
        workspace_id=workspace_id,
        prefix=_text(prefix) or "",
        scopes=parse_scopes(scopes),
        name=_text(name),
        created_at=parse_time(created_at),
        last_used_at=parse_time(last_used_at),
    )


def link_key_from_row(row: Sequence[object]) -> LinkKey | None:
    """
    :param row: a key row, in the order of `chatfiles.platform.registry.statements`.
    :return: the key, or ``None`` if it is not complete.
    """
    key_id, raw_key, *raw_times = row
    key = bytes(raw_key) if isinstance(raw_key, bytes | memoryview) else b""
    created_at, signs_until, verifies_until = map(parse_time, raw_times)
    if not isinstance(key_id, str) or len(key) != KEY_BYTES:
        return None
    if created_at is None or signs_until is None or verifies_until is None:
        return None
    return LinkKey(key_id, key, created_at, signs_until, verifies_until)


def stored_uuid(value: object) -> UUID | None:
    """
    :param value: a UUID, or text.
    :return: the UUID, or ``None`` unless the text is its canonical form: a look-up would not find
        another form again.
    """
    if isinstance(value, UUID):
        return value
    found = parse_uuid(value) if isinstance(value, str) else None
    return found if str(found) == value else None


def parse_scopes(value: object) -> frozenset[Scope]:
    """
    :param value: scopes separated by spaces; ``None`` in a row that is older than scopes.
    :return: the known scopes among them; all scopes for ``None``.
    """
    if value is None:
        return ALL_SCOPES
    words = value.split() if isinstance(value, str) else ()
    return frozenset(scope for scope in Scope if scope.value in words)


def format_scopes(scopes: Iterable[Scope]) -> str:
    """:return: the scopes in a fixed order; never ``None``, which would mean all scopes."""
    return " ".join(sorted(scope.value for scope in scopes))


def parse_time(value: object) -> datetime | None:
    """
    :param value: ISO 8601 text (UTC if it names no zone), or a datetime.
    :return: the time in UTC, or ``None`` if it cannot be parsed.
    """
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(time, datetime):
            return None
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):  # not a time, or outside the years of Python in UTC
        return None


def format_time(time: datetime) -> str:
    """:return: ISO 8601 in UTC, always of the same length, so that texts sort like their times."""
    return utc(time).isoformat(timespec="microseconds")


def utc(time: datetime) -> datetime:
    """
    :return: the same time in UTC.
    :raise ValueError: *time* has no time zone.
    """
    if time.tzinfo is None:
        raise ValueError("a time of the registry must be aware")
    return time.astimezone(UTC)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
