"""
Every SQL statement of the registry, by name.

They are written for SQLite.  PostgreSQL uses the same statements, except for a few that need its
own syntax.
Parameters are named in the statements.  Results are described here:

- a *workspace row* is ``id, name, url, status, delivery_mode, platform_inbound_secret,
  last_heartbeat_at, links_not_before, next_inbound_secret, channel_seen_at``;
- a *token row* is ``id, workspace_id, prefix, scopes, name, created_at, last_used_at``;
- a *key row* is ``id, key, created_at, signs_until, verifies_until``;
- a change returns only the number of changed rows.  The transaction reads them afterwards, so
  that no dialect needs ``RETURNING``.

A workspace is *live* unless its status is ``removed``; NULL is live.  A token is live unless it has
a ``revoked_at``.  The status may be an enum, which can be compared only with its own labels; hence
the casts to text.
"""

# These are names of statements, not passwords.  Only constants of this module are inserted into
# them.
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
    #: Appended to `workspace` in a transaction that writes later: locks the row.  Empty for SQLite,
    #: where the transaction locks the database.
    lock: str
    #: → the oldest live workspace rows, in order.
    workspaces: str
    #: → the position of a row in this order, removed or not.
    workspace_age: str
    #: → the live workspace rows after a position.
    workspaces_after: str
    #: Does not change an existing row, removed or not; then the count is 0.
    workspace_create: str
    #: The same for a workspace without a delivery mode: the column has its default, because the
    #: table of a third party does not accept NULL.
    workspace_create_without_mode: str
    #: Sets a live row to ``online`` unless it is ``paused``; columns whose parameter is NULL keep
    #: their value, and an empty URL becomes NULL.
    workspace_register: str
    #: Changes a live row, if the time is later than the stored one.  PostgreSQL takes a batch.
    workspace_touch: str
    #: Sets the inbound secret of a live row that has none.
    workspace_secret: str
    #: Sets the next secret of a live row.
    workspace_next_secret: str
    #: Sets the inbound secret of a live row, which has no next secret after that.
    workspace_replace_secret: str
    #: The same with the next secret, if it is a given one.
    workspace_promote_secret: str
    workspace_remove: str
    #: → for a live workspace: the time in unix seconds, and ``links_not_before`` or 0.  A database
    #: that several machines share has the time; SQLite is given it.
    workspace_link_clock: str
    #: Ends all links of a live workspace that were issued up to now.  Two calls in one second give
    #: two times.
    workspace_revoke_links: str

    #: A database that several machines share has the time of what concerns nodes and channels;
    #: SQLite is given it.
    node_touch: str
    #: → how many other nodes were seen after a time.
    node_others: str
    node_remove: str
    #: Removes the nodes that were last seen before a time.
    node_sweep: str
    #: Removes the connections to a node, and those to nodes that do not exist.
    node_disconnect: str
    channel_open: str
    channel_close: str
    #: Sets ``channel_seen_at`` of a live workspace to now.
    channel_touch: str
    #: → ``node_id, url, seconds since the node was seen`` for each node.
    channel_nodes: str
    #: → the ids of all workspaces that are connected to a node that was seen after a time.
    channel_connected: str
    #: → ``channel_seen_at, seconds since then`` of a live workspace.
    channel_seen: str

    #: → the live token row with the hash, of a live workspace.
    token: str
    #: → the same for the id of a token.
    token_by_id: str
    #: → the live token rows of a live workspace, oldest first.
    tokens: str
    #: → one row if the tokens have a ``kind``, as those of a third party do: ``instance`` for the
    #: workspace itself, ``api`` for people.  The third party may add the column at any time.
    token_has_kind: str
    #: → one row if any token of the workspace is live.
    token_any: str
    #: → the same, without the tokens for people.
    token_any_instance: str
    #: Does not change a row that has the hash; then the count is 0.
    token_create: str
    #: The same with a kind.
    token_create_of_kind: str
    token_revoke: str
    token_revoke_all: str
    #: Changes a row if the time is later than the stored one.  PostgreSQL takes a batch.
    token_touch: str

    #: → the key rows for one purpose.
    keys: str
    #: → one row.  In a transaction, only one program at a time is past it; in SQLite the
    #: transaction itself ensures this.
    keys_lock: str
    key_create: str
    #: Ends the signing of all keys that sign; they verify until a given time at most.
    keys_retire: str
    #: Ends the signing and the verifying of a key when it was created: a program whose clock is
    #: behind must not take it for a key that still signs.
    key_revoke: str


