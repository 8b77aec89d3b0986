-- The mail servers of tenants, through which their mails go instead of the operator's: docs/protocol.md 5.32.
create table mail_servers (
  tenant_id   text primary key,
  -- smtp://user:password@host:port, sealed as a whole for its tenant.
  smtp_url    text not null,
  -- The sender of the tenant's mails.
  smtp_from   text not null,
  updated_at  timestamptz not null default now()
);
