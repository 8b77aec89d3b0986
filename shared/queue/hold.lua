-- Give leases to the worker that Postgres names as owner, if nobody, the caller or that owner holds them.
--
-- Acts on a cold shard for the rebuild under way, which begins with what is running, so that no limit is passed
-- meanwhile. Not for one that lost it to another: it has read Postgres before, and a lease for whoever had the run then
-- would tell its owner of now that he has lost it.
--
-- KEYS  ready
-- ARGV  caller, owner, lease_ms, the epoch of the caller's rebuild (empty: none), then run, tenant, lane, score of each
-- ->    "ok"; or "cold": also when the epoch is another's

local no = refusal()
local caller, owner, lease_ms, epoch = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
if no and no ~= "cold" then return no end
if (no or epoch ~= "") and redis.call("HGET", index, "epoch") ~= epoch then return "cold" end
for i = 5, #ARGV, 4 do
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
