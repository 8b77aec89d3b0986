-- Every kind of row has an end: docs/protocol.md 7.18.

-- A batch ends with its runs.
alter table batches
  -- How many of its runs retention has deleted.
  add column deleted_runs integer not null default 0,
  -- Retention looks at it after this time, and deletes it if it has no run. Null: it has runs; the deletion of one sets the time.
  add column kept_until timestamptz default now() + interval '30 days';
-- Built by one read of the table: a migration is one transaction, which excludes `concurrently`.
-- squawk-ignore require-concurrent-index-creation
create index batches_by_expiry on batches (kept_until) where kept_until is not null;

-- Keys that are revoked or expired are deleted a year later, as the audit that names them is.
-- squawk-ignore require-concurrent-index-creation
create index api_keys_ended on api_keys (least(revoked_at, expires_at));

-- Whether retention has found the run of a row, which is written before its run is accepted.
alter table upload_uses add column checked boolean not null default false;
-- squawk-ignore require-concurrent-index-creation
create index upload_uses_unchecked on upload_uses (right(run_id, 13)) where not checked;

-- Definitions that are deleted and still have their text.
-- squawk-ignore require-concurrent-index-creation
create index agents_deleted on agents (deleted_at) where deleted_at is not null and definition <> '{}';
-- squawk-ignore require-concurrent-index-creation
create index tools_deleted on tools (deleted_at) where deleted_at is not null and definition <> '{}';
-- squawk-ignore require-concurrent-index-creation
create index mcp_servers_deleted on mcp_servers (deleted_at) where deleted_at is not null and definition <> '{}';

-- Budgets of end users by the beginning of their period.
-- squawk-ignore require-concurrent-index-creation
create index budgets_of_users on budgets (period, period_start) where template_id is not null;
