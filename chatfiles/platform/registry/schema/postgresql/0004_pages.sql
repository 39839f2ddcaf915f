-- The list of workspaces is given in pages, oldest first. The index stays as it is when a workspace
-- changes, so that heartbeats remain cheap.

CREATE INDEX IF NOT EXISTS chatfiles_workspaces_by_age
    ON workspaces (coalesce(created_at, '-infinity'), id);
