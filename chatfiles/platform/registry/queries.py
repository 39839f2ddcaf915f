"""
The database queries of each call of the registry, the same for SQLite and PostgreSQL.

A query takes a `Session`.  A change takes a session with an open transaction, and also returns the
workspaces whose row or tokens it has changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from chatfiles.errors import BadRequest, Conflict
from chatfiles.model import ONLINE, LinkClock, Token, Workspace
from chatfiles.platform.registry.rows import (
    format_scopes,
    link_clock_from_row,
    link_key_from_row,
    token_from_row,
    utc,
    workspace_from_row,
)
from chatfiles.platform.registry.statements import Statements
from chatfiles.rules.link_keys import LINGERS, LinkKey, signing_key

T = TypeVar("T")
#: The result of a change, and the workspaces that it has changed; ``None`` among them if any
#: cached value may have changed.
Change = tuple[T, Sequence[UUID | None]]
#: Parameter → value: text, bytes, integers, aware datetimes, ``None``.
Values = Mapping[str, object]
Rows = Sequence[Sequence[object]]

#: The kinds of tokens in the tables of a third party: of the workspace itself, and of people.
INSTANCE, API = "instance", "api"

#: The purpose of keys that sign links.
LINKS = "link"

#: The id of no workspace.
_UNUSED_ID = UUID(int=0)


class Session(Protocol):
    """
    A database connection, for the use of one call.

    :ivar sql: the statements in its dialect.
    """

    sql: Statements

    def rows(self, sql: str, values: Values | None = None) -> Awaitable[Rows]:
        """:return: the result rows of *sql*."""

    def count(self, sql: str, values: Values) -> Awaitable[int]:
        """:return: how many rows *sql* has changed."""

    def touch(self, sql: str, moments: Mapping[UUID, datetime]) -> Awaitable[object]:
        """Execute *sql* for each row: id → the time to set."""


def unknown_workspace() -> BadRequest:
    """:return: the error for a list after a workspace that has never existed."""
    return BadRequest("after must be the id of a workspace", code="invalid_after")


def workspace_exists() -> Conflict:
    """:return: the error for creating a workspace whose id is in use."""
    return Conflict("a workspace with this id exists already")


def token_exists() -> Conflict:
    """:return: the error for adding a token that exists, revoked or not."""
    return Conflict("this token exists already")


def already_claimed() -> Conflict:
    """:return: the error for claiming a workspace that has a live token."""
    return Conflict("the workspace has a token already")


async def check(db: Session) -> None:
    """See `IWorkspaceRegistry.check`."""
    # The look-ups of a request, with ids that do not exist.
    values = {"workspace_id": str(_UNUSED_ID), "now": None}
    await workspace(db, _UNUSED_ID)
    await token(db, b"")
    await link_keys(db)
    await db.rows(db.sql.channel_seen, values)
    await db.rows(db.sql.channel_nodes, values)


async def workspace(db: Session, workspace_id: UUID, *, lock: bool = False) -> Workspace | None:
    """
    See `IWorkspaceRegistry.workspace`.

    :param lock: whether to lock the row until the transaction ends.
    """
    sql = db.sql.workspace + db.sql.lock if lock else db.sql.workspace
    rows = await db.rows(sql, {"id": str(workspace_id)})
    return workspace_from_row(rows[0]) if rows else None


async def workspaces(db: Session, limit: int, after: UUID | None) -> Sequence[Workspace]:
    """See `IWorkspaceRegistry.workspaces`."""
    if after is None:
        rows = await db.rows(db.sql.workspaces, {"limit": limit})
    else:
        ages = await db.rows(db.sql.workspace_age, {"id": str(after)})
        if not ages:
            raise unknown_workspace()
        values = {"age": ages[0][0], "id": str(after), "limit": limit}
        rows = await db.rows(db.sql.workspaces_after, values)
    return [found for row in rows if (found := workspace_from_row(row)) is not None]


async def create_workspace(
    db: Session,
    first: Token,
    digest: bytes,
    now: datetime,
    *,
    name: str,
    url: str | None,
    delivery_mode: str | None,
    secret: str,
) -> Change[Workspace]:
    """See `IWorkspaceRegistry.create_workspace`; *first* is the token."""
    values = {
        "id": str(first.workspace_id),
        "name": name,
        "url": url,
        "status": "provisioning",
        "delivery_mode": delivery_mode,
        "secret": secret,
        "heartbeat_at": None,
        "now": utc(now),
    }
    if not await _add_workspace(db, values):
        raise workspace_exists()
    await _add_token(db, first, digest, kind=API)
    created = await workspace(db, first.workspace_id)
    assert created is not None
    return created, [first.workspace_id]


async def register(
    db: Session,
    workspace_id: UUID,
    now: datetime,
    *,
    url: str | None,
    delivery_mode: str | None,
    create_name: str | None,
) -> Change[Workspace | None]:
    """See `IWorkspaceRegistry.register`."""
    values = {
        "id": str(workspace_id),
        "name": create_name,
        "url": url,
        "status": ONLINE,
        "delivery_mode": delivery_mode,
        "secret": None,
        "heartbeat_at": utc(now),
        "now": utc(now),
    }
    changed = await db.count(db.sql.workspace_register, values)
    if not changed and create_name is not None:
        changed = await _add_workspace(db, values)
        if not changed:  # another node has just created it, or it has been removed
            changed = await db.count(db.sql.workspace_register, values)
    registered = await workspace(db, workspace_id) if changed else None
    return registered, [] if registered is None else [workspace_id]


async def _add_workspace(db: Session, values: Values) -> int:
    """:return: 1, or 0 if a row with this id exists."""
    has_mode = values["delivery_mode"] is not None
    sql = db.sql.workspace_create if has_mode else db.sql.workspace_create_without_mode
    return await db.count(sql, values)


async def ensure_secret(
    db: Session, workspace_id: UUID, now: datetime, candidate: str
) -> Change[str | None]:
    """See `IWorkspaceRegistry.ensure_secret`."""
    values = {"id": str(workspace_id), "candidate": candidate, "now": utc(now)}
    changed = await db.count(db.sql.workspace_secret, values)
    found = await workspace(db, workspace_id)
    return None if found is None else found.inbound_secret, [workspace_id] if changed else []


async def rotate_secret(
    db: Session, workspace_id: UUID, now: datetime, candidate: str, *, force: bool
) -> Change[bool]:
    """See `IWorkspaceRegistry.rotate_secret`."""
    values = {"id": str(workspace_id), "candidate": candidate, "now": utc(now)}
    sql = db.sql.workspace_replace_secret if force else db.sql.workspace_next_secret
    changed = await db.count(sql, values) > 0
    return changed, [workspace_id] if changed else []


async def promote_secret(
    db: Session, workspace_id: UUID, now: datetime, expected: str
) -> Change[Workspace | None]:
    """See `IWorkspaceRegistry.promote_secret`."""
    values = {"id": str(workspace_id), "expected": expected, "now": utc(now)}
    changed = await db.count(db.sql.workspace_promote_secret, values)
    return await workspace(db, workspace_id), [workspace_id] if changed else []


async def touch_workspaces(db: Session, last_seen: Mapping[UUID, datetime]) -> Change[None]:
    """See `IWorkspaceRegistry.touch_workspaces`."""
    await db.touch(db.sql.workspace_touch, last_seen)
    return None, []


async def remove_workspace(db: Session, workspace_id: UUID, now: datetime) -> Change[bool]:
    """See `IWorkspaceRegistry.remove_workspace`."""
    values = {"id": str(workspace_id), "workspace_id": str(workspace_id), "now": utc(now)}
    if not await db.count(db.sql.workspace_remove, values):
        return False, []
    await db.count(db.sql.token_revoke_all, values)
    return True, [workspace_id]


async def link_clock(db: Session, workspace_id: UUID, now: datetime) -> LinkClock | None:
    """See `IWorkspaceRegistry.link_clock`."""
    values = {"id": str(workspace_id), "seconds": int(now.timestamp())}
    rows = await db.rows(db.sql.workspace_link_clock, values)
    return link_clock_from_row(rows[0]) if rows else None


async def revoke_links(db: Session, workspace_id: UUID, now: datetime) -> Change[bool]:
    """See `IWorkspaceRegistry.revoke_links`."""
    values = {"id": str(workspace_id), "seconds": int(now.timestamp()), "now": utc(now)}
    revoked = await db.count(db.sql.workspace_revoke_links, values) > 0
    return revoked, [workspace_id] if revoked else []


async def token(db: Session, digest: bytes) -> Token | None:
    """See `IWorkspaceRegistry.token`."""
    rows = await db.rows(db.sql.token, {"digest": digest})
    return token_from_row(rows[0]) if rows else None


async def token_by_id(db: Session, token_id: UUID) -> Token | None:
    """See `IWorkspaceRegistry.token_by_id`."""
    rows = await db.rows(db.sql.token_by_id, {"id": str(token_id)})
    return token_from_row(rows[0]) if rows else None


async def tokens(db: Session, workspace_id: UUID) -> Sequence[Token]:
    """See `IWorkspaceRegistry.tokens`."""
    rows = await db.rows(db.sql.tokens, {"workspace_id": str(workspace_id)})
    return [found for row in rows if (found := token_from_row(row)) is not None]


async def has_live_token(db: Session, workspace_id: UUID) -> bool:
    """See `IWorkspaceRegistry.has_live_token`."""
    has_kind = await db.rows(db.sql.token_has_kind)
    sql = db.sql.token_any_instance if has_kind else db.sql.token_any
    return bool(await db.rows(sql, {"workspace_id": str(workspace_id)}))


async def create_token(
    db: Session, new: Token, digest: bytes, *, only_first: bool
) -> Change[Token | None]:
    """See `IWorkspaceRegistry.create_token`."""
    if await workspace(db, new.workspace_id, lock=True) is None:
        return None, []
    if only_first and await has_live_token(db, new.workspace_id):
        return None, []
    await _add_token(db, new, digest, kind=INSTANCE if only_first else API)
    return new, [new.workspace_id]


async def _add_token(db: Session, new: Token, digest: bytes, *, kind: str) -> None:
    values = {
        "id": str(new.id),
        "workspace_id": str(new.workspace_id),
        "digest": digest,
        "prefix": new.prefix,
        "scopes": format_scopes(new.scopes),
        "name": new.name,
        "now": new.created_at,
        "kind": kind,
    }
    has_kind = await db.rows(db.sql.token_has_kind)
    sql = db.sql.token_create_of_kind if has_kind else db.sql.token_create
    if not await db.count(sql, values):
        raise token_exists()


async def claim(
    db: Session,
    new: Token,
    digest: bytes,
    now: datetime,
    *,
    url: str | None,
    delivery_mode: str | None,
    create_name: str,
) -> Change[Workspace | None]:
    """See `IWorkspaceRegistry.claim`."""
    # This comes first: it locks the row, so that no other transaction adds a token before the
    # commit.
    registered, changed = await register(
        db,
        new.workspace_id,
        now,
        url=url,
        delivery_mode=delivery_mode,
        create_name=create_name,
    )
    if registered is None:
        return None, []
    created, _ = await create_token(db, new, digest, only_first=True)
    if created is None:
        raise already_claimed()
    return registered, changed


async def revoke_token(
    db: Session, workspace_id: UUID, token_id: UUID, now: datetime
) -> Change[bool]:
    """See `IWorkspaceRegistry.revoke_token`."""
    values = {"id": str(token_id), "workspace_id": str(workspace_id), "now": utc(now)}
    revoked = await db.count(db.sql.token_revoke, values) > 0
    return revoked, [workspace_id] if revoked else []


async def touch_tokens(db: Session, used: Mapping[UUID, datetime]) -> Change[None]:
    """See `IWorkspaceRegistry.touch_tokens`."""
    await db.touch(db.sql.token_touch, used)
    return None, []


async def link_keys(db: Session) -> Sequence[LinkKey]:
    """See `IWorkspaceRegistry.link_keys`."""
    rows = await db.rows(db.sql.keys, {"purpose": LINKS})
    return [found for row in rows if (found := link_key_from_row(row)) is not None]


async def ensure_link_key(db: Session, now: datetime, candidate: LinkKey) -> Change[LinkKey]:
    """See `IWorkspaceRegistry.ensure_link_key`."""
    await db.rows(db.sql.keys_lock)
    found = signing_key(await link_keys(db), now)
    if found is not None:
        return found, []
    await _add_link_key(db, candidate)
    return candidate, [None]


async def rotate_link_keys(db: Session, now: datetime, successor: LinkKey) -> Change[None]:
    """See `IWorkspaceRegistry.rotate_link_keys`."""
    await db.rows(db.sql.keys_lock)
    values = {"purpose": LINKS, "now": utc(now), "until": utc(now + LINGERS)}
    await db.count(db.sql.keys_retire, values)
    await _add_link_key(db, successor)
    return None, [None]


async def revoke_link_key(db: Session, key_id: str) -> Change[bool]:
    """See `IWorkspaceRegistry.revoke_link_key`."""
    await db.rows(db.sql.keys_lock)
    found = next((key for key in await link_keys(db) if key.id == key_id), None)
    if found is None or found.is_revoked:  # PostgreSQL notifies of a change to no row, too
        return found is not None, []
    await db.count(db.sql.key_revoke, {"purpose": LINKS, "id": key_id})
    return True, [None]


async def _add_link_key(db: Session, new: LinkKey) -> None:
    values = {
        "id": new.id,
        "purpose": LINKS,
        "key": new.key,
        "created_at": utc(new.created_at),
        "signs_until": utc(new.signs_until),
        "verifies_until": utc(new.verifies_until),
    }
    await db.count(db.sql.key_create, values)
