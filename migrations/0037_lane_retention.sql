-- How long ended runs of a lane are kept, and how many of each tenant: docs/protocol.md 7.16.

-- Ended runs of the lanes whose settings bound them, from an hour after their end. A lane without such settings has no rows here, so
-- that `runs` needs no index for them.
create table lane_ends (
  run_id     text primary key,
  lane       text not null,
  outcome    text not null check (outcome in ('completed', 'failed')),
  tenant_id  text not null,
  -- The end of the run that is listed. A run that was retried has another one, or none.
  ended_at   timestamptz not null
);
create index lane_ends_by_time on lane_ends (lane, outcome, ended_at, run_id);
create index lane_ends_by_tenant on lane_ends (lane, outcome, tenant_id, ended_at, run_id);

-- How far retention is with a lane.
create table lane_retention (
  lane           text not null,
  outcome        text not null check (outcome in ('completed', 'failed')),
  -- The last ended run that is listed, in the order of (ended_at, run_id).
  last_ended_at  timestamptz not null default '-infinity',
  last_run       text not null default '',
  -- The last tenant whose runs were counted; empty: a round begins.
  last_tenant    text not null default '',
  -- A tenant of this round has more runs than were deleted: another round follows at once.
  had_more       boolean not null default false,
  primary key (lane, outcome)
);
