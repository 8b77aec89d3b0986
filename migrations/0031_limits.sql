-- Limits of tenants (docs/protocol.md 5.24), and the settings that operators change while the system runs.

-- 1000000000 is no limit, as it is in the queue.
alter table tenants
  add column runs_per_minute integer not null default 1000000000,
  add column max_open_streams integer not null default 1000;

-- A setting has precedence over the variable of the same name. A secret is sealed with MASTER_KEY for its name.
create table settings (
  name        text primary key,
  value       text not null,
  updated_at  timestamptz not null default now(),
  -- The key that saved it.
  updated_by  text not null
);

-- The runs of a tenant that were queued in the last minute: each status is a range of the index of lists. A second more,
-- as the queue counts.
create function minute_starts(p_tenant text) returns bigint
language sql volatile as $$
  select count(*) from runs
  where tenant_id = p_tenant and status in ('queued', 'running', 'paused', 'completed', 'failed', 'cancelled')
    and queued_at > clock_timestamp() - interval '61 seconds'
$$;

-- The number of runs that a tenant may still queue, by its queue and by its minute. See 0002 for the lock.
create or replace function queue_room(p_tenant text) returns integer
language plpgsql volatile as $$
declare
  room integer;
  per_minute integer;
begin
  select case when max_concurrent_runs = 0 then 0 else max_queued_runs end, runs_per_minute into room, per_minute
  from tenants where tenant_id = p_tenant for update;
  if not found then
    return 0;
  end if;
  room := room - (select count(*) from runs where tenant_id = p_tenant and status = 'queued');
  if per_minute < 1000000000 then
    room := least(room, per_minute - minute_starts(p_tenant));
  end if;
  return room;
end $$;
