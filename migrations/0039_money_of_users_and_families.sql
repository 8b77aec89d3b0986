-- Budgets of each end user (`user:*`), and the limit of a run counted together with the runs that it has started. Both are rows of
-- `budgets` that the system makes: docs/protocol.md 5.10.

-- Of the budget of one end user: the id of the budget of scope `user:*` that it is made from. Its own id is `<template>:<user>`.
alter table budgets add column template_id text;

-- Whether a budget applies to a run.
create or replace function has_budget(p_tenant text, p_orchestration text, p_user text) returns boolean
language sql stable as $$
  select exists (select from budgets
    where tenant_id = p_tenant and scope in ('tenant', 'orchestration:' || p_orchestration, 'user:' || p_user,
      case when p_user is not null then 'user:*' end))
$$;

-- Whether the calls of a run are reserved: a budget applies, it has started runs under a limit, or it was started by a run with one.
create function reserves_calls(p_tenant text, p_run text, p_orchestration text, p_user text, p_cost_limit bigint) returns boolean
language sql stable as $$
  select p_cost_limit is not null or has_budget(p_tenant, p_orchestration, p_user)
    or exists (select from budgets where tenant_id = p_tenant and scope = 'run:' || p_run)
$$;

-- As before, with two more kinds of budgets: that of the run's end user, which is made here from its template, and the limits of the
-- run and of all runs above it. In the limit of a run a call that is alone may begin while anything is left.
create or replace function reserve_in_budgets(
  p_run text, p_attempt integer, p_owner text, p_call text, p_wait text, p_cost bigint
) returns table (
  outcome text, budget_id text, version bigint, at_limit text, downgrade_model text,
  limit_micro_usd bigint, spent_micro_usd bigint, rolls_in_ms double precision
)
language plpgsql volatile as $$
#variable_conflict use_column
declare
  v_tenant text;
  v_user text;
  v_parent text;
  v_scopes text[];
  v_fits boolean;
begin
  select r.tenant_id, r.end_user, r.parent_run_id,
      array['tenant', 'orchestration:' || r.orchestration_id, 'user:' || r.end_user, 'run:' || r.run_id]
    into v_tenant, v_user, v_parent, v_scopes
    from runs r where r.run_id = p_run and r.attempt = p_attempt and r.owner = p_owner;
  if not found then
    return query select 'fenced', null::text, null::bigint, null::text, null::text, null::bigint, null::bigint, null::float8;
    return;
  end if;

  while v_parent is not null loop
    v_scopes := v_scopes || ('run:' || v_parent);
    select r.parent_run_id into v_parent from runs r where r.run_id = v_parent;
  end loop;

  -- The budget of this end user, as its template says now.
  if v_user is not null then
    insert into budgets as b (tenant_id, budget_id, scope, period, limit_micro_usd, at_limit, downgrade_model, period_start,
      version, template_id)
    select t.tenant_id, t.budget_id || ':' || v_user, 'user:' || v_user, t.period, t.limit_micro_usd, t.at_limit, t.downgrade_model,
      budget_period_start(t.period), t.version, t.budget_id
    from budgets t where t.tenant_id = v_tenant and t.scope = 'user:*' order by t.budget_id collate "C"
    on conflict (tenant_id, budget_id) do nothing;
    update budgets b set limit_micro_usd = t.limit_micro_usd, at_limit = t.at_limit, downgrade_model = t.downgrade_model,
      version = t.version
    from budgets t
    where b.tenant_id = v_tenant and b.scope = 'user:' || v_user and t.tenant_id = v_tenant and t.budget_id = b.template_id
      and b.version <> t.version;
  end if;

  -- In the order of their ids, so that two calls with several budgets in common do not deadlock.
  perform from budgets b where b.tenant_id = v_tenant and b.scope = any(v_scopes)
    order by b.budget_id collate "C" for update;
  if not found then
    return query select 'free', null::text, null::bigint, null::text, null::text, null::bigint, null::bigint, null::float8;
    return;
  end if;

  -- Charged calls become part of what is spent, and lapsed ones are dropped.
  with gone as (
    delete from budget_calls c using budgets b
    where b.tenant_id = v_tenant and b.scope = any(v_scopes) and c.tenant_id = b.tenant_id and c.budget_id = b.budget_id
      and (c.charged or not is_call_open(c.run_id, c.attempt))
    returning c.budget_id, c.period_start, case when c.charged then c.micro_usd else 0 end as cost
  ), of_period as (
    select b.budget_id, budget_period_start(b.period) as starts from budgets b
    where b.tenant_id = v_tenant and b.scope = any(v_scopes)
  )
  update budgets b set period_start = p.starts,
    spent_micro_usd = case when b.period_start = p.starts then b.spent_micro_usd else 0 end
      + coalesce((select sum(g.cost) from gone g where g.budget_id = b.budget_id and g.period_start = p.starts), 0)
  from of_period p where b.tenant_id = v_tenant and b.budget_id = p.budget_id;

  -- The run goes on, or opens another wait.
  update waits w set answered_at = now(), answered_by = 'budget'
  where w.run_id = p_run and w.wait_id = p_wait and w.answered_at is null;

  -- Of several budgets that refuse the call, one that fails the run counts before one that pauses it.
  return query
    select 'refused', b.budget_id, b.version, b.at_limit, b.downgrade_model, b.limit_micro_usd, b.spent_micro_usd,
      case b.period when 'total' then null
        else extract(epoch from ((b.period_start at time zone 'UTC') + ('1 ' || b.period)::interval) at time zone 'UTC' - now())::float8
          * 1000 end
    from budgets b
    where b.tenant_id = v_tenant and b.scope = any(v_scopes)
      and case when b.scope like 'run:%' then b.spent_micro_usd >= b.limit_micro_usd
        else b.limit_micro_usd - b.spent_micro_usd < p_cost end
    order by array_position(array['fail', 'pause', 'downgrade'], b.at_limit), b.budget_id limit 1;
  if found then
    return;
  end if;

  select bool_and(b.limit_micro_usd - b.spent_micro_usd - c.reserved >= p_cost or (b.scope like 'run:%' and c.reserved = 0))
    into v_fits
    from budgets b cross join lateral (
      select coalesce(sum(o.micro_usd), 0) as reserved from budget_calls o
      where o.tenant_id = b.tenant_id and o.budget_id = b.budget_id and o.period_start = b.period_start
        and not (o.run_id = p_run and o.call = p_call)
    ) c
    where b.tenant_id = v_tenant and b.scope = any(v_scopes);
  if not v_fits then
    return query select 'busy', null::text, null::bigint, null::text, null::text, null::bigint, null::bigint, null::float8;
    return;
  end if;

  insert into budget_calls (run_id, call, tenant_id, budget_id, period_start, attempt, micro_usd)
  select p_run, p_call, b.tenant_id, b.budget_id, b.period_start, p_attempt, p_cost
  from budgets b where b.tenant_id = v_tenant and b.scope = any(v_scopes)
  on conflict (run_id, call, tenant_id, budget_id) do update
    set attempt = excluded.attempt, micro_usd = excluded.micro_usd, period_start = excluded.period_start;
  return query select 'reserved', null::text, null::bigint, null::text, null::text, null::bigint, null::bigint, null::float8;
end $$;
