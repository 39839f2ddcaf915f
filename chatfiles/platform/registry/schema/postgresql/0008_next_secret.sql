-- The secret that the platform presents once the workspace has it, and the time from which it is pending.
-- Nodes cache the secret, so it is notified.

ALTER TABLE workspaces
    ADD COLUMN IF NOT EXISTS next_inbound_secret text,
    ADD COLUMN IF NOT EXISTS next_secret_since timestamptz;

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
                was -> 'next_inbound_secret')
            IS NOT DISTINCT FROM (becomes -> 'id', becomes -> 'name', becomes -> 'url',
                becomes -> 'status', becomes -> 'delivery_mode',
                becomes -> 'platform_inbound_secret', becomes -> 'links_not_before',
                becomes -> 'next_inbound_secret')
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
