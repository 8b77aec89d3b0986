-- Remove jobs whose runs have ended.
--
-- KEYS  ready
-- ARGV  owner (empty: the caller holds no leases, and leased jobs stay), then the runs
-- ->    "ok" or "cold"

local refusal = check_index()
if refusal then return refusal end
n_ready = redis.call("ZCARD", ready)
for i = 2, #ARGV do finish_job(ARGV[i], ARGV[1]) end
return "ok"
