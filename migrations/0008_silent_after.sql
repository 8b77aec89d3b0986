-- Each worker says itself after how long without a beat it is silent: workers of two versions, which beat at different
-- periods, agree on it. A worker of a version that does not say it beats every 5 s.
alter table workers add column silent_after interval not null default interval '12 seconds';

-- A beat changes no indexed column. With room in its page the new version of the row stays there (heap-only), however
-- many beats come between two vacuums.
alter table workers set (fillfactor = 50);

-- When the worker is silent, if it does not beat until then: its runs may be taken over. A Postgres that has just started
-- has received no beats, so that a silence is counted from its start at the earliest.
create function silent_at(w workers) returns timestamptz language sql stable parallel safe as $$
  select greatest(w.beat_at, pg_postmaster_start_time()) + w.silent_after
$$;

-- What silent workers are is decided by `silent_at`; the rest is as in 0002_recovery.sql.
--
-- The runs of these lanes that a direct claim may take, p_slots at most: first those of silent workers, then the next
-- runs of each tenant, as far as its max_concurrent_runs allows, with the tenants taking turns.
--
-- It returns nothing while any worker can reach the queue: that worker claims through the queue, which does not count
-- the slots that a direct claim takes. The caller holds the row `direct` of `locks` until its transaction ends, so that
-- two direct claims do not count the same free slot.
create or replace function claimable_runs(p_slots integer, p_lanes text[]) returns setof text
language plpgsql volatile as $$
begin
  insert into locks (name, holder, until) values ('direct', 'claim', now())
  on conflict (name) do update set until = now();
  if exists (select from workers w where w.redis_ok and w.beat_at >= now() - w.silent_after) then
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
        select from workers w where w.incarnation = r.owner and silent_at(w) >= now())
      order by r.wake_at, r.run_id limit p_slots
    )
    select c.run_id from (
      select a.run_id, a.wake_at, 0::bigint as place from abandoned a
      union all
      select p.run_id, p.wake_at, p.place from placed p where p.place <= p.slots
    ) c order by c.place, c.wake_at, c.run_id limit p_slots;
end $$;
