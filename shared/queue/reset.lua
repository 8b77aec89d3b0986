-- Forget everything: the first step of a rebuild.
--
-- KEYS  ready
-- ->    "ok"

redis.call("UNLINK", ready, index, jobs, reserved, due, timer, leases, active, open, limits, rate, tags)
for _, lane in ipairs(LANES) do redis.call("UNLINK", order(lane), ring(lane), wake(lane)) end
return "ok"
