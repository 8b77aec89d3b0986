-- Mails that runs have queued: docs/protocol.md 5.28.
create table mails (
  -- The Message-ID of the mail, which follows from the call that queued it: a repeated call queues nothing.
  message_id   text primary key,
  tenant_id    text not null,
  run_id       text not null,
  priority     smallint not null check (priority between 0 and 10),
  -- Recipients, subject and texts, a JSON text.
  content      text not null,
  -- How often it was claimed: the fence of the worker that sends it now.
  tries        integer not null default 0,
  failures     integer not null default 0,
  -- True while a worker sends it; `next_at` is then the end of that worker's lease.
  sending      boolean not null default false,
  next_at      timestamptz,
  done_at      timestamptz,
  -- Null: pending. `unknown`: the server may have taken it, and it is not sent again.
  outcome      text check (outcome in ('sent', 'rejected', 'unknown')),
  last_error   text,
  -- The recipients that the server refused, of a mail that it took for others; a JSON text.
  refused      text,
  created_at   timestamptz not null default now(),
  constraint done_has_outcome check ((done_at is null) = (outcome is null)),
  constraint awake_until_it_is_done check ((done_at is null) = (next_at is not null))
);
create index mails_due on mails (next_at) where done_at is null;
create index mails_of_tenants on mails (tenant_id, priority desc, next_at) where done_at is null;
create index mails_listed on mails (tenant_id, created_at, message_id);
create index mails_created on mails (created_at, message_id);
