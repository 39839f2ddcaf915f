-- A deployment may have these tables already. Creates the tables that are missing, and adds the columns
-- and indexes that are missing in existing ones.

CREATE TABLE IF NOT EXISTS workspaces (
    id uuid PRIMARY KEY,
    name text,
    url text,
    status text,
    delivery_mode text,
    platform_inbound_secret text,
    last_heartbeat_at timestamptz,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);

CREATE TABLE IF NOT EXISTS workspace_auth_tokens (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES workspaces (id),
    token_hash bytea NOT NULL,
    prefix text,
    created_at timestamptz DEFAULT now(),
    last_used_at timestamptz,
    revoked_at timestamptz
);

-- Existing tables may lack some of these, such as those from before RFC #2312.
ALTER TABLE workspaces
    ADD COLUMN IF NOT EXISTS name text,
    ADD COLUMN IF NOT EXISTS url text,
    ADD COLUMN IF NOT EXISTS status text,
    ADD COLUMN IF NOT EXISTS platform_inbound_secret text,
    ADD COLUMN IF NOT EXISTS last_heartbeat_at timestamptz,
    ADD COLUMN IF NOT EXISTS created_at timestamptz,
    ADD COLUMN IF NOT EXISTS updated_at timestamptz;

ALTER TABLE workspace_auth_tokens
    ADD COLUMN IF NOT EXISTS prefix text,
    ADD COLUMN IF NOT EXISTS created_at timestamptz,
    ADD COLUMN IF NOT EXISTS last_used_at timestamptz,
    ADD COLUMN IF NOT EXISTS revoked_at timestamptz,
    ADD COLUMN IF NOT EXISTS scopes text,
    ADD COLUMN IF NOT EXISTS name text;

-- As a third party adds it to its own table, because its later migration skips a column that exists.
-- Before PostgreSQL 13, ADD COLUMN IF NOT EXISTS adds the check even if the column exists.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'workspaces'::regclass AND attname = 'delivery_mode' AND NOT attisdropped
    ) THEN
        ALTER TABLE workspaces ADD COLUMN delivery_mode text NOT NULL DEFAULT 'push'
            CHECK (delivery_mode IN ('push', 'poll'));
    END IF;
END
$$;

-- If the status is an enum, adds the labels that we write and it lacks.
DO $$
DECLARE
    kind regtype;
    word text;
BEGIN
    SELECT a.atttypid INTO kind
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = 'workspaces'::regclass AND a.attname = 'status' AND t.typtype = 'e';
    IF FOUND THEN
        FOREACH word IN ARRAY ARRAY['provisioning', 'online', 'removed'] LOOP
            IF NOT EXISTS (SELECT FROM pg_enum WHERE enumtypid = kind AND enumlabel = word) THEN
                EXECUTE format('ALTER TYPE %s ADD VALUE %L', kind, word);
            END IF;
        END LOOP;
    END IF;
END
$$;

-- Does not create an index if an equivalent one exists under any name.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN SELECT * FROM (VALUES
        ('token_hash', true,
            'CREATE UNIQUE INDEX chatfiles_tokens_by_hash ON workspace_auth_tokens (token_hash)'),
        ('workspace_id', false,
            'CREATE INDEX chatfiles_tokens_by_workspace ON workspace_auth_tokens (workspace_id)')
    ) AS w (named, is_unique, statement) LOOP
        IF NOT EXISTS (
            SELECT FROM pg_index AS i JOIN pg_attribute AS a
                ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
            WHERE i.indrelid = 'workspace_auth_tokens'::regclass AND a.attname = wanted.named
                AND i.indisvalid AND i.indpred IS NULL
                AND (NOT wanted.is_unique OR i.indisunique AND i.indnkeyatts = 1)
        ) THEN
            EXECUTE wanted.statement;
        END IF;
    END LOOP;
END
$$;
