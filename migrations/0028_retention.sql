-- How long what belongs to a tenant is kept: docs/protocol.md 7.8.

alter table tenants
  -- Only the policies that the tenant has of its own, by name: {"runs_days": 90}.
  add column retention jsonb not null default '{}',
  -- When retention looked at this tenant last.
  add column retained_at timestamptz;
-- squawk-ignore require-concurrent-index-creation
create index tenants_with_retention on tenants (retained_at nulls first) where retention <> '{}';

-- Letters are rare: one for each end in failure.
-- squawk-ignore require-concurrent-index-creation
create index dead_letters_by_tenant on dead_letters (tenant_id, failed_at);

-- Runs that retention has deleted. The sweep of the bucket deletes their objects: those of a run that this database never had may
-- belong to another one.
create table deleted_runs (
  run_id      text primary key,
  tenant_id   text not null,
  deleted_at  timestamptz not null default now()
);
create index deleted_runs_by_time on deleted_runs (deleted_at);
