-- Delete the keys of a cold shard: the first step of a rebuild. `lane_starts` stays, so that no lane passes its start rate.
--
-- Two reconcilers may rebuild a shard at the same time, because the lock of a paused reconciler lapses. Two rules make that safe:
-- 1. A shard with an index is not deleted. A reconciler that read "cold" before another one began the index would
--    otherwise delete the jobs of a queue in use.
-- 2. Each reset deletes the leases of the rebuild before it and supersedes it: only the epoch of the latest reset may
--    begin the index. This script makes the epoch, not the caller: a call that arrives twice is two resets, and the
--    epoch of the first one is then superseded.
--
-- KEYS  ready
-- ->    the epoch of the index to come; or "known": the shard has an index, and nothing was deleted

local refusal = check_index()
if refusal ~= "cold" then return refusal or "known" end
redis.call("UNLINK", ready, index, jobs, reserved, due, timer, leases, active, queued_or_reserved, limits,
  virtual_times, minutes)
for _, lane in ipairs(LANES) do redis.call("UNLINK", ring(lane), wake(lane), wake_spare(lane)) end
local epoch = time[1] .. "." .. time[2]
redis.call("HSET", index, "epoch", epoch)
return epoch
