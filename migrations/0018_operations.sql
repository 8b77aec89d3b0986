-- What operators do: keys with their last use and rotation, tenants that are disabled or deleted, usage by day, the audit of
-- changes, workers that are asked to drain.

alter table api_keys
  -- Within about a minute, as edges report it.
  add column last_used_at timestamptz,
  -- The key that replaces this one, which is valid until `expires_at` then.
  add column rotated_to text;
-- squawk-ignore require-concurrent-index-creation
create index api_keys_by_tenant on api_keys (tenant_id, created_at, key_id);
-- squawk-ignore require-concurrent-index-creation
create index api_keys_by_time on api_keys (created_at, key_id);

alter table tenants
  -- While it is set, `max_concurrent_runs` and `max_queued_runs` are 0, which every version of workers, scripts and functions
  -- obeys, and the two columns below hold the limits that come back.
  add column disabled_at timestamptz,
  add column enabled_concurrent_runs integer,
  add column enabled_queued_runs integer,
  -- Its deletion was requested: what belongs to it is deleted in batches, until it is purged. The row stays, with the version
  -- of its limits, because the queue never replaces limits with those of a lower version.
  add column deleted_at timestamptz,
  add column purged_at timestamptz,
  -- Its objects from before this time are still to be deleted.
  add column objects_before timestamptz;
-- squawk-ignore require-concurrent-index-creation
create index tenants_being_deleted on tenants (deleted_at) where deleted_at is not null and purged_at is null;
-- squawk-ignore require-concurrent-index-creation
create index tenants_with_old_objects on tenants (objects_before) where objects_before is not null;

-- The charges of a tenant's day. A day is one of UTC.
alter table usage add column tenant_id text, add column at timestamptz not null default now();
update usage u set tenant_id = r.tenant_id,
  at = coalesce((select j.at from journal j where j.run_id = u.run_id and j.seq = u.seq), r.queued_at)
from runs r where r.run_id = u.run_id;
-- squawk-ignore require-concurrent-index-creation
create index usage_by_tenant on usage (tenant_id, at);

-- Workers of earlier versions insert charges without a tenant.
create function usage_tenant() returns trigger language plpgsql as $$
begin
  select r.tenant_id into new.tenant_id from runs r where r.run_id = new.run_id;
  return new;
end $$;
create trigger usage_tenant before insert on usage for each row when (new.tenant_id is null)
  execute function usage_tenant();

-- One row for each request that changes something as an administrator. It is written before the change.
create table audit (
  audit_id    bigint generated always as identity primary key,
  at          timestamptz not null default now(),
  key_id      text not null,
  -- The name of the operation in the API's document.
  action      text not null,
  -- The id of what was changed; null: many things, or one that did not exist yet when the process died.
  target      text,
  -- The tenant that the change concerns; null: the platform.
  tenant_id   text,
  request_id  text not null,
  -- The HTTP status of the response; null: the process died before, and the change may or may not have been made.
  status      integer
);
create index audit_by_tenant on audit (tenant_id, audit_id);
create index audit_by_time on audit (at);

alter table workers
  add column pid integer,
  add column drain_requested_at timestamptz;
