-- The archive of finished runs' journals: docs/protocol.md 7.14.

-- An object of the object store with the journals of several runs of one tenant. Its key is `tenant/journal/<segment_id>`.
create table journal_segments (
  segment_id    text primary key,
  tenant_id     text not null,
  -- Before the object is put, so that a death in between leaves a row that leads to it.
  announced_at  timestamptz not null default now(),
  -- Null: no run refers to it yet.
  stored_at     timestamptz,
  -- The runs that refer to it.
  live_runs     integer not null default 0 check (live_runs >= 0),
  unused_since  timestamptz,
  -- Its object is being deleted: no run will refer to it.
  deleted_at    timestamptz
);
create index journal_segments_unused on journal_segments (announced_at) where live_runs = 0;
create index journal_segments_by_tenant on journal_segments (tenant_id);

-- Where the journal of a run is in the archive; all null: it is in Postgres. No index, so that archiving a run stays a heap-only
-- update.
alter table runs
  add column archive_segment text,
  add column archive_offset integer,
  add column archive_length integer;

-- Ended runs whose journals are still in Postgres, a day after their end.
create table journals_to_archive (
  tenant_id      text not null,
  ended_at       timestamptz not null,
  run_id         text not null,
  -- A reconciler is archiving it, or it could not be archived; until then it is left alone.
  claimed_until  timestamptz,
  primary key (tenant_id, ended_at, run_id)
);

-- How far ended runs are in `journals_to_archive`: the last one, in the order of (ended_at, run_id). Nothing is archived in the first day:
-- an edge of the version before cannot read the archive.
create table archive_progress (
  only_row       boolean primary key default true check (only_row),
  begins_at      timestamptz not null default now() + interval '1 day',
  last_ended_at  timestamptz not null default '-infinity',
  last_run       text not null default ''
);
insert into archive_progress default values;
