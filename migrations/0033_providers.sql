-- Answers of models that steps keep for later calls with the same request (docs/protocol.md 5.26), and what operators allow of
-- the calls to providers (5.25).

create table kept_answers (
  tenant_id     text not null,
  -- SHA-256 of the model and of everything that it read.
  request_hash  text not null,
  answer        text not null,
  bytes         integer not null,
  kept_at       timestamptz not null default now(),
  expires_at    timestamptz not null,
  primary key (tenant_id, request_hash)
);
create index kept_answers_by_expiry on kept_answers (expires_at);

-- The answer was kept from an earlier call: it has cost nothing.
alter table usage add column cached boolean not null default false;

create table provider_limits (
  provider             text not null,
  -- `*`: each model of the provider without a row of its own.
  model                text not null,
  -- Null: no limit.
  max_concurrent       integer check (max_concurrent > 0),
  requests_per_minute  integer check (requests_per_minute > 0),
  tokens_per_minute    integer check (tokens_per_minute > 0),
  updated_at           timestamptz not null default now(),
  primary key (provider, model)
);
