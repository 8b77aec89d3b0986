-- Two intentions that a death must not forget: docs/protocol.md 5.14, 7.13.

-- True: a chat turn for which all earlier turns of its session are to be cancelled. Null: another turn, or no turn.
alter table runs add column interrupts boolean;

-- How far the sweep of the object store is.
create table object_sweep (
  only_row      boolean primary key default true check (only_row),
  -- When the sweep under way began; null: none is under way, and the next one begins at `next_at`.
  began_at      timestamptz,
  next_at       timestamptz not null default now(),
  -- The last key that the sweep under way has read.
  after_key     text not null default '',
  -- Whether it has deleted all that it was to delete so far.
  is_whole      boolean not null default true,
  -- When the last sweep began that deleted all that it was to delete; -infinity: none did. Null: none has ended.
  whole_since   timestamptz
);
insert into object_sweep default values;
