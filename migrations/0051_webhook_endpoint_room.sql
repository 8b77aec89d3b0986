-- How many webhook endpoints a tenant has besides this one. The lock on the tenant's row makes requests that create endpoints take turns.
--
-- Volatile, with two queries: the second one sees each endpoint that was committed before the first one got its lock.
create function other_webhook_endpoints(p_tenant text, p_endpoint text) returns bigint
language plpgsql volatile as $$
begin
  perform from tenants where tenant_id = p_tenant for no key update;
  return (select count(*) from webhook_endpoints where tenant_id = p_tenant and endpoint_id <> p_endpoint);
end $$;
