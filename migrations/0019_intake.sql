-- Delays, singleton keys and batches of runs (docs/protocol.md 5.16, 5.17).

alter table runs
  -- Not before this time. Null: at once.
  add column starts_at timestamptz,
  -- Of the runs of a tenant with the same key, one moves at a time. It begins with `key:` when a client chose it.
  add column singleton_key text,
  add column singleton_policy text,
  add column batch_id text,
  -- The run's place among the items of its batch, from 0.
  add column batch_index integer;

-- A flush changes none of these columns. In the same transaction the table is locked anyway; a partial index over columns that are
-- new and null reads the table once.
-- squawk-ignore require-concurrent-index-creation
create index runs_by_singleton on runs (tenant_id, singleton_key) where singleton_key is not null and ended_at is null;
-- squawk-ignore require-concurrent-index-creation
create index runs_by_batch on runs (batch_id, batch_index) where batch_id is not null;

-- The run that has a singleton key: the only one with it that may be claimed. Its lock orders accepts and ends.
create table singleton_holders (
  tenant_id      text not null,
  singleton_key  text not null,
  run_id         text not null,
  primary key (tenant_id, singleton_key)
);

-- The wake-up of a run that waits for its key. The end of the holder brings it forward.
create function waits_for_key() returns timestamptz language sql stable parallel safe as $$
  select now() + interval '100 years'
$$;

-- A run with a key is inserted, or retried: it takes the key, or waits for it, or (policy `skip`) is not inserted.
-- A lock on the holder's row keeps its end from reading who waits before this statement has committed.
create function take_singleton() returns trigger language plpgsql volatile as $$
declare
  v_holder text;
begin
  insert into singleton_holders as h (tenant_id, singleton_key, run_id)
  values (new.tenant_id, new.singleton_key, new.run_id)
  on conflict (tenant_id, singleton_key) do update set run_id = h.run_id
  returning h.run_id into v_holder;
  if v_holder = new.run_id then
    return new;
  end if;
  if tg_op = 'INSERT' and new.singleton_policy = 'skip' then
    return null;
  end if;
  new.wake_at := waits_for_key();
  return new;
end $$;

-- Gives a key whose holder has ended to the run that waits longest, which becomes due at its start time. A key that a
-- living run holds stays where it is, so a repeated call is harmless.
--
-- Volatile, with several queries: each one after the lock sees what was committed before the lock was granted. A waiting run
-- that is locked is being changed at this moment; the reconciler comes back to it.
create function hand_over_singleton(p_tenant text, p_key text) returns void language plpgsql volatile as $$
declare
  v_holder text;
  v_next text;
begin
  select run_id into v_holder from singleton_holders
  where tenant_id = p_tenant and singleton_key = p_key for update;
  if v_holder is not null and exists (select from runs where run_id = v_holder and ended_at is null) then
    return;
  end if;
  select run_id into v_next from runs
  where tenant_id = p_tenant and singleton_key = p_key and ended_at is null and status = 'queued'
  order by queued_at, run_id limit 1 for update skip locked;
  if v_next is null then
    delete from singleton_holders where tenant_id = p_tenant and singleton_key = p_key;
    return;
  end if;
  insert into singleton_holders (tenant_id, singleton_key, run_id) values (p_tenant, p_key, v_next)
  on conflict (tenant_id, singleton_key) do update set run_id = excluded.run_id;
  update runs set wake_at = greatest(now(), starts_at) where run_id = v_next;
end $$;

create function end_singleton() returns trigger language plpgsql volatile as $$
begin
  perform hand_over_singleton(new.tenant_id, new.singleton_key);
  return null;
end $$;

create trigger runs_take_singleton before insert on runs
  for each row when (new.singleton_key is not null) execute function take_singleton();
create trigger runs_retake_singleton before update of ended_at on runs
  for each row when (old.ended_at is not null and new.ended_at is null and new.singleton_key is not null)
  execute function take_singleton();
create trigger runs_end_singleton after update of ended_at on runs
  for each row when (old.ended_at is null and new.ended_at is not null and new.singleton_key is not null)
  execute function end_singleton();

-- Hands over the keys of which no living run is the holder: at most p_limit of each kind. Returns how many there were.
create function repair_singletons(p_limit integer) returns integer language plpgsql volatile as $$
declare
  v_key record;
  v_count integer := 0;
begin
  for v_key in
    (select distinct r.tenant_id, r.singleton_key from runs r
     where r.singleton_key is not null and r.ended_at is null and r.status = 'queued'
       and r.wake_at > now() + interval '50 years' and not exists (
         select from singleton_holders h join runs o on o.run_id = h.run_id and o.ended_at is null
         where h.tenant_id = r.tenant_id and h.singleton_key = r.singleton_key)
     limit p_limit)
    union
    (select h.tenant_id, h.singleton_key from singleton_holders h
     where not exists (select from runs o where o.run_id = h.run_id and o.ended_at is null) limit p_limit)
    order by 1, 2
  loop
    perform hand_over_singleton(v_key.tenant_id, v_key.singleton_key);
    v_count := v_count + 1;
  end loop;
  return v_count;
end $$;

-- The run of this key was not inserted (policy `skip`): the answer is the run that had the singleton key.
alter table idempotency_keys add column skipped boolean not null default false;

create table batches (
  batch_id          text primary key,
  tenant_id         text not null,
  orchestration_id  text not null,
  total             integer not null,
  created_at        timestamptz not null default now(),
  -- JSON text: the items that were refused, [{index, code, detail}]. Null until all items were submitted.
  refused           text,
  -- JSON text: the runs of items that were skipped for a run with the same singleton key, [{index, run_id}].
  skipped           text
);
create index batches_by_tenant on batches (tenant_id, created_at);
