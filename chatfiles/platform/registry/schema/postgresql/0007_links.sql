-- Signed links: the keys that sign them, and the time before which the links of a workspace are revoked,
-- in unix seconds. Nodes cache both, so both are notified.

CREATE TABLE IF NOT EXISTS chatfiles_keys (
    id text PRIMARY KEY,
    purpose text NOT NULL,
    key bytea NOT NULL,
    created_at timestamptz NOT NULL,
    signs_until timestamptz NOT NULL,
    verifies_until timestamptz NOT NULL
);

ALTER TABLE workspaces ADD COLUMN IF NOT EXISTS links_not_before bigint;

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
                was -> 'platform_inbound_secret', was -> 'links_not_before')
            IS NOT DISTINCT FROM (becomes -> 'id', becomes -> 'name', becomes -> 'url',
                becomes -> 'status', becomes -> 'delivery_mode',
                becomes -> 'platform_inbound_secret', becomes -> 'links_not_before')
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

DROP TRIGGER IF EXISTS chatfiles_changed ON chatfiles_keys;
CREATE TRIGGER chatfiles_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON chatfiles_keys
    FOR EACH STATEMENT EXECUTE FUNCTION chatfiles_anything_changed();
