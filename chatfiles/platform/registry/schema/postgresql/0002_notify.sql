-- Notifies on the channel chatfiles_changed of every change of a workspace's row or tokens, by any
-- program. The payload is the id of the workspace, or empty if any workspace may have changed. The time
-- of the last use of a token is not notified.

CREATE OR REPLACE FUNCTION chatfiles_workspace_changed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_catalog.pg_notify('chatfiles_changed', OLD.id::text);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_catalog.pg_notify('chatfiles_changed', NEW.id::text);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION chatfiles_token_changed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    -- As JSON, because a trigger that names columns would keep others from altering them.
    IF TG_OP = 'UPDATE' AND to_jsonb(OLD) - 'last_used_at' = to_jsonb(NEW) - 'last_used_at' THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_catalog.pg_notify('chatfiles_changed', OLD.workspace_id::text);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_catalog.pg_notify('chatfiles_changed', NEW.workspace_id::text);
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION chatfiles_anything_changed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('chatfiles_changed', '');
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS chatfiles_changed ON workspaces;
CREATE TRIGGER chatfiles_changed AFTER INSERT OR UPDATE OR DELETE ON workspaces
    FOR EACH ROW EXECUTE FUNCTION chatfiles_workspace_changed();

DROP TRIGGER IF EXISTS chatfiles_truncated ON workspaces;
CREATE TRIGGER chatfiles_truncated AFTER TRUNCATE ON workspaces
    FOR EACH STATEMENT EXECUTE FUNCTION chatfiles_anything_changed();

DROP TRIGGER IF EXISTS chatfiles_changed ON workspace_auth_tokens;
CREATE TRIGGER chatfiles_changed AFTER INSERT OR UPDATE OR DELETE ON workspace_auth_tokens
    FOR EACH ROW EXECUTE FUNCTION chatfiles_token_changed();

DROP TRIGGER IF EXISTS chatfiles_truncated ON workspace_auth_tokens;
CREATE TRIGGER chatfiles_truncated AFTER TRUNCATE ON workspace_auth_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION chatfiles_anything_changed();
