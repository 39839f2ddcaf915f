-- A third party may later change the type of the status of its own table to an enum. An index whose
-- condition depends on the status prevents that, so such a table does without. A table with a column
-- that chatfiles does not know belongs to a third party.

DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'workspaces'::regclass AND attnum > 0 AND NOT attisdropped
            AND attname NOT IN ('id', 'name', 'url', 'status', 'delivery_mode',
                'platform_inbound_secret', 'last_heartbeat_at', 'created_at', 'updated_at',
                'links_not_before', 'next_inbound_secret', 'next_secret_since', 'channel_seen_at')
    ) THEN
        DROP INDEX IF EXISTS chatfiles_workspaces_live_by_age;
    END IF;
END
$$;
