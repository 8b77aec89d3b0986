-- Tenants, keys, definitions, runs and their journal: the tables of docs/protocol.md 2.
--
-- Everything that clients, models and tools write is text, not jsonb: jsonb refuses \u0000, and one such value
-- would fail a whole flush.

create table tenants (
  tenant_id            text primary key,
  name                 text not null default '',
  max_concurrent_runs  integer not null default 100 check (max_concurrent_runs >= 0),
  max_queued_runs      integer not null default 1000 check (max_queued_runs >= 0),
  requests_per_second  integer not null default 1000 check (requests_per_second >= 0),
  weight               integer not null default 1 check (weight between 1 and 1000),
  -- Increased by each change. Redis never replaces limits of a higher version with limits of a lower one.
  version              bigint not null default 1,
  created_at           timestamptz not null default now(),
  updated_at           timestamptz not null default now()
);
create index tenants_updated on tenants (updated_at);

create table api_keys (
  key_hash    bytea primary key,
  key_id      text not null unique,
  -- Null: a platform key, which can name any tenant.
  tenant_id   text,
  name        text not null default '',
  prefix      text not null,
  scopes      text[] not null,
  created_at  timestamptz not null default now(),
  expires_at  timestamptz,
  revoked_at  timestamptz
);

-- The empty tenant id owns the definitions that all tenants share.
create table orchestrations (
  tenant_id    text not null,
  id           text not null,
  name         text not null,
  description  text not null default '',
  version      integer not null,
  updated_at   timestamptz not null default now(),
  deleted_at   timestamptz,
  primary key (tenant_id, id)
);

create table orchestration_versions (
  tenant_id   text not null,
  id          text not null,
  version     integer not null,
  definition  text not null,
  created_at  timestamptz not null default now(),
  primary key (tenant_id, id, version)
);

create table agents (
  tenant_id   text not null,
  id          text not null,
  name        text not null,
  definition  text not null,
  version     integer not null,
  updated_at  timestamptz not null default now(),
  deleted_at  timestamptz,
  primary key (tenant_id, id)
);

create table tools (
  tenant_id   text not null,
  id          text not null,
  name        text not null,
  definition  text not null,
  version     integer not null,
  updated_at  timestamptz not null default now(),
  deleted_at  timestamptz,
  primary key (tenant_id, id)
);

create table runs (
  run_id               text primary key,
  tenant_id            text not null,
  orchestration_id     text not null,
  -- The owner of the definition: the run's tenant, or the empty tenant id for a shared definition.
  definition_tenant    text not null,
  definition_version   integer not null,
  status               text not null default 'queued'
                       check (status in ('queued', 'running', 'paused', 'completed', 'failed', 'cancelled')),
  -- The number of the last claim; 0: never claimed. With `owner` and `event_seq` the fence of every write.
  attempt              integer not null default 0,
  owner                text,
  -- The worker that claimed it last: for people.
  worker_id            text,
  wake_at              timestamptz,
  deadline_at          timestamptz,
  event_seq            integer not null default 0,
  signals              integer not null default 0,
  crash_count          integer not null default 0,
  cancel_requested_at  timestamptz,
  lane                 text not null default 'default',
  priority             integer not null default 0,
  parent_run_id        text,
  parent_wait_id       text,
  session_id           text,
  correlation_id       text not null,
  triggered_by         text not null default 'api',
  input                text not null,
  metadata             text not null default '{}',
  queued_at            timestamptz not null default now(),
  started_at           timestamptz,
  ended_at             timestamptz,
  current_step_id      text,
  step_count           integer not null default 0,
  tokens               bigint not null default 0,
  cost_micro_usd       bigint not null default 0,
  error                text,
  constraint terminal_has_ended check
    ((status in ('completed', 'failed', 'cancelled')) = (ended_at is not null)),
  constraint awake_until_it_ends check ((ended_at is null) = (wake_at is not null)),
  constraint running_has_owner check ((status = 'running') = (owner is not null)),
  constraint running_has_deadline check (status <> 'running' or deadline_at is not null)
) with (
  -- A flush changes no indexed column, so with free space on the page its row versions stay there (heap-only updates).
  fillfactor = 75,
  autovacuum_vacuum_scale_factor = 0.05
);
create index runs_due on runs (wake_at, run_id) where status in ('queued', 'paused');
create index runs_owned on runs (owner) where status = 'running';
-- A tenant's queue: for its count, and in the order of wake-ups.
create index runs_queued on runs (tenant_id, lane, wake_at) where status = 'queued';
create index runs_by_tenant on runs (tenant_id, run_id);
create index runs_by_parent on runs (parent_run_id) where parent_run_id is not null;
create index runs_ended on runs (ended_at) where ended_at is not null;

-- No foreign key to runs: rows are inserted only by a statement that has just updated the run.
create table journal (
  run_id     text not null,
  -- The number of the entry's last event.
  seq        integer not null,
  events_n   integer not null check (events_n >= 1),
  attempt    integer not null,
  kind       text not null check (kind in ('step', 'turn', 'note', 'park', 'end', 'rewind')),
  step_path  text,
  visit      integer,
  output     text,
  -- One JSON event a line, without its run_id and seq.
  events     text not null,
  at         timestamptz not null default now(),
  primary key (run_id, seq)
);

create table usage (
  run_id          text not null,
  seq             integer not null,
  call            text not null,
  kind            text not null default 'charged' check (kind in ('charged', 'wasted')),
  provider        text not null,
  model           text not null,
  input_tokens    integer not null,
  output_tokens   integer not null,
  cost_micro_usd  bigint not null,
  primary key (run_id, seq, call)
);

create table idempotency_keys (
  tenant_id     text not null,
  key           text not null,
  request_hash  text not null,
  run_id        text not null,
  created_at    timestamptz not null default now(),
  primary key (tenant_id, key)
);
create index idempotency_keys_created on idempotency_keys (created_at);

create table workers (
  incarnation    text primary key,
  worker_id      text not null,
  hostname       text not null,
  address        text not null,
  status         text not null check (status in ('online', 'draining', 'offline')),
  -- The lanes whose runs it claims.
  lanes          text[] not null,
  slots          integer not null,
  active         integer not null default 0,
  loop_lag_ms    integer not null default 0,
  -- Whether it can reach the queue. While any worker can, no worker claims directly.
  redis_ok       boolean not null default true,
  registered_at  timestamptz not null default now(),
  beat_at        timestamptz not null default now()
);

create table locks (
  name    text primary key,
  holder  text not null,
  until   timestamptz not null
);
