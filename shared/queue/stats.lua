-- How much there is.
--
-- KEYS  ready
-- ARGV  a tenant, or nothing
-- ->    the tenant's { active, open }; or { reserved, ready, due, timer, leased, tenants, ready of each lane };
--       or "cold"

local no = refusal()
if no then return no end
if ARGV[1] then return { count_of(active, ARGV[1]), count_of(open, ARGV[1]) } end
local sizes = {}
for _, key in ipairs({ reserved, ready, due, timer, leases }) do sizes[#sizes + 1] = redis.call("ZCARD", key) end
sizes[#sizes + 1] = redis.call("HLEN", limits)
for _, lane in ipairs(LANES) do sizes[#sizes + 1] = redis.call("ZCARD", order(lane)) end
return sizes
