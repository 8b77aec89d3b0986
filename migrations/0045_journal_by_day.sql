-- The journal in partitions by the day in which a run was accepted: docs/protocol.md 7.15.

-- The base of a run's id with which a day of UTC begins.
create function journal_day_begins(p_day date) returns text
language sql immutable as $$
  select lpad((extract(epoch from p_day) * 1000)::bigint::text, 13, '0')
$$;

-- Adds the partition of a day to come. Statements that write or read other partitions do not wait.
create function add_journal_day(p_day date) returns void language plpgsql as $$
declare
  v_name text := 'journal_' || to_char(p_day, 'YYYYMMDD');
begin
  execute format('create table %I (like journal including defaults including constraints)', v_name);
  -- A partition has whole runs, so that its key holds for the whole journal.
  execute format('alter table %I add primary key (run_id, seq)', v_name);
  execute format('alter table journal attach partition %I for values from (%L) to (%L)', v_name,
    journal_day_begins(p_day), journal_day_begins(p_day + 1));
end $$;

-- Makes the journal a partitioned table. The table that it was becomes the partition of all days before p_until: a check constraint
-- `journal_days` proves to Postgres that it has no rows of later days, so that it is not read. Null: it is empty, and is dropped.
create function partition_journal(p_until date) returns void language plpgsql as $$
declare
  v_before text := 'journal_before_' || to_char(coalesce(p_until, current_date), 'YYYYMMDD');
  v_first date := coalesce(p_until, (now() at time zone 'UTC')::date);
begin
  execute format('alter table journal rename to %I', v_before);
  execute format('alter index journal_pkey rename to %I', v_before || '_pkey');
  execute format('alter index journal_at rename to %I', v_before || '_at');
  execute format('create table journal (like %I including defaults including constraints) partition by range (right(run_id, 13))',
    v_before);
  alter table journal drop constraint if exists journal_days;
  create index journal_at on journal using brin (at) with (autosummarize = on, pages_per_range = 32);
  -- Runs of days that have no partition, or none any more.
  create table journal_rest partition of journal default;
  alter table journal_rest add primary key (run_id, seq);
  if p_until is null then
    execute format('drop table %I', v_before);
  else
    execute format('alter table journal attach partition %I for values from (minvalue) to (%L)', v_before, journal_day_begins(p_until));
    execute format('alter table %I drop constraint journal_days', v_before);
  end if;
  for i in 0..7 loop
    perform add_journal_day(v_first + i);
  end loop;
end $$;

-- Adds the partitions of the coming seven days, and drops one of a day before yesterday that has at most 1,000 rows and 8 MiB:
-- these rows, of runs that live on, move to `journal_rest`. No statement waits for it longer than a fifth of a second: a lock that it
-- does not get in this time is left to the next call. One process at a time. Returns how many partitions it has added and dropped.
create function keep_journal_days() returns integer
-- A role that may not change tables, such as an edge's, calls it too.
language plpgsql security definer set search_path from current as $$
declare
  v_today date := (now() at time zone 'UTC')::date;
  v_changed integer := 0;
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
      v_changed := v_changed + 1;
    exception
      when lock_not_available then return v_changed;
      -- An id from a clock that is days ahead: this day's runs stay in `journal_rest`.
      when check_violation then raise warning 'journal_rest has runs of %', v_today + i;
    end;
  end loop;
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
      return v_changed + 1;
    exception when lock_not_available then return v_changed;
    end;
  end loop;
  return v_changed;
end $$;

-- A database with runs goes on with the table as it is, until its operator asks for partitions (docs/operations.md): edges of the
-- version before cannot restore an archived journal into a partitioned one.
do $$
begin
  if not exists (select from runs) and not exists (select from journal) then
    perform partition_journal(null);
  end if;
end $$;
