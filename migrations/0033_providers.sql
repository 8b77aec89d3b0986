-- Answers of models that steps keep for later calls with the same request: docs/protocol.md 5.26.

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
