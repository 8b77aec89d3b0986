-- Remember the limits of tenants, and let them in or out of the rings at once.
--
-- Acts on a cold shard too. A lower version never replaces a higher one.
--
-- KEYS  ready
-- ARGV  tenant, version, max_concurrent, max_queued, requests_per_second, weight of each
-- ->    "ok"

local no = refusal()
if no and no ~= "cold" then return no end
for i = 1, #ARGV, 6 do
  local tenant = ARGV[i]
  local known = limits_of(tenant)
  if not known or tonumber(ARGV[i + 1]) >= known.version then
    redis.call("HSET", limits, tenant, table.concat({ unpack(ARGV, i + 1, i + 5) }, " "))
    limits_read[tenant] = nil
    -- Counted up, never counted again: otherwise this would hide that the others' limits were lost.
    if not known and not no then redis.call("HINCRBY", index, "tenants", 1) end
    settle_all(tenant)
  end
end
return "ok"
