-- Pages skip removed workspaces without reading them. Heartbeats remain cheap: they do not change the
-- status.

DO $$
BEGIN
    CREATE INDEX IF NOT EXISTS chatfiles_workspaces_live_by_age
        ON workspaces (coalesce(created_at, '-infinity'), id)
        WHERE (status IS NULL OR CAST(status AS text) <> 'removed');
EXCEPTION WHEN invalid_object_definition THEN
    -- The words of an enum may change, so that no index may depend on them: such a table does
    -- without.
    NULL;
END
$$;
