-- Two deletions that go on past what they cannot delete: docs/protocol.md 7.8, 7.15.

-- The key after which the next pass over the objects of a purged tenant begins; null: at the first.
alter table tenants add column objects_after text;

-- Adds the partitions of the coming seven days; when there was none to add, drops one of a day before yesterday that has at most 1,000
-- rows and 8 MiB: these rows, of runs that live on, move to `journal_rest`. What is added is committed before anything is dropped, so
-- that a statement that is cut off in a drop takes no day to come back. A past day that cannot be dropped is left for the next call,
-- and those after it are dropped. No statement waits for it longer than a fifth of a second: a lock that it does not get in this time
-- is left to the next call. One process at a time. Returns how many partitions it has added or dropped.
create or replace function keep_journal_days() returns integer
-- A role that may not change tables, such as an edge's, calls it too.
language plpgsql security definer set search_path from current as $$
declare
  v_today date := (now() at time zone 'UTC')::date;
  v_added integer := 0;
  v_name text;
  v_is_small boolean;
begin
  if (select relkind from pg_class where oid = 'journal'::regclass) <> 'p' or not pg_try_advisory_xact_lock(7301982466) then
    return 0;
  end if;
  perform set_config('lock_timeout', '200ms', true);
  -- A partition is looked at by its key: its pages may all be there yet, and empty.
  perform set_config('enable_seqscan', 'off', true);
  for i in 1..7 loop
    continue when to_regclass('journal_' || to_char(v_today + i, 'YYYYMMDD')) is not null;
    begin
      perform add_journal_day(v_today + i);
      v_added := v_added + 1;
    exception
      when lock_not_available then return v_added;
      -- An id from a clock that is days ahead: this day's runs stay in `journal_rest`.
      when check_violation then raise warning 'journal_rest has runs of %', v_today + i;
    end;
  end loop;
  if v_added > 0 then
    return v_added;
  end if;
  for v_name in
    select c.relname from pg_inherits h join pg_class c on c.oid = h.inhrelid
    where h.inhparent = 'journal'::regclass and c.relname ~ '^journal_(before_)?[0-9]{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') < v_today - 1
      -- One whose deleted rows wait for a vacuum would be read for seconds.
      and pg_stat_get_dead_tuples(c.oid) < 1000000
    order by right(c.relname, 8)
  loop
    execute format('select count(*) <= 1000 and coalesce(sum(bytes), 0) <= 8388608 from (
      select octet_length(events) + coalesce(octet_length(output), 0) as bytes from %I
        order by run_id, seq limit 1001) j', v_name) into v_is_small;
    continue when not v_is_small;
    begin
      execute format('alter table journal detach partition %I', v_name);
      execute format('insert into journal select * from %I', v_name);
      execute format('drop table %I', v_name);
      return 1;
    exception
      when lock_not_available then return 0;
      when dependent_objects_still_exist then raise warning 'journal: % stays: %', v_name, sqlerrm;
    end;
  end loop;
  return 0;
end $$;
