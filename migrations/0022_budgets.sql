-- Budgets: limits on the money that the runs of a tenant, of an orchestration or of an end user spend in a period, the calls
-- that are reserved in them, and the prices of models that the operator has replaced. docs/protocol.md 5.10.

create table budgets (
  tenant_id        text not null,
  budget_id        text not null,
  -- `tenant`, `orchestration:<id>` or `user:<metadata.user>`.
  scope            text not null,
  period           text not null check (period in ('day', 'month', 'total')),
  limit_micro_usd  bigint not null check (limit_micro_usd >= 0),
  at_limit         text not null check (at_limit in ('fail', 'pause', 'downgrade')),
  -- The cheaper model of `downgrade`.
  downgrade_model  text,
  -- The period that `spent_micro_usd` belongs to.
  period_start     timestamptz not null,
  spent_micro_usd  bigint not null default 0,
  -- Increased by each change that a person makes: a run that waits for a budget names the version that it waits for.
  version          bigint not null default 1,
  created_at       timestamptz not null default now(),
  updated_at       timestamptz not null default now(),
  primary key (tenant_id, budget_id),
  constraint downgrade_has_model check ((at_limit = 'downgrade') = (downgrade_model is not null))
);
create index budgets_by_scope on budgets (tenant_id, scope);

-- A model call in a budget: reserved with its worst case, until the flush that charges the call makes `micro_usd` its cost and
-- sets `charged`. The next reservation in the budget adds charged calls to what is spent and deletes them. So a flush changes
-- only rows of its own runs, and waits for no budget.
create table budget_calls (
  run_id        text not null,
  call          text not null,
  tenant_id     text not null,
  budget_id     text not null,
  period_start  timestamptz not null,
  -- The attempt that makes the call. An uncharged row lapses when the run is not running under this attempt any more.
  attempt       integer not null,
  micro_usd     bigint not null,
  charged       boolean not null default false,
  primary key (run_id, call, tenant_id, budget_id)
);
create index budget_calls_by_budget on budget_calls (tenant_id, budget_id);

create table model_prices (
  -- As definitions name it: `gpt-5`, or `provider/model`.
  model                   text primary key,
  -- USD for a million tokens, which is micro-dollars for a token.
  input_price             double precision not null check (input_price >= 0),
  cached_input_price      double precision check (cached_input_price >= 0),
  output_price            double precision not null check (output_price >= 0),
  -- The most tokens of one answer; null: as the built-in table says.
  max_output_tokens       integer check (max_output_tokens > 0),
  updated_at              timestamptz not null default now()
);

-- `metadata.user` of a run, if it is a text that a budget may name.
alter table runs add column end_user text;

alter table usage add column estimated boolean not null default false;

-- Few runs wait for a budget at a time.
-- squawk-ignore require-concurrent-index-creation
create index waits_for_budget on waits (run_id) where kind = 'budget' and answered_at is null;

-- When the current period of a budget began: days and months of UTC.
create function budget_period_start(p_period text) returns timestamptz
language sql stable as $$
  select case p_period when 'total' then timestamptz 'epoch' else date_trunc(p_period, now() at time zone 'UTC') at time zone 'UTC' end
$$;

-- Whether a budget applies to a run.
create function has_budget(p_tenant text, p_orchestration text, p_user text) returns boolean
language sql stable as $$
  select exists (select from budgets
    where tenant_id = p_tenant and scope in ('tenant', 'orchestration:' || p_orchestration, 'user:' || p_user))
$$;

-- Whether a call that is not charged yet still counts: its attempt moves the run.
create function is_call_open(p_run text, p_attempt integer) returns boolean
language sql stable as $$
  select exists (select from runs where run_id = p_run and attempt = p_attempt and status = 'running')
$$;

-- Reserves a model call in all budgets of its run at once, or in none of them. `outcome`:
-- `fenced`: the run is not this owner's under this attempt any more. `free`: no budget applies.
-- `reserved`: its worst case, p_cost, is reserved in each budget.
-- `busy`: it does not fit beside what other calls have reserved; when those are charged it may.
-- `refused`: it does not fit into what the named budget has left, whatever other calls cost.
--
-- Volatile, with several queries: the locks of the first come before the snapshot in which the later ones count.
create function reserve_in_budgets(
  p_run text, p_attempt integer, p_owner text, p_call text, p_wait text, p_cost bigint
) returns table (
  outcome text, budget_id text, version bigint, at_limit text, downgrade_model text,
  limit_micro_usd bigint, spent_micro_usd bigint, rolls_in_ms double precision
)
language plpgsql volatile as $$
#variable_conflict use_column
declare
  v_tenant text;
  v_scopes text[];
  v_left bigint;
begin
  select r.tenant_id, array['tenant', 'orchestration:' || r.orchestration_id, 'user:' || r.end_user]
    into v_tenant, v_scopes
    from runs r where r.run_id = p_run and r.attempt = p_attempt and r.owner = p_owner;
  if not found then
    return query select 'fenced', null::text, null::bigint, null::text, null::text, null::bigint, null::bigint, null::float8;
    return;
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
    where b.tenant_id = v_tenant and b.scope = any(v_scopes) and b.limit_micro_usd - b.spent_micro_usd < p_cost
    order by array_position(array['fail', 'pause', 'downgrade'], b.at_limit), b.budget_id limit 1;
  if found then
    return;
  end if;

  select min(b.limit_micro_usd - b.spent_micro_usd - coalesce((
      select sum(c.micro_usd) from budget_calls c
      where c.tenant_id = b.tenant_id and c.budget_id = b.budget_id and c.period_start = b.period_start
        and not (c.run_id = p_run and c.call = p_call)), 0))
    into v_left
    from budgets b where b.tenant_id = v_tenant and b.scope = any(v_scopes);
  if v_left < p_cost then
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
