"""
What each call of the registry does with a connection to PostgreSQL.

A query is given a connection; a change is given a transaction, and also gives the workspaces whose
row or tokens it has changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from psycopg2 import Binary
from twisted.internet.defer import Deferred

from chatfiles.errors import BadRequest, Conflict
from chatfiles.model import Token, Workspace
from chatfiles.platform.registry.postgres_link import LINK_ERRORS, Link, PostgresError, Values
from chatfiles.platform.registry.rows import text_of_scopes, token_of, utc, workspace_of
from chatfiles.platform.registry.statements import POSTGRES as SQL

T = TypeVar("T")
#: The result of a call, and the workspaces that it has changed.
Change = tuple[T, Sequence[UUID]]

#: Rows that are read, or written, at once: a few milliseconds of the reactor's time.
BATCH = 500


class Transaction:
    """
    Statements that count together.  It begins with the first of them.

    :param link: used by nobody else until `commit` or `undo` is done.
    """

    _begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"

    def __init__(self, link: Link) -> None:
        self._link = link

    async def rows(self, sql: str, values: Values | None = None) -> list[tuple[object, ...]]:
        """:return: the rows that *sql* gives."""
        rows: list[tuple[object, ...]] = (await self._execute(sql, values)).fetchall()
        return rows

    async def count(self, sql: str, values: Values) -> int:
        """:return: how many rows *sql* has changed."""
        changed: int = (await self._execute(sql, values)).rowcount
        return changed

    async def commit(self) -> None:
        await self._link.execute("COMMIT")

    async def undo(self) -> None:
        """Leave no trace.  If even this fails, the connection is not used again."""
        with contextlib.suppress(*LINK_ERRORS):
            await self._link.execute("ROLLBACK")

    async def _execute(self, sql: str, values: Values | None) -> Any:
        begin, self._begin = self._begin, ""
        try:
            return await self._link.execute(begin + sql, values)
        except (ValueError, UnicodeError):
            # psycopg2 refuses NUL, and what is no UTF-8, before it sends anything.
            raise BadRequest("text with characters that cannot be stored") from None


async def change(
    link: Link,
    work: Callable[[Transaction], Awaitable[Change[T]]],
    *,
    wanted: Callable[[], bool],
) -> Change[T]:
    """
    Do *work* in a transaction.

    :param wanted: whether anybody still waits for it; asked before it counts.
    """
    transaction = Transaction(link)
    try:
        done = await work(transaction)
        if not wanted():
            raise PostgresError("given up by its caller")
        await transaction.commit()
    except BaseException:
        if not link.over:
            await transaction.undo()
        raise
    return done


def check(link: Link) -> Deferred[None]:
    return link.execute(SQL.check).addCallback(lambda _: None)


def workspace(link: Link, workspace_id: UUID) -> Deferred[Workspace | None]:
    return link.rows(SQL.workspace, {"id": str(workspace_id)}).addCallback(_workspace)


async def workspaces(link: Link) -> Sequence[Workspace]:
    """In pieces, because there may be a million."""
    transaction = Transaction(link)
    found: list[Workspace] = []
    try:
        await transaction.rows(f"DECLARE every CURSOR FOR {SQL.workspaces}; FETCH 0 FROM every")
        while rows := await transaction.rows(f"FETCH {BATCH} FROM every"):
            found += [each for row in rows if (each := workspace_of(row)) is not None]
        await transaction.commit()
    except BaseException:
        if not link.over:
            await transaction.undo()
        raise
    return found


def token(link: Link, digest: bytes) -> Deferred[Token | None]:
    return link.rows(SQL.token, {"digest": Binary(digest)}).addCallback(_token)


def tokens(link: Link, workspace_id: UUID) -> Deferred[Sequence[Token]]:
    def read(rows: list[tuple[object, ...]]) -> Sequence[Token]:
        return [found for row in rows if (found := token_of(row)) is not None]

    return link.rows(SQL.tokens, {"workspace_id": str(workspace_id)}).addCallback(read)


def has_live_token(link: Link, workspace_id: UUID) -> Deferred[bool]:
    return link.rows(SQL.token_any, {"workspace_id": str(workspace_id)}).addCallback(bool)


async def create_workspace(
    db: Transaction,
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
        "now": utc(now),
    }
    if not await db.count(SQL.workspace_create, values):
        raise Conflict("a workspace with this id exists already")
    created = await _live(db, workspace_id)
    assert created is not None
    return created, [workspace_id]


async def register(
    db: Transaction,
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
        "heartbeat_at": utc(now),
        "now": utc(now),
    }
    changed = await db.count(SQL.workspace_register, values)
    if not changed and create_name is not None:
        changed = await db.count(SQL.workspace_create, values)
        if not changed:  # another node has just created it, or it has been removed
            changed = await db.count(SQL.workspace_register, values)
    registered = await _live(db, workspace_id) if changed else None
    return registered, [] if registered is None else [workspace_id]


async def ensure_secret(
    db: Transaction, workspace_id: UUID, now: datetime, candidate: str
) -> Change[str | None]:
    values = {"id": str(workspace_id), "candidate": candidate, "now": utc(now)}
    changed = await db.count(SQL.workspace_secret, values)
    found = await _live(db, workspace_id)
    return None if found is None else found.inbound_secret, [workspace_id] if changed else []


async def heartbeat(db: Transaction, workspace_id: UUID, now: datetime) -> Change[Workspace | None]:
    values = {"id": str(workspace_id), "now": utc(now)}
    if not await db.count(SQL.workspace_heartbeat, values):
        return None, []
    return await _live(db, workspace_id), [workspace_id]


async def remove_workspace(db: Transaction, workspace_id: UUID, now: datetime) -> Change[bool]:
    values = {"id": str(workspace_id), "workspace_id": str(workspace_id), "now": utc(now)}
    if not await db.count(SQL.workspace_remove, values):
        return False, []
    await db.count(SQL.token_revoke_all, values)
    return True, [workspace_id]


async def create_token(
    db: Transaction, new: Token, digest: bytes, *, only_first: bool
) -> Change[Token | None]:
    assert new.created_at is not None
    values = {
        "id": str(new.id),
        "workspace_id": str(new.workspace_id),
        "digest": Binary(digest),
        "prefix": new.prefix,
        "scopes": text_of_scopes(new.scopes),
        "name": new.name,
        "now": new.created_at,
    }
    if await _live(db, new.workspace_id, hold=True) is None:
        return None, []
    if only_first and await db.rows(SQL.token_any, values):
        return None, []
    if not await db.count(SQL.token_create, values):
        raise Conflict("this token exists already")
    return new, [new.workspace_id]


async def revoke_token(
    db: Transaction, workspace_id: UUID, token_id: UUID, now: datetime
) -> Change[bool]:
    values = {"id": str(token_id), "workspace_id": str(workspace_id), "now": utc(now)}
    revoked = await db.count(SQL.token_revoke, values) > 0
    return revoked, [workspace_id] if revoked else []


async def touch_tokens(db: Transaction, used: Mapping[UUID, datetime]) -> Change[None]:
    ids = sorted(used)
    for first in range(0, len(ids), BATCH):
        batch = ids[first : first + BATCH]
        moments = [utc(used[each]) for each in batch]
        values = {"ids": [str(each) for each in batch], "used_at": moments}
        await db.count(SQL.token_touch, values)
    return None, []


async def _live(db: Transaction, workspace_id: UUID, *, hold: bool = False) -> Workspace | None:
    sql = SQL.workspace + SQL.hold if hold else SQL.workspace
    return _workspace(await db.rows(sql, {"id": str(workspace_id)}))


def _workspace(rows: Sequence[Sequence[object]]) -> Workspace | None:
    return workspace_of(rows[0]) if rows else None


def _token(rows: Sequence[Sequence[object]]) -> Token | None:
    return token_of(rows[0]) if rows else None
