-- The API keys of tenants at providers of models, which their calls use instead of the operator's: docs/protocol.md 5.34.
create table provider_keys (
  tenant_id   text not null,
  provider    text not null,
  -- Sealed for its tenant and provider.
  api_key     text not null,
  -- Null: the provider's own address.
  base_url    text,
  created_at  timestamptz not null default now(),
  updated_at  timestamptz not null default now(),
  primary key (tenant_id, provider)
);
