-- Put tenants with ready jobs back into a lane's ring, so that a lost ring costs one pass of the reconciler. A scan over
-- the tenants of a lane, by name, at most `count` a call.
--
-- KEYS  ready
-- ARGV  lane, the tenant after which to continue (empty: from the first), count
-- ->    the tenant after which to continue, empty at the end; or "cold"

local refusal = check_index()
if refusal then return refusal end
local lane, tenant, count = ARGV[1], ARGV[2], tonumber(ARGV[3])

for _ = 1, count do
  -- After all jobs of the previous tenant: "\1" sorts after every "\0score\0run".
  local from = lane .. (tenant == "" and "\0" or "\0" .. tenant .. "\1")
  local member = redis.call("ZRANGEBYLEX", ready, "[" .. from, "(" .. lane .. "\1", "LIMIT", 0, 1)[1]
  if not member then return "" end
  tenant = string.match(member, "^[^%z]+%z([^%z]+)")
  local was_in_ring = redis.call("ZSCORE", ring(lane), tenant)
  if repair_ring(tenant, lane) and not was_in_ring then wake_for(tenant, lane) end
end
return tenant
