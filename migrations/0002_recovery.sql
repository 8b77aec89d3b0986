-- Dead letters, waits, and the functions that count quotas and slots while Redis is unreachable.

-- One for each end of a run in failure. `resolved_at`: when the run was retried, or an operator dismissed the letter.
create table dead_letters (
  run_id            text not null,
  -- The number of the entry that ended the run.
  seq               integer not null,
  tenant_id         text not null,
  orchestration_id  text not null,
  code              text not null,
  message           text not null,
  stack             text,
  step_id           text,
  tries             integer not null,
  attempt           integer not null,
  first_failed_at   timestamptz not null,
  failed_at         timestamptz not null default now(),
  resolved_at       timestamptz,
  primary key (run_id, seq)
);
create index dead_letters_open on dead_letters (failed_at desc, run_id) where resolved_at is null;

create table waits (
  run_id       text not null,
  wait_id      text not null,
  kind         text not null check (kind in ('human', 'timer', 'child', 'turn', 'budget')),
  prompt       text,
  fields       text,
  deadline_at  timestamptz,
  answer       text,
  answered_at  timestamptz,
  answered_by  text,
  child_run_id text,
  primary key (run_id, wait_id)
);
-- These two find the runs that wait for a run which ends. Every end reads them, so both are as small as possible.
create index waits_for_child on waits (child_run_id) where answered_at is null;
-- `runs` is still empty here: it was created in this transaction, or a moment before it.
-- squawk-ignore require-concurrent-index-creation
create index runs_of_parents on runs (run_id) include (parent_run_id, parent_wait_id)
  where parent_wait_id is not null and ended_at is null;

-- The number of runs that a tenant may still queue. The lock on the tenant's row keeps other transactions from queueing
-- runs of this tenant until this one ends.
--
-- Volatile, with two queries: the second one sees all that was committed before the first one got its lock. A single
-- statement would count with a snapshot from before the lock.
create function queue_room(p_tenant text) returns integer
language plpgsql volatile as $$
declare
  room integer;
begin
  select case when max_concurrent_runs = 0 then 0 else max_queued_runs end into room
  from tenants where tenant_id = p_tenant for update;
  if not found then
    return 0;
  end if;
  return room - (select count(*) from runs where tenant_id = p_tenant and status = 'queued');
end $$;

-- The runs of these lanes that a direct claim may take, p_slots at most: first those of silent workers, then the next
-- runs of each tenant, as far as its max_concurrent_runs allows, with the tenants taking turns.
--
-- It returns nothing while any worker can reach the queue: that worker claims through the queue, which does not count
-- the slots that a direct claim takes. The caller holds the row `direct` of `locks` until its transaction ends, so that
-- two direct claims do not count the same free slot.
create function claimable_runs(p_slots integer, p_lanes text[]) returns setof text
language plpgsql volatile as $$
begin
  insert into locks (name, holder, until) values ('direct', 'claim', now())
  on conflict (name) do update set until = now();
  if exists (select from workers w where w.redis_ok and w.beat_at >= now() - interval '12 seconds') then
    return;
  end if;
  return query
    with recursive waiting as (
      (select tenant_id from runs where status = 'queued' order by tenant_id limit 1)
      union all
      select (select r.tenant_id from runs r where r.status = 'queued' and r.tenant_id > w.tenant_id
              order by r.tenant_id limit 1)
      from waiting w where w.tenant_id is not null
    ), running as (
      select r.tenant_id, count(*) as n from runs r where r.status = 'running' group by r.tenant_id
    ), free as (
      select t.tenant_id, least(t.max_concurrent_runs - coalesce(n.n, 0), p_slots) as slots
      from tenants t left join running n using (tenant_id)
      where t.max_concurrent_runs > coalesce(n.n, 0)
    ), due as (
      select q.run_id, q.tenant_id, q.wake_at
      from waiting w
      join free f using (tenant_id)
      cross join unnest(p_lanes) l(lane)
      cross join lateral (
        select r.run_id, r.tenant_id, r.wake_at from runs r
        where r.tenant_id = w.tenant_id and r.lane = l.lane and r.status = 'queued' and r.wake_at <= now()
        order by r.wake_at, r.run_id limit f.slots
      ) q
      union all
      (select r.run_id, r.tenant_id, r.wake_at from runs r
       where r.status = 'paused' and r.lane = any(p_lanes) and r.wake_at <= now()
       order by r.wake_at, r.run_id limit p_slots)
    ), placed as (
      select d.run_id, d.wake_at, f.slots,
        row_number() over (partition by d.tenant_id order by d.wake_at, d.run_id) as place
      from due d join free f using (tenant_id)
    ), abandoned as (
      select r.run_id, r.wake_at from runs r
      where r.status = 'running' and r.lane = any(p_lanes) and not exists (
        select from workers w where w.incarnation = r.owner
          and greatest(w.beat_at, pg_postmaster_start_time()) >= now() - interval '12 seconds')
      order by r.wake_at, r.run_id limit p_slots
    )
    select c.run_id from (
      select a.run_id, a.wake_at, 0::bigint as place from abandoned a
      union all
      select p.run_id, p.wake_at, p.place from placed p where p.place <= p.slots
    ) c order by c.place, c.wake_at, c.run_id limit p_slots;
end $$;
