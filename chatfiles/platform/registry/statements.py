"""
Every SQL statement of the registry, by name.

They are written once, for SQLite; PostgreSQL has the same, but for the few that need what only one
of them knows.  What a statement takes is named in it; what it gives is said here:

- a *workspace row* is ``id, name, url, status, delivery_mode, platform_inbound_secret,
  last_heartbeat_at``;
- a *token row* is ``id, workspace_id, prefix, scopes, name, created_at, last_used_at``;
- a change gives only its count of rows, and the transaction reads what it wants to know after it,
  so that no dialect needs ``RETURNING``.

A row is *live* unless its status is ``removed`` (workspaces; NULL is live) or it has a
``revoked_at`` (tokens).  A status may be an enum, which compares with no text but its own words.
"""

# These are names of statements, not passwords, and what is put into them is from here.
# ruff: noqa: S105, S106, S608

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace

__all__ = ["POSTGRES", "SQLITE", "Statements"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """The statements of one dialect."""

    #: The table of applied migrations.
    schema_create: str
    #: → the newest version applied, or NULL.
    schema_version: str
    schema_applied: str

    #: → the live workspace row.
    workspace: str
    #: Appended to it in a transaction that goes on to write: keeps others from changing that row.
    #: (In SQLite the transaction has the database.)
    hold: str
    #: → the live workspace rows, oldest first: some of them.
    workspaces: str
    #: → where the row stands among them, removed or not.
    workspace_age: str
    #: → some of those behind it.
    workspaces_after: str
    #: A row that is there, removed or not, is left as it is, and the count is 0.
    workspace_create: str
    #: A live row comes online; what is given as NULL keeps its value.
    workspace_register: str
    #: A live row, only if the moment is later than the one recorded.  PostgreSQL takes a batch.
    workspace_touch: str
    #: A live row without an inbound secret gets the candidate.
    workspace_secret: str
    workspace_remove: str

    #: → the live token row with that hash, of a live workspace.
    token: str
    #: → the live token rows of a live workspace, oldest first.
    tokens: str
    #: → a row if any token of the workspace is live.
    token_any: str
    #: A hash that is there already is left as it is, and the count is 0.
    token_create: str
    token_revoke: str
    token_revoke_all: str
    #: Only if the moment is later than the one recorded.  PostgreSQL takes a batch.
    token_touch: str


_LIVE = "(status IS NULL OR CAST(status AS text) <> 'removed')"

_WORKSPACE = f"""
    SELECT id, name, url, status, delivery_mode, platform_inbound_secret, last_heartbeat_at
    FROM workspaces
    WHERE {_LIVE}"""

_TOKEN = """
    SELECT t.id, t.workspace_id, t.prefix, t.scopes, t.name, t.created_at, t.last_used_at
    FROM workspace_auth_tokens AS t JOIN workspaces AS w ON w.id = t.workspace_id
    WHERE t.revoked_at IS NULL AND (w.status IS NULL OR CAST(w.status AS text) <> 'removed')"""

# As in the index: rows whose age is not known come first.
_AGE = "coalesce(created_at, '-infinity')"
_IN_ORDER = f"ORDER BY {_AGE}, id LIMIT :limit"
_BEHIND = f"({_AGE}, id) > (:age, :id)"
_CANONICAL = "-".join("[0-9a-f]" * digits for digits in (8, 4, 4, 4, 12))

SQLITE = Statements(
    schema_create="""
        CREATE TABLE IF NOT EXISTS chatfiles_schema (
            version integer PRIMARY KEY NOT NULL, applied_at text NOT NULL)""",
    schema_version="SELECT max(version) FROM chatfiles_schema",
    schema_applied="""
        INSERT INTO chatfiles_schema (version, applied_at) VALUES (:version, :applied_at)""",
    workspace=f"{_WORKSPACE} AND id = :id",
    hold="",
    # An id that is no UUID in its canonical form is none of ours.
    workspaces=f"{_WORKSPACE} AND id GLOB '{_CANONICAL}' {_IN_ORDER}",
    workspace_age=f"SELECT {_AGE} FROM workspaces WHERE id = :id",
    # That the age is no less says nothing new, but without it SQLite would begin at the oldest.
    workspaces_after=f"{_WORKSPACE} AND id GLOB '{_CANONICAL}' AND {_AGE} >= :age AND {_BEHIND}"
    f" {_IN_ORDER}",
    workspace_create="""
        INSERT INTO workspaces (id, name, url, status, delivery_mode, platform_inbound_secret,
                                last_heartbeat_at, created_at, updated_at)
        VALUES (:id, :name, :url, :status, :delivery_mode, :secret, :heartbeat_at, :now, :now)
        ON CONFLICT (id) DO NOTHING""",
    workspace_register=f"""
        UPDATE workspaces
        SET status = 'online', url = coalesce(:url, url),
            delivery_mode = coalesce(:delivery_mode, delivery_mode),
            last_heartbeat_at = :now, updated_at = :now
        WHERE id = :id AND {_LIVE}""",
    workspace_touch=f"""
        UPDATE workspaces
        SET last_heartbeat_at = :moment, updated_at = max(coalesce(updated_at, ''), :moment)
        WHERE id = :id AND {_LIVE}
            AND (last_heartbeat_at IS NULL OR last_heartbeat_at < :moment)""",
    workspace_secret=f"""
        UPDATE workspaces
        SET platform_inbound_secret = :candidate, updated_at = :now
        WHERE id = :id AND {_LIVE}
            AND (platform_inbound_secret IS NULL OR platform_inbound_secret = '')""",
    workspace_remove=f"""
        UPDATE workspaces
        SET status = 'removed', updated_at = :now
        WHERE id = :id AND {_LIVE}""",
    token=f"{_TOKEN} AND t.token_hash = :digest",
    tokens=f"{_TOKEN} AND t.workspace_id = :workspace_id ORDER BY t.created_at, t.id",
    token_any="""
        SELECT 1 FROM workspace_auth_tokens
        WHERE workspace_id = :workspace_id AND revoked_at IS NULL
        LIMIT 1""",
    token_create="""
        INSERT INTO workspace_auth_tokens (id, workspace_id, token_hash, prefix, scopes, name,
                                           created_at)
        VALUES (:id, :workspace_id, :digest, :prefix, :scopes, :name, :now)
        ON CONFLICT (token_hash) DO NOTHING""",
    token_revoke="""
        UPDATE workspace_auth_tokens
        SET revoked_at = :now
        WHERE id = :id AND workspace_id = :workspace_id AND revoked_at IS NULL""",
    token_revoke_all="""
        UPDATE workspace_auth_tokens
        SET revoked_at = :now
        WHERE workspace_id = :workspace_id AND revoked_at IS NULL""",
    token_touch="""
        UPDATE workspace_auth_tokens
        SET last_used_at = :moment
        WHERE id = :id AND (last_used_at IS NULL OR last_used_at < :moment)""",
)


# Arrays instead of one statement for each.  Two nodes that lock the same rows do it in the same
# order.
_BATCH = """
    WITH latest AS (
        SELECT t.id, given.moment
        FROM unnest(:ids::uuid[], :moments::timestamptz[]) AS given (id, moment)
            JOIN {table} AS t ON t.id = given.id
        WHERE {condition} AND (t.{column} IS NULL OR t.{column} < given.moment)
        ORDER BY t.id
        FOR NO KEY UPDATE OF t)
    UPDATE {table} AS t
    SET {column} = latest.moment{more}
    FROM latest
    WHERE t.id = latest.id"""


def _of_psycopg2(statements: Statements) -> Statements:
    """:return: the same, with its parameters named as psycopg2 wants them."""
    named = re.compile(r"(?<!:):(?=[a-z])(\w+)")
    return Statements(
        **{name: named.sub(r"%(\1)s", sql) for name, sql in asdict(statements).items()}
    )


POSTGRES = _of_psycopg2(
    replace(
        SQLITE,
        schema_create="""
            CREATE TABLE IF NOT EXISTS chatfiles_schema (
                version integer PRIMARY KEY, applied_at timestamptz NOT NULL)""",
        hold=" FOR NO KEY UPDATE",
        workspaces=f"{_WORKSPACE} {_IN_ORDER}",
        workspaces_after=f"{_WORKSPACE} AND {_BEHIND} {_IN_ORDER}",
        tokens=f"{_TOKEN} AND t.workspace_id = :workspace_id"
        " ORDER BY t.created_at NULLS FIRST, t.id",
        workspace_touch=_BATCH.format(
            table="workspaces",
            column="last_heartbeat_at",
            condition=_LIVE,
            more=", updated_at = greatest(t.updated_at, latest.moment)",
        ),
        token_touch=_BATCH.format(
            table="workspace_auth_tokens", column="last_used_at", condition="true", more=""
        ),
    )
)
