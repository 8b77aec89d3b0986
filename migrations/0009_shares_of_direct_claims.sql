-- A direct claim shares a worker's slots between tenants as a claim from the queue does (docs/protocol.md 10). The function
-- of 0008_silent_after.sql with two arguments stays for workers of earlier versions.
--
-- Of what it returns, the n-th run takes one of p_slots - n + 1 free slots. A tenant gets it only while it holds fewer runs in
-- the worker p_owner than slots are free, those that it gets here included.
create function claimable_runs(p_owner text, p_slots integer, p_lanes text[]) returns setof text
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
      select r.tenant_id, count(*) as n, count(*) filter (where r.owner = p_owner) as here
      from runs r where r.status = 'running' group by r.tenant_id
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
      select d.run_id, d.tenant_id, d.wake_at, f.slots,
        row_number() over (partition by d.tenant_id order by d.wake_at, d.run_id) as place
      from due d join free f using (tenant_id)
    ), abandoned as (
      select r.run_id, r.tenant_id, r.wake_at from runs r
      where r.status = 'running' and r.lane = any(p_lanes) and not exists (
        select from workers w where w.incarnation = r.owner and silent_at(w) >= now())
      order by r.wake_at, r.run_id limit p_slots
    ), candidates as (
      select a.run_id, a.tenant_id, a.wake_at, 0 as class from abandoned a
      union all
      select p.run_id, p.tenant_id, p.wake_at, 1 from placed p where p.place <= p.slots
    ), ranked as (
      -- How many runs the tenant holds here when it has this one too.
      select c.*, coalesce(n.here, 0) + row_number() over (
        partition by c.tenant_id order by c.class, c.wake_at, c.run_id) as held
      from candidates c left join running n using (tenant_id)
    ), ordered as (
      select k.*, row_number() over (order by k.class, k.held, k.wake_at, k.run_id) as number from ranked k
    )
    select o.run_id from ordered o where o.held <= p_slots - o.number + 1 order by o.number limit p_slots;
end $$;
