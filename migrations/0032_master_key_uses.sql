-- How many sealed values each master key has, as the reconciler's last whole look at them found: docs/protocol.md 5.11.

create table master_key_uses (
  key_id      text primary key,
  value_count bigint not null,
  -- Values of this key that the worker could not open.
  unreadable  bigint not null,
  -- The look began and ended at these times. A value that an older process sealed meanwhile is in the next one.
  began_at    timestamptz not null,
  ended_at    timestamptz not null
);
