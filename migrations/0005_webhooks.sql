-- Webhooks: the receiver of a run's notifications, and each delivery until it has an outcome.

alter table runs
  add column webhook_url text,
  -- Sealed with MASTER_KEY for this run alone.
  add column webhook_secret text;

-- One for each end of a run with a webhook, and for each of its pauses for a human. It keeps those parts of the body
-- that a retry overwrites in the run's row; output and final state are in the journal, under (run_id, seq).
create table webhook_deliveries (
  delivery_id       text primary key,
  run_id            text not null,
  -- The number of the entry that it reports.
  seq               integer not null,
  tenant_id         text not null,
  orchestration_id  text not null,
  type              text not null
                    check (type in ('run.completed', 'run.failed', 'run.cancelled', 'run.waiting')),
  url               text not null,
  -- Part of the receiver. Receivers take turns, so that a slow one does not delay the others.
  -- Its length is bounded because it is in an index: a long URL must not make the statement fail that ends the run.
  host              text not null generated always as (left(split_part(url, '/', 3), 255)) stored,
  secret            text,
  status            text not null,
  tokens            bigint not null,
  cost_micro_usd    bigint not null,
  started_at        timestamptz,
  ended_at          timestamptz,
  error             text,
  -- How often it was claimed: the fence of the worker that sends it now.
  tries             integer not null default 0,
  -- How often it has failed since it was made due: the wait before the next try grows with it.
  failures          integer not null default 0,
  -- True while a worker sends it; `next_at` is then the end of that worker's lease.
  sending           boolean not null default false,
  next_at           timestamptz default now(),
  expires_at        timestamptz not null default now() + interval '24 hours',
  done_at           timestamptz,
  -- Null: pending.
  outcome           text check (outcome in ('delivered', 'rejected', 'expired')),
  last_status       integer,
  last_error        text,
  created_at        timestamptz not null default now(),
  unique (run_id, seq),
  constraint done_has_outcome check ((done_at is null) = (outcome is null)),
  constraint awake_until_it_is_done check ((done_at is null) = (next_at is not null))
);
create index webhook_deliveries_due on webhook_deliveries (next_at) where done_at is null;
-- The receivers that have pending deliveries, and for each of them its deliveries in the order in which they are due.
create index webhook_deliveries_by_receiver on webhook_deliveries (tenant_id, host, next_at) where done_at is null;
create index webhook_deliveries_by_tenant on webhook_deliveries (tenant_id, created_at, delivery_id);
-- For operators: the few deliveries that failed, among all that were delivered.
create index webhook_deliveries_failed on webhook_deliveries (outcome, created_at, delivery_id)
  where outcome in ('rejected', 'expired');
create index webhook_deliveries_created on webhook_deliveries (created_at, delivery_id);
