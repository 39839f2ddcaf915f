-- Workspaces that connect to the platform by themselves: the nodes of the platform, and to which of them
-- each workspace is connected. Nodes cache the latter, so it is notified; and of the time at which a
-- workspace was last connected, whether there is one.

ALTER TABLE workspaces ADD COLUMN IF NOT EXISTS channel_seen_at timestamptz;

CREATE TABLE IF NOT EXISTS platform_nodes (
    id uuid PRIMARY KEY,
    url text,
    seen_at timestamptz NOT NULL
);

CREATE TABLE IF NOT EXISTS workspace_channels (
    workspace_id uuid NOT NULL,
    node_id uuid NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, node_id)
);

CREATE OR REPLACE FUNCTION chatfiles_workspace_changed() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    -- As JSON, because a trigger that names columns would keep others from altering them.
    was jsonb;
    becomes jsonb;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        was := to_jsonb(OLD);
        becomes := to_jsonb(NEW);
        IF (was -> 'id', was -> 'name', was -> 'url', was -> 'status', was -> 'delivery_mode',
                was -> 'platform_inbound_secret', was -> 'links_not_before',
                was -> 'next_inbound_secret', was ->> 'channel_seen_at' IS NULL)
            IS NOT DISTINCT FROM (becomes -> 'id', becomes -> 'name', becomes -> 'url',
                becomes -> 'status', becomes -> 'delivery_mode',
                becomes -> 'platform_inbound_secret', becomes -> 'links_not_before',
                becomes -> 'next_inbound_secret', becomes ->> 'channel_seen_at' IS NULL)
        THEN
            RETURN NULL;
        END IF;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_catalog.pg_notify('chatfiles_changed', OLD.id::text);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_catalog.pg_notify('chatfiles_changed', NEW.id::text);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION chatfiles_channel_changed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_catalog.pg_notify('chatfiles_changed', OLD.workspace_id::text);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_catalog.pg_notify('chatfiles_changed', NEW.workspace_id::text);
    END IF;
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS chatfiles_changed ON workspace_channels;
CREATE TRIGGER chatfiles_changed AFTER INSERT OR UPDATE OR DELETE ON workspace_channels
    FOR EACH ROW EXECUTE FUNCTION chatfiles_channel_changed();

DROP TRIGGER IF EXISTS chatfiles_truncated ON workspace_channels;
CREATE TRIGGER chatfiles_truncated AFTER TRUNCATE ON workspace_channels
    FOR EACH STATEMENT EXECUTE FUNCTION chatfiles_anything_changed();
