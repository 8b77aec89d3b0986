-- The bytes of a tenant's files, all together, and their limit: docs/protocol.md 7.17.

-- 1 PiB is no limit.
alter table tenants add column max_total_artifact_bytes bigint not null default 1125899906842624;

-- What the files of a tenant have: its row here, and the changes that are not in it yet. Changes are only inserted, so that flushes
-- and deletions never wait for each other.
create table file_bytes (
  tenant_id  text primary key,
  bytes      bigint not null
);
create table file_bytes_changes (
  tenant_id  text not null,
  bytes      bigint not null
);
create index file_bytes_changes_by_tenant on file_bytes_changes (tenant_id);

-- Files that a tool has stored, and whose call is not committed yet. They count from here on.
create table file_reservations (
  object_key  text primary key,
  tenant_id   text not null,
  run_id      text not null,
  -- The attempt that may commit it.
  attempt     integer not null,
  bytes       bigint not null
);
create index file_reservations_by_run on file_reservations (run_id);

-- Rows are counted by triggers, so that every version of workers and edges counts. `changed` has the rows of the statement.
create function count_file_bytes() returns trigger language plpgsql as $$
begin
  insert into file_bytes_changes (tenant_id, bytes)
  select tenant_id, case when tg_op = 'INSERT' then sum(bytes) else -sum(bytes) end from changed group by tenant_id;
  return null;
end $$;
create trigger count_file_bytes_added after insert on file_reservations
  referencing new table as changed for each statement execute function count_file_bytes();
create trigger count_file_bytes_removed after delete on file_reservations
  referencing old table as changed for each statement execute function count_file_bytes();
create trigger count_file_bytes_removed after delete on artifacts
  referencing old table as changed for each statement execute function count_file_bytes();

-- A file that is committed needs its reservation no more.
create function count_artifact_bytes() returns trigger language plpgsql as $$
begin
  insert into file_bytes_changes (tenant_id, bytes) select tenant_id, sum(bytes) from changed group by tenant_id;
  delete from file_reservations r using changed c where r.object_key = c.object_key;
  return null;
end $$;
create trigger count_file_bytes_added after insert on artifacts
  referencing new table as changed for each statement execute function count_artifact_bytes();

-- An upload counts from the request that sends it until it is deleted.
create function count_upload_bytes() returns trigger language plpgsql as $$
begin
  insert into file_bytes_changes (tenant_id, bytes)
  select tenant_id, case when tg_op = 'INSERT' then sum(bytes) else -sum(bytes) end
  from changed where deleted_at is null group by tenant_id;
  return null;
end $$;
create trigger count_file_bytes_added after insert on uploads
  referencing new table as changed for each statement execute function count_upload_bytes();
create trigger count_file_bytes_removed after delete on uploads
  referencing old table as changed for each statement execute function count_upload_bytes();
create function count_deleted_upload() returns trigger language plpgsql as $$
begin
  insert into file_bytes_changes (tenant_id, bytes) values (new.tenant_id, -new.bytes);
  return null;
end $$;
create trigger count_deleted_upload after update of deleted_at on uploads for each row
  when (old.deleted_at is null and new.deleted_at is not null) execute function count_deleted_upload();

-- The bytes of the tenant's files, for reads.
create function stored_file_bytes(p_tenant text) returns bigint
language sql stable as $$
  select coalesce((select bytes from file_bytes where tenant_id = p_tenant), 0)
    + coalesce((select sum(bytes) from file_bytes_changes where tenant_id = p_tenant), 0)::bigint
$$;

-- The same, with the tenant's row locked until the end of the transaction and the changes added to it: callers that reserve bytes
-- take turns, and each sees what the one before has reserved.
create function lock_file_bytes(p_tenant text) returns bigint
language plpgsql volatile as $$
declare
  v_bytes bigint;
begin
  insert into file_bytes (tenant_id, bytes) values (p_tenant, 0) on conflict do nothing;
  perform from file_bytes where tenant_id = p_tenant for update;
  with gone as (
    delete from file_bytes_changes where tenant_id = p_tenant returning bytes
  )
  update file_bytes set bytes = bytes + coalesce((select sum(gone.bytes) from gone), 0)
  where tenant_id = p_tenant returning bytes into v_bytes;
  return v_bytes;
end $$;

-- The triggers keep writers out until this transaction ends.
insert into file_bytes (tenant_id, bytes)
select tenant_id, sum(bytes) from (
  select tenant_id, bytes from uploads where deleted_at is null union all select tenant_id, bytes from artifacts
) files group by tenant_id;