_LIVE = "(status IS NULL OR CAST(status AS text) <> 'removed')"

_WORKSPACE = f"""
    SELECT id, name, url, status, delivery_mode, platform_inbound_secret, last_heartbeat_at,
        links_not_before, next_inbound_secret, channel_seen_at
    FROM workspaces
    WHERE {_LIVE}"""

_TOKEN = """
    SELECT t.id, t.workspace_id, t.prefix, t.scopes, t.name, t.created_at, t.last_used_at
    FROM workspace_auth_tokens AS t JOIN workspaces AS w ON w.id = t.workspace_id
    WHERE t.revoked_at IS NULL AND (w.status IS NULL OR CAST(w.status AS text) <> 'removed')"""

_LINK_CLOCK = (
    """
    SELECT {seconds}, coalesce(links_not_before, 0) FROM workspaces WHERE id = :id AND """
    + _LIVE
)

_REVOKE_LINKS = (
    """
    UPDATE workspaces
    SET links_not_before = 1 + {greatest}({seconds}, coalesce(links_not_before, 0)),
        updated_at = :now
    WHERE id = :id AND """
    + _LIVE
)

_CREATE_WORKSPACE = """
    INSERT INTO workspaces (id, name, url, status, platform_inbound_secret, last_heartbeat_at,
                            created_at, updated_at{column})
    VALUES (:id, :name, :url, :status, :secret, :heartbeat_at, :now, :now{value})
    ON CONFLICT (id) DO NOTHING"""

_ANY_TOKEN = """
    SELECT 1 FROM workspace_auth_tokens
    WHERE workspace_id = :workspace_id AND revoked_at IS NULL{condition}
    LIMIT 1"""

_CREATE_TOKEN = """
    INSERT INTO workspace_auth_tokens (id, workspace_id, token_hash, prefix, scopes, name,
                                       created_at{column})
    VALUES (:id, :workspace_id, :digest, :prefix, :scopes, :name, :now{value})
    ON CONFLICT (token_hash) DO NOTHING"""

_TOUCH_NODE = """
    INSERT INTO platform_nodes (id, url, seen_at) VALUES (:id, :url, {now})
    ON CONFLICT (id) DO UPDATE SET url = excluded.url, seen_at = excluded.seen_at"""

_OPEN_CHANNEL = """
    INSERT INTO workspace_channels (workspace_id, node_id, since)
    VALUES (:workspace_id, :node_id, {now})
    ON CONFLICT (workspace_id, node_id) DO NOTHING"""

_TOUCH_CHANNEL = (
    """
    UPDATE workspaces SET channel_seen_at = {now} WHERE id = :workspace_id AND """
    + _LIVE
)

_CHANNEL_NODES = """
    SELECT c.node_id, n.url, {silent}
    FROM workspace_channels AS c JOIN platform_nodes AS n ON n.id = c.node_id
    WHERE c.workspace_id = :workspace_id
    ORDER BY c.since DESC, c.node_id"""

_CONNECTED = """
    SELECT DISTINCT c.workspace_id
    FROM workspace_channels AS c JOIN platform_nodes AS n ON n.id = c.node_id
    WHERE n.seen_at > {alive}"""

_CHANNEL_SEEN = (
    """
    SELECT channel_seen_at, {unseen} FROM workspaces WHERE id = :workspace_id AND """
    + _LIVE
)

_SQLITE_AGE = "(julianday(:now) - julianday({column})) * 86400.0"
_POSTGRES_AGE = "CAST(extract(epoch FROM clock_timestamp() - {column}) AS double precision)"

