-- Signed links: the keys that sign them, and the time before which the links of a workspace are revoked,
-- in unix seconds.

CREATE TABLE IF NOT EXISTS chatfiles_keys (
    id text PRIMARY KEY NOT NULL,
    purpose text NOT NULL,
    key blob NOT NULL,
    created_at text NOT NULL,
    signs_until text NOT NULL,
    verifies_until text NOT NULL
);

ALTER TABLE workspaces ADD COLUMN links_not_before integer;
