-- Webhooks: where a run's end is to be told, and what is to be told, until it has been taken or given up.

alter table runs
  add column webhook_url text,
  -- Sealed under MASTER_KEY; it opens for this run alone.
  add column webhook_secret text;

-- One for each end of a run with a webhook, and for each of its pauses for a human. It holds all of the body that the
-- run's row loses when the run is retried; output and final state are in the journal, under (run_id, seq).
create table webhook_deliveries (
  delivery_id       text primary key,
  run_id            text not null,
  -- Of the entry that it tells of.
  seq               integer not null,
  tenant_id         text not null,
  orchestration_id  text not null,
  type              text not null
                    check (type in ('run.completed', 'run.failed', 'run.cancelled', 'run.waiting')),
  url               text not null,
  -- One slow receiver holds no others back: they are taken in turns.
  -- Bounded, as it stands in an index: no URL may keep a run from ending.
  host              text not null generated always as (left(split_part(url, '/', 3), 255)) stored,
  secret            text,
  status            text not null,
  tokens            bigint not null,
  cost_micro_usd    bigint not null,
  started_at        timestamptz,
  ended_at          timestamptz,
  error             text,
  -- How often it was sent: the fence of whoever sends it now.
  tries             integer not null default 0,
  -- How often it failed since it was made due: what its waits grow by.
  failures          integer not null default 0,
  -- A worker sends it; the wake-up is the end of that worker's lease.
  sending           boolean not null default false,
  next_at           timestamptz default now(),
  expires_at        timestamptz not null default now() + interval '24 hours',
  done_at           timestamptz,
  -- Null: still to come.
  outcome           text check (outcome in ('delivered', 'rejected', 'expired')),
  last_status       integer,
  last_error        text,
  created_at        timestamptz not null default now(),
  unique (run_id, seq),
  constraint done_has_outcome check ((done_at is null) = (outcome is null)),
  constraint awake_until_it_is_done check ((done_at is null) = (next_at is not null))
);
create index webhook_deliveries_due on webhook_deliveries (next_at) where done_at is null;
-- The receivers that something is still to be sent to, and for each of them what is due first.
create index webhook_deliveries_by_receiver on webhook_deliveries (tenant_id, host, next_at) where done_at is null;
create index webhook_deliveries_by_tenant on webhook_deliveries (tenant_id, created_at, delivery_id);
-- What an operator looks for, among all that was delivered.
create index webhook_deliveries_failed on webhook_deliveries (outcome, created_at, delivery_id)
  where outcome in ('rejected', 'expired');
create index webhook_deliveries_created on webhook_deliveries (created_at, delivery_id);
