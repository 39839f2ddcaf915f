"""
What each call of the registry does with a SQLite connection.

A query is given a connection; a change is given one with a transaction open, and also gives the
workspaces whose row or tokens it has changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from sqlite3 import Connection
from typing import TypeVar
from uuid import UUID

from chatfiles.errors import Conflict
from chatfiles.model import Token, Workspace
from chatfiles.platform.registry.rows import (
    text_of_moment,
    text_of_scopes,
    token_of,
    workspace_of,
)
from chatfiles.platform.registry.statements import SQLITE as SQL

T = TypeVar("T")
#: The result of a call, and the workspaces that it has changed.
Change = tuple[T, Sequence[UUID]]


def check(db: Connection) -> None:
    db.execute(SQL.check).fetchone()


def version(db: Connection) -> int:
    """:return: a number that changes when another connection has changed the database."""
    (seen,) = db.execute("PRAGMA data_version").fetchone()
    return int(seen)


def workspace(db: Connection, workspace_id: UUID) -> Workspace | None:
    row = db.execute(SQL.workspace, {"id": str(workspace_id)}).fetchone()
    return None if row is None else workspace_of(row)


def workspaces(db: Connection) -> Sequence[Workspace]:
    rows = db.execute(SQL.workspaces)
    return [found for row in rows if (found := workspace_of(row)) is not None]


def create_workspace(
    db: Connection,
    workspace_id: UUID,
    now: datetime,
    *,
    name: str,
    url: str | None,
    delivery_mode: str | None,
    secret: str,
) -> Change[Workspace]:
    values = {
        "id": str(workspace_id),
        "name": name,
        "url": url,
        "status": "provisioning",
        "delivery_mode": delivery_mode,
        "secret": secret,
        "heartbeat_at": None,
        "now": text_of_moment(now),
    }
    if not db.execute(SQL.workspace_create, values).rowcount:
        raise Conflict("a workspace with this id exists already")
    created = workspace(db, workspace_id)
    assert created is not None
    return created, [workspace_id]


def register(
    db: Connection,
    workspace_id: UUID,
    now: datetime,
    *,
    url: str | None,
    delivery_mode: str | None,
    create_name: str | None,
) -> Change[Workspace | None]:
    values = {
        "id": str(workspace_id),
        "name": create_name,
        "url": url,
        "status": "online",
        "delivery_mode": delivery_mode,
        "secret": None,
        "heartbeat_at": text_of_moment(now),
        "now": text_of_moment(now),
    }
    changed = db.execute(SQL.workspace_register, values).rowcount
    if not changed and create_name is not None:
        db.execute(SQL.workspace_create, values)
    registered = workspace(db, workspace_id)
    return registered, [] if registered is None else [workspace_id]


def ensure_secret(
    db: Connection, workspace_id: UUID, now: datetime, candidate: str
) -> Change[str | None]:
    values = {"id": str(workspace_id), "candidate": candidate, "now": text_of_moment(now)}
    changed = db.execute(SQL.workspace_secret, values).rowcount
    found = workspace(db, workspace_id)
    return None if found is None else found.inbound_secret, [workspace_id] if changed else []


def heartbeat(db: Connection, workspace_id: UUID, now: datetime) -> Change[Workspace | None]:
    values = {"id": str(workspace_id), "now": text_of_moment(now)}
    changed = db.execute(SQL.workspace_heartbeat, values).rowcount
    return workspace(db, workspace_id), [workspace_id] if changed else []


def remove_workspace(db: Connection, workspace_id: UUID, now: datetime) -> Change[bool]:
    values = {
        "id": str(workspace_id),
        "workspace_id": str(workspace_id),
        "now": text_of_moment(now),
    }
    if not db.execute(SQL.workspace_remove, values).rowcount:
        return False, []
    db.execute(SQL.token_revoke_all, values)
    return True, [workspace_id]


def token(db: Connection, digest: bytes) -> Token | None:
    row = db.execute(SQL.token, {"digest": digest}).fetchone()
    return None if row is None else token_of(row)


def tokens(db: Connection, workspace_id: UUID) -> Sequence[Token]:
    rows = db.execute(SQL.tokens, {"workspace_id": str(workspace_id)})
    return [found for row in rows if (found := token_of(row)) is not None]


def has_live_token(db: Connection, workspace_id: UUID) -> bool:
    values = {"workspace_id": str(workspace_id)}
    return db.execute(SQL.token_any, values).fetchone() is not None


def create_token(
    db: Connection, new: Token, digest: bytes, *, only_first: bool
) -> Change[Token | None]:
    assert new.created_at is not None
    if workspace(db, new.workspace_id) is None:
        return None, []
    if only_first and has_live_token(db, new.workspace_id):
        return None, []
    values = {
        "id": str(new.id),
        "workspace_id": str(new.workspace_id),
        "digest": digest,
        "prefix": new.prefix,
        "scopes": text_of_scopes(new.scopes),
        "name": new.name,
        "now": text_of_moment(new.created_at),
    }
    if not db.execute(SQL.token_create, values).rowcount:
        raise Conflict("this token exists already")
    return new, [new.workspace_id]


def revoke_token(db: Connection, workspace_id: UUID, token_id: UUID, now: datetime) -> Change[bool]:
    values = {
        "id": str(token_id),
        "workspace_id": str(workspace_id),
        "now": text_of_moment(now),
    }
    revoked = db.execute(SQL.token_revoke, values).rowcount > 0
    return revoked, [workspace_id] if revoked else []


def touch_tokens(db: Connection, used: Mapping[UUID, datetime]) -> Change[None]:
    rows = [{"id": str(id_), "used_at": text_of_moment(at)} for id_, at in used.items()]
    db.executemany(SQL.token_touch, rows)
    return None, []
