-- Remove jobs whose runs have ended.
--
-- KEYS  ready
-- ARGV  owner (empty: the caller holds nothing, and leased jobs are left alone), then the runs
-- ->    "ok" or "cold"

local no = refusal()
if no then return no end
for i = 2, #ARGV do finish(ARGV[i], ARGV[1]) end
return "ok"
