-- A deployment may have these tables already. Creates the tables that are missing, and adds the columns
-- and indexes that are missing in existing ones.
--
-- Ids are canonical lower-case UUIDs. Times are ISO 8601 in UTC with microseconds, so that their texts
-- sort as the times do. token_hash is 32 bytes.

CREATE TABLE IF NOT EXISTS workspaces (
    id text PRIMARY KEY NOT NULL,
    name text,
    url text,
    status text,
    delivery_mode text,
    platform_inbound_secret text,
    last_heartbeat_at text,
    created_at text,
    updated_at text
);

CREATE TABLE IF NOT EXISTS workspace_auth_tokens (
    id text PRIMARY KEY NOT NULL,
    workspace_id text NOT NULL REFERENCES workspaces (id),
    token_hash blob NOT NULL,
    prefix text,
    created_at text,
    last_used_at text,
    revoked_at text
);

-- SQLite has no ADD COLUMN IF NOT EXISTS: the migration skips these for columns that exist.
ALTER TABLE workspaces ADD COLUMN name text;
ALTER TABLE workspaces ADD COLUMN url text;
ALTER TABLE workspaces ADD COLUMN status text;
-- As a third party adds it to its own table, because its later migration skips a column that exists.
ALTER TABLE workspaces ADD COLUMN delivery_mode text NOT NULL DEFAULT 'push'
    CHECK (delivery_mode IN ('push', 'poll'));
ALTER TABLE workspaces ADD COLUMN platform_inbound_secret text;
ALTER TABLE workspaces ADD COLUMN last_heartbeat_at text;
ALTER TABLE workspaces ADD COLUMN created_at text;
ALTER TABLE workspaces ADD COLUMN updated_at text;
ALTER TABLE workspace_auth_tokens ADD COLUMN prefix text;
ALTER TABLE workspace_auth_tokens ADD COLUMN created_at text;
ALTER TABLE workspace_auth_tokens ADD COLUMN last_used_at text;
ALTER TABLE workspace_auth_tokens ADD COLUMN revoked_at text;
ALTER TABLE workspace_auth_tokens ADD COLUMN scopes text;
ALTER TABLE workspace_auth_tokens ADD COLUMN name text;

CREATE UNIQUE INDEX IF NOT EXISTS chatfiles_tokens_by_hash
    ON workspace_auth_tokens (token_hash);

CREATE INDEX IF NOT EXISTS chatfiles_tokens_by_workspace
    ON workspace_auth_tokens (workspace_id);
