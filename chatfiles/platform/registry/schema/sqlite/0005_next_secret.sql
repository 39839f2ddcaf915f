-- The secret that the platform presents once the workspace has it, and the time from which it is pending.

ALTER TABLE workspaces ADD COLUMN next_inbound_secret text;
ALTER TABLE workspaces ADD COLUMN next_secret_since text;
