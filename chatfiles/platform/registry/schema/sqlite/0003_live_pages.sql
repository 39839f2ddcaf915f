-- Pages skip removed workspaces without reading them. SQLite uses the index only if this condition is
-- literally the one of the statements.

CREATE INDEX IF NOT EXISTS chatfiles_workspaces_live_by_age
    ON workspaces (coalesce(created_at, '-infinity'), id)
    WHERE (status IS NULL OR CAST(status AS text) <> 'removed');
