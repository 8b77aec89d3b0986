-- Forget everything: the first step of a rebuild.
--
-- Two may rebuild at once, as the lock of one who was stopped lapses. So what is known is not forgotten: who read "cold"
-- before the other was through would empty a queue that lives. And each reset takes the rebuild away from the one
-- before, whose leases it forgets: only the last one's epoch may begin the index. The epoch is made here, not by the
-- caller: a call that arrives twice is two resets, and the answer to the first begins nothing.
--
-- KEYS  ready
-- ->    the epoch of the index to come; or "known": there is an index, and nothing was done

local no = refusal()
if no ~= "cold" then return no or "known" end
redis.call("UNLINK", ready, index, jobs, reserved, due, timer, leases, active, open, limits, rate, tags)
for _, lane in ipairs(LANES) do redis.call("UNLINK", order(lane), ring(lane), wake(lane)) end
local epoch = time[1] .. "." .. time[2]
redis.call("HSET", index, "epoch", epoch)
return epoch
