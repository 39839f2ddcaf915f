-- Workspaces that connect to the platform by themselves: the nodes of the platform, and to which of them
-- each workspace is connected.

ALTER TABLE workspaces ADD COLUMN channel_seen_at text;

CREATE TABLE IF NOT EXISTS platform_nodes (
    id text PRIMARY KEY NOT NULL,
    url text,
    seen_at text NOT NULL
);

CREATE TABLE IF NOT EXISTS workspace_channels (
    workspace_id text NOT NULL,
    node_id text NOT NULL,
    since text NOT NULL,
    PRIMARY KEY (workspace_id, node_id)
);
