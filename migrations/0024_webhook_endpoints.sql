-- Webhook endpoints of tenants: what happens in every run of the tenant is sent to them. docs/protocol.md 7.7.

create table webhook_endpoints (
  tenant_id           text not null,
  endpoint_id         text not null,
  description         text not null default '',
  url                 text not null,
  -- The types of events that are sent to it.
  events              text[] not null,
  -- Sealed with MASTER_KEY for this endpoint alone.
  secret              text not null,
  -- The secret before a rotation, which also signs until this time.
  previous_secret     text,
  previous_until      timestamptz,
  -- The first failed try since the last success; null: the last try succeeded, or there was none.
  failing_since       timestamptz,
  -- A failure so many days after `failing_since` disables the endpoint.
  disable_after_days  integer not null,
  -- Null: it is enabled.
  disabled_at         timestamptz,
  disabled_reason     text check (disabled_reason in ('requested', 'failing')),
  created_at          timestamptz not null default now(),
  updated_at          timestamptz not null default now(),
  primary key (tenant_id, endpoint_id),
  constraint disabled_has_reason check ((disabled_at is null) = (disabled_reason is null)),
  constraint previous_secret_ends check ((previous_secret is null) = (previous_until is null))
);

-- The endpoint that a delivery goes to; null: the `webhook_url` of its run.
alter table webhook_deliveries add column endpoint_id text;

-- One delivery of an entry for each endpoint, and one for the run's own webhook.
alter table webhook_deliveries drop constraint webhook_deliveries_run_id_seq_key;
-- Built by one read of the table: a migration is one transaction, which excludes `concurrently`.
-- squawk-ignore require-concurrent-index-creation
create unique index webhook_deliveries_of_entry on webhook_deliveries (run_id, seq, coalesce(endpoint_id, ''));
-- squawk-ignore require-concurrent-index-creation
create index webhook_deliveries_of_endpoint on webhook_deliveries (tenant_id, endpoint_id, created_at, delivery_id)
  where endpoint_id is not null;

-- The test of an endpoint has no run.
alter table webhook_deliveries drop constraint webhook_deliveries_type_check;
-- squawk-ignore constraint-missing-not-valid
alter table webhook_deliveries add constraint webhook_deliveries_type_check
  check (type in ('run.completed', 'run.failed', 'run.cancelled', 'run.waiting', 'webhook.test'));
