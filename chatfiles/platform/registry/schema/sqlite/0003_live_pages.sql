-- A page does not pass over every workspace that has been removed.  The condition is the one of the
-- statements, to the letter.

CREATE INDEX IF NOT EXISTS chatfiles_workspaces_live_by_age
    ON workspaces (coalesce(created_at, '-infinity'), id)
    WHERE (status IS NULL OR CAST(status AS text) <> 'removed');