# The same expression as in the index.  Rows whose age is not known come first.
_AGE = "coalesce(created_at, '-infinity')"
_IN_ORDER = f"ORDER BY {_AGE}, id LIMIT :limit"
_AFTER = f"({_AGE}, id) > (:age, :id)"
_CANONICAL = "-".join("[0-9a-f]" * digits for digits in (8, 4, 4, 4, 12))

SQLITE = Statements(
    schema_create="""
        CREATE TABLE IF NOT EXISTS chatfiles_schema (
            version integer PRIMARY KEY NOT NULL, applied_at text NOT NULL)""",
    schema_version="SELECT max(version) FROM chatfiles_schema",
    schema_applied="""
        INSERT INTO chatfiles_schema (version, applied_at) VALUES (:version, :applied_at)""",
    workspace=f"{_WORKSPACE} AND id = :id",
    lock="",
    # Skips rows whose id is not a canonical UUID.
    workspaces=f"{_WORKSPACE} AND id GLOB '{_CANONICAL}' {_IN_ORDER}",
    workspace_age=f"SELECT {_AGE} FROM workspaces WHERE id = :id",
    # The condition on the age alone is redundant, but without it SQLite starts at the oldest row.
    workspaces_after=f"{_WORKSPACE} AND id GLOB '{_CANONICAL}' AND {_AGE} >= :age AND {_AFTER}"
    f" {_IN_ORDER}",
    workspace_create=_CREATE_WORKSPACE.format(column=", delivery_mode", value=", :delivery_mode"),
    workspace_create_without_mode=_CREATE_WORKSPACE.format(column="", value=""),
    workspace_register=f"""
        UPDATE workspaces
        SET status = CASE WHEN CAST(status AS text) = 'paused' THEN status ELSE 'online' END,
            url = CASE WHEN :url = '' THEN NULL ELSE coalesce(:url, url) END,
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
    workspace_next_secret=f"""
        UPDATE workspaces
        SET next_inbound_secret = :candidate, next_secret_since = :now, updated_at = :now
        WHERE id = :id AND {_LIVE}""",
    workspace_replace_secret=f"""
        UPDATE workspaces
        SET platform_inbound_secret = :candidate, next_inbound_secret = NULL,
            next_secret_since = NULL, updated_at = :now
        WHERE id = :id AND {_LIVE}""",
    workspace_promote_secret=f"""
        UPDATE workspaces
        SET platform_inbound_secret = next_inbound_secret, next_inbound_secret = NULL,
            next_secret_since = NULL, updated_at = :now
        WHERE id = :id AND {_LIVE} AND next_inbound_secret = :expected""",
    workspace_remove=f"""
        UPDATE workspaces
        SET status = 'removed', updated_at = :now
        WHERE id = :id AND {_LIVE}""",
    workspace_link_clock=_LINK_CLOCK.format(seconds=":seconds"),
    workspace_revoke_links=_REVOKE_LINKS.format(seconds=":seconds", greatest="max"),
    node_touch=_TOUCH_NODE.format(now=":now"),
    node_others="SELECT count(*) FROM platform_nodes WHERE id <> :id AND seen_at > :alive",
    node_remove="DELETE FROM platform_nodes WHERE id = :id",
    node_sweep="DELETE FROM platform_nodes WHERE seen_at < :forgotten",
    node_disconnect="""
        DELETE FROM workspace_channels
        WHERE node_id = :id OR node_id NOT IN (SELECT id FROM platform_nodes)""",
    channel_open=_OPEN_CHANNEL.format(now=":now"),
    channel_close="""
        DELETE FROM workspace_channels WHERE workspace_id = :workspace_id AND node_id = :node_id""",
    channel_touch=_TOUCH_CHANNEL.format(now=":now"),
    channel_nodes=_CHANNEL_NODES.format(silent=_SQLITE_AGE.format(column="n.seen_at")),
    channel_connected=_CONNECTED.format(alive=":alive"),
    channel_seen=_CHANNEL_SEEN.format(unseen=_SQLITE_AGE.format(column="channel_seen_at")),
    token=f"{_TOKEN} AND t.token_hash = :digest",
    token_by_id=f"{_TOKEN} AND t.id = :id",
    tokens=f"{_TOKEN} AND t.workspace_id = :workspace_id ORDER BY t.created_at, t.id",
    token_has_kind="""
        SELECT 1 FROM pragma_table_info('workspace_auth_tokens') WHERE lower(name) = 'kind'""",
    token_any=_ANY_TOKEN.format(condition=""),
    token_any_instance=_ANY_TOKEN.format(
        condition=" AND coalesce(CAST(kind AS text), 'instance') = 'instance'"
    ),
    token_create=_CREATE_TOKEN.format(column="", value=""),
    token_create_of_kind=_CREATE_TOKEN.format(column=", kind", value=", :kind"),
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
    keys="""
        SELECT id, key, created_at, signs_until, verifies_until
        FROM chatfiles_keys
        WHERE purpose = :purpose
        ORDER BY created_at, id""",
    keys_lock="SELECT 1",
    key_create="""
        INSERT INTO chatfiles_keys (id, purpose, key, created_at, signs_until, verifies_until)
        VALUES (:id, :purpose, :key, :created_at, :signs_until, :verifies_until)""",
    keys_retire="""
        UPDATE chatfiles_keys
        SET signs_until = :now,
            verifies_until = CASE WHEN verifies_until < :until THEN verifies_until ELSE :until END
        WHERE purpose = :purpose AND signs_until > :now""",
    key_revoke="""
        UPDATE chatfiles_keys
        SET signs_until = created_at, verifies_until = created_at
        WHERE purpose = :purpose AND id = :id""",
)


# One statement with arrays for the whole batch.  All nodes lock rows in the order of their ids, so
# that two nodes cannot deadlock.
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


_POSTGRES_NOW = "clock_timestamp()"
_POSTGRES_ALIVE = f"{_POSTGRES_NOW} - CAST(:alive_for AS interval)"
_POSTGRES_SECONDS = "CAST(floor(extract(epoch FROM clock_timestamp())) AS bigint)"


def _of_psycopg2(statements: Statements) -> Statements:
    """:return: the same statements with parameters in the syntax of psycopg2."""
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
        lock=" FOR NO KEY UPDATE",
        workspaces=f"{_WORKSPACE} {_IN_ORDER}",
        workspaces_after=f"{_WORKSPACE} AND {_AFTER} {_IN_ORDER}",
        workspace_link_clock=_LINK_CLOCK.format(seconds=_POSTGRES_SECONDS),
        workspace_revoke_links=_REVOKE_LINKS.format(seconds=_POSTGRES_SECONDS, greatest="greatest"),
        node_touch=_TOUCH_NODE.format(now=_POSTGRES_NOW),
        node_others="SELECT count(*) FROM platform_nodes WHERE id <> :id"
        f" AND seen_at > {_POSTGRES_ALIVE}",
        node_sweep="DELETE FROM platform_nodes"
        f" WHERE seen_at < {_POSTGRES_NOW} - CAST(:forgotten_after AS interval)",
        channel_open=_OPEN_CHANNEL.format(now=_POSTGRES_NOW),
        channel_touch=_TOUCH_CHANNEL.format(now=_POSTGRES_NOW),
        channel_nodes=_CHANNEL_NODES.format(silent=_POSTGRES_AGE.format(column="n.seen_at")),
        channel_connected=_CONNECTED.format(alive=_POSTGRES_ALIVE),
        channel_seen=_CHANNEL_SEEN.format(unseen=_POSTGRES_AGE.format(column="channel_seen_at")),
        tokens=f"{_TOKEN} AND t.workspace_id = :workspace_id"
        " ORDER BY t.created_at NULLS FIRST, t.id",
        token_has_kind="""
            SELECT 1 FROM pg_attribute
            WHERE attrelid = 'workspace_auth_tokens'::regclass AND attname = 'kind'
                AND NOT attisdropped""",
        # Another lock than that of migrations ("chatkeys" in ASCII).
        keys_lock=f"SELECT pg_advisory_xact_lock({0x636861746B657973})",
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
