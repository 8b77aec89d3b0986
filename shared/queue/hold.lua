-- Give leases to the worker that Postgres names as owner, if nobody, the caller or that owner holds them.
--
-- Acts on a cold shard too: a rebuild begins with what is running, so that no limit is passed meanwhile.
--
-- KEYS  ready
-- ARGV  caller, owner, lease_ms, then run, tenant, lane, score of each
-- ->    "ok"

local no = refusal()
if no and no ~= "cold" then return no end
local caller, owner, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
for i = 4, #ARGV, 4 do
  local run, tenant, lane, score = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local job = read(run)
  if not job then
    enter({ run = run, tenant = tenant, lane = lane, score = score, owner = owner }, "leased", now_ms + lease_ms)
  elseif job.state ~= "leased" then
    leave(job)
    job.owner = owner
    enter(job, "leased", now_ms + lease_ms)
  elseif job.owner == caller or job.owner == owner then
    -- A new lease forgets `again`, as its holder reads Postgres anew; the same worker's lease is not a new one.
    if job.owner ~= owner then job.again = nil end
    job.owner = owner
    write(job)
    redis.call("ZADD", leases, whole(now_ms + lease_ms), run)
  end
end
return "ok"
