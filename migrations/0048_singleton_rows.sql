-- As before, and a key has a row before it is handed over: the lock on that row orders an accept that takes the key at this moment.
-- Without a row (the run that was to get the key was locked when the holder ended) there was nothing to lock, and the key
-- that the accept had taken was given to the waiting run too.
create or replace function hand_over_singleton(p_tenant text, p_key text) returns void language plpgsql volatile as $$
declare
  v_holder text;
  v_next text;
begin
  loop
    insert into singleton_holders (tenant_id, singleton_key, run_id) values (p_tenant, p_key, '') on conflict do nothing;
    select run_id into v_holder from singleton_holders
    where tenant_id = p_tenant and singleton_key = p_key for update;
    exit when found;
  end loop;
  if exists (select from runs where run_id = v_holder and ended_at is null) then
    return;
  end if;
  select run_id into v_next from runs
  where tenant_id = p_tenant and singleton_key = p_key and ended_at is null and status = 'queued'
  order by queued_at, run_id limit 1 for update skip locked;
  if v_next is null then
    delete from singleton_holders where tenant_id = p_tenant and singleton_key = p_key;
    return;
  end if;
  update singleton_holders set run_id = v_next where tenant_id = p_tenant and singleton_key = p_key;
  update runs set wake_at = greatest(now(), starts_at) where run_id = v_next;
end $$;
