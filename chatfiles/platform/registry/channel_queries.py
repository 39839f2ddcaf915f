"""
The database queries about nodes, and about workspaces that connect to them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from chatfiles.model import ChannelPlaces
from chatfiles.platform.registry.interface import NODE_ALIVE
from chatfiles.platform.registry.queries import Change, Session, Values
from chatfiles.platform.registry.rows import channel_place_from_row, parse_time, stored_uuid, utc

__all__ = [
    "channel_places",
    "close_channel",
    "connected_workspaces",
    "enter_node",
    "leave_node",
    "open_channel",
    "touch_node",
]

_ALIVE = timedelta(seconds=NODE_ALIVE)
#: After which a node that is not seen is forgotten.
_FORGOTTEN = timedelta(days=1)


def _node_values(node_id: UUID, url: str | None, now: datetime) -> Values:
    """:return: parameters for SQLite, which has no clock here, and for PostgreSQL."""
    return {
        "id": str(node_id),
        "url": url,
        "now": utc(now),
        "alive": utc(now - _ALIVE),
        "forgotten": utc(now - _FORGOTTEN),
        "alive_for": f"{_ALIVE.total_seconds():.0f} seconds",
        "forgotten_after": f"{_FORGOTTEN.total_seconds():.0f} seconds",
    }


async def enter_node(db: Session, node_id: UUID, url: str | None, now: datetime) -> Change[None]:
    """See `IWorkspaceRegistry.enter_node`."""
    values = _node_values(node_id, url, now)
    await db.count(db.sql.node_touch, values)
    removed = await db.count(db.sql.node_disconnect, values)
    return None, [None] if removed else []


async def touch_node(db: Session, node_id: UUID, url: str | None, now: datetime) -> Change[int]:
    """See `IWorkspaceRegistry.touch_node`."""
    values = _node_values(node_id, url, now)
    await db.count(db.sql.node_touch, values)
    await db.count(db.sql.node_sweep, values)
    ((others,),) = await db.rows(db.sql.node_others, values)
    return others if isinstance(others, int) else 0, []


async def leave_node(db: Session, node_id: UUID) -> Change[None]:
    """See `IWorkspaceRegistry.leave_node`."""
    values = {"id": str(node_id)}
    await db.count(db.sql.node_remove, values)
    removed = await db.count(db.sql.node_disconnect, values)
    return None, [None] if removed else []


def _channel_values(workspace_id: UUID, node_id: UUID, now: datetime) -> Values:
    return {"workspace_id": str(workspace_id), "node_id": str(node_id), "now": utc(now)}


async def open_channel(
    db: Session, workspace_id: UUID, node_id: UUID, now: datetime
) -> Change[bool]:
    """See `IWorkspaceRegistry.open_channel`."""
    values = _channel_values(workspace_id, node_id, now)
    if not await db.count(db.sql.channel_touch, values):
        return False, []
    await db.count(db.sql.channel_open, values)
    return True, [workspace_id]


async def close_channel(
    db: Session, workspace_id: UUID, node_id: UUID, now: datetime
) -> Change[None]:
    """See `IWorkspaceRegistry.close_channel`."""
    values = _channel_values(workspace_id, node_id, now)
    await db.count(db.sql.channel_touch, values)
    await db.count(db.sql.channel_close, values)
    return None, [workspace_id]


async def connected_workspaces(db: Session, now: datetime) -> frozenset[UUID]:
    """See `IWorkspaceRegistry.connected_workspaces`."""
    rows = await db.rows(db.sql.channel_connected, _node_values(UUID(int=0), None, now))
    return frozenset(found for (value,) in rows if (found := stored_uuid(value)) is not None)


async def channel_places(db: Session, workspace_id: UUID, now: datetime) -> ChannelPlaces:
    """See `IWorkspaceRegistry.channel_places`."""
    values = {"workspace_id": str(workspace_id), "now": utc(now)}
    rows = await db.rows(db.sql.channel_seen, values)
    if not rows:
        return ChannelPlaces()
    seen_at, unseen = rows[0]
    nodes = await db.rows(db.sql.channel_nodes, values)
    places = [place for row in nodes if (place := channel_place_from_row(row)) is not None]
    known = unseen if isinstance(unseen, float) else None
    return ChannelPlaces(tuple(places), parse_time(seen_at), known)
