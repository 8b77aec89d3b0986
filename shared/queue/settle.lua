-- Put tenants with ready jobs back into the rings they should be in: a lost ring costs no more than a pass of the
-- reconciler. A walk over the tenants of a lane, by name, at most `count` a call.
--
-- KEYS  ready
-- ARGV  lane, the tenant after which to go on (empty: from the first), count
-- ->    the tenant to go on after, empty at the end; or "cold"

local no = refusal()
if no then return no end
local lane, tenant, count = ARGV[1], ARGV[2], tonumber(ARGV[3])

for _ = 1, count do
  -- Behind all jobs of the tenant before: "\1" comes after every "\0score\0run".
  local from = tenant == "" and "-" or "(" .. tenant .. "\1"
  local member = redis.call("ZRANGEBYLEX", order(lane), from, "+", "LIMIT", 0, 1)[1]
  if not member then return "" end
  tenant = string.match(member, "^[^%z]+")
  local known = redis.call("ZSCORE", ring(lane), tenant)
  if settle(tenant, lane) and not known then mark(lane) end
end
return tenant
