-- Count jobs: of one tenant, or of the shard.
--
-- KEYS  ready
-- ARGV  a tenant, or nothing
-- ->    the tenant's { active, queued_or_reserved };
--       or { reserved, ready, due, timer, leased, tenants, ready of each lane }; or "cold"

local refusal = check_index()
if refusal then return refusal end
local tenant = ARGV[1]
if tenant then return { count_members(active, tenant), count_members(queued_or_reserved, tenant) } end
local sizes = {}
for _, key in ipairs({ reserved, ready, due, timer, leases }) do sizes[#sizes + 1] = redis.call("ZCARD", key) end
sizes[#sizes + 1] = redis.call("HLEN", limits)
for _, lane in ipairs(LANES) do sizes[#sizes + 1] = redis.call("ZLEXCOUNT", ready, "[" .. lane .. "\0", "(" .. lane .. "\1") end
return sizes
