-- Child runs: what a run inherits from the run that started it (docs/protocol.md 5.15).
alter table runs
  -- How many runs are above it: 0 for a run that a client started.
  add column depth integer not null default 0,
  -- The step of the parent that started it, with its track.
  add column parent_step_path text,
  -- What its parent had left of its money and of its time when it started this run. Null: no limit but the definition's.
  add column cost_limit_micro_usd bigint,
  add column time_limit_ms bigint;
