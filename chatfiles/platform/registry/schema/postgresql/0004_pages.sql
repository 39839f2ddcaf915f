-- The list of workspaces is read in pages, oldest first. A heartbeat does not change the columns of the
-- index, so that heartbeats remain cheap.

CREATE INDEX IF NOT EXISTS chatfiles_workspaces_by_age
    ON workspaces (coalesce(created_at, '-infinity'), id);
