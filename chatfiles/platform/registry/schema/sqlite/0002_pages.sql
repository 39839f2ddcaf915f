-- The list of workspaces is read in pages, oldest first.

CREATE INDEX IF NOT EXISTS chatfiles_workspaces_by_age
    ON workspaces (coalesce(created_at, '-infinity'), id);
