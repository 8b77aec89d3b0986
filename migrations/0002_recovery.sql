-- Dead letters, waits, and the counts that hold while Redis is away.

-- One for each end in failure; `resolved_at` when the run was retried.
create table dead_letters (
  run_id            text not null,
  -- Of the entry that ended the run.
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
-- Who waits for a run that ends: asked at every end, so both are as small as can be.
create index waits_for_child on waits (child_run_id) where answered_at is null;
-- `runs` is as empty as it was made, in this very transaction or a moment before it.
-- squawk-ignore require-concurrent-index-creation
create index runs_of_parents on runs (run_id) include (parent_run_id, parent_wait_id)
  where parent_wait_id is not null and ended_at is null;

-- How many more runs a tenant may queue, while nobody else can queue one of its runs.
--
-- Volatile, and two queries: the second sees what was committed before the first got its lock. One statement would
-- count with the snapshot from before the lock.
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

-- The runs of these lanes that may be claimed straight from here, at most p_slots: those of silent workers, then each
-- tenant's next ones, as far as its limit of running ones allows, the tenants in turn.
--
-- Nothing while any worker can reach the queue: it counts slots there, and would not know of those given out here.
-- Whoever asks holds the row `direct` until his transaction ends, so that two do not count the same free slot.
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
