-- Schedules that start runs by the clock (docs/protocol.md 5.18), and triggers that start them by a signed request (5.19).

create table schedules (
  tenant_id         text not null,
  id                text not null,
  orchestration_id  text not null,
  cron              text not null,
  timezone          text not null,
  jitter_seconds    integer not null,
  overlap           text not null check (overlap in ('skip', 'queue', 'cancel_previous')),
  catch_up          integer not null,
  paused            boolean not null,
  -- JSON text: what each run of the schedule starts with.
  request           text not null,
  -- Increased by each change: what a worker decided about an earlier version is not saved.
  version           bigint not null default 1,
  -- The next tick. Null: paused.
  next_tick_at      timestamptz,
  -- When a worker looks at it next: at the tick, with its jitter; while a worker has it, and after a refusal, later.
  try_at            timestamptz,
  -- Why the next tick was refused a run so far.
  refused           text,
  created_at        timestamptz not null default now(),
  updated_at        timestamptz not null default now(),
  primary key (tenant_id, id),
  constraint awake_unless_paused check (paused = (next_tick_at is null) and paused = (try_at is null))
);
create index schedules_due on schedules (try_at) where try_at is not null;

-- What became of each tick, for a week.
create table schedule_ticks (
  tenant_id    text not null,
  schedule_id  text not null,
  tick_at      timestamptz not null,
  outcome      text not null check (outcome in ('started', 'skipped', 'missed')),
  run_id       text,
  reason       text,
  -- The last of several ticks that were missed together.
  until_at     timestamptz,
  recorded_at  timestamptz not null default now(),
  primary key (tenant_id, schedule_id, tick_at)
);
create index schedule_ticks_recorded on schedule_ticks (recorded_at);

create table triggers (
  trigger_id        text primary key,
  tenant_id         text not null,
  orchestration_id  text not null,
  name              text not null,
  -- Sealed with MASTER_KEY for this trigger alone.
  secret            text not null,
  -- JSON text: what each run of the trigger starts with.
  request           text not null,
  -- Where in the body the run's message is, as `a.b.c`. Null: the message of `request`.
  message_path      text,
  disabled          boolean not null,
  created_at        timestamptz not null default now(),
  updated_at        timestamptz not null default now()
);
create index triggers_by_tenant on triggers (tenant_id, trigger_id);
