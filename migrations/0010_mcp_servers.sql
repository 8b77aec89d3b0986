-- MCP servers: definitions like tools, and beside each what a worker found at the server.
create table mcp_servers (
  tenant_id       text not null,
  id              text not null,
  name            text not null,
  definition      text not null,
  version         integer not null,
  updated_at      timestamptz not null default now(),
  deleted_at      timestamptz,
  -- The server's tools as they were last listed, a JSON text, and the version of the definition that they were listed with.
  listing         text,
  listed_version  integer,
  listed_at       timestamptz,
  -- Why the last try to list them failed. Null: it did not.
  list_error      text,
  -- The latest version with which a worker has tried to list them; until then a worker may try, from this time on.
  tried_version   integer not null default 0,
  try_at          timestamptz not null default now(),
  primary key (tenant_id, id)
);

create index mcp_servers_untried on mcp_servers (try_at) where deleted_at is null and tried_version < version;
