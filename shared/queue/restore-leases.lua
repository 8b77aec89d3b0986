-- Give leases to the worker that Postgres names as the owner of the runs, unless a third worker holds them.
--
-- On a cold shard only the latest rebuild may do so: it restores the leases of all running runs before it begins the
-- index, so that no limit is passed meanwhile. A rebuild that was superseded is refused, also once the index exists: it
-- read Postgres earlier, and a lease for a former owner would make the present owner stop.
--
-- KEYS  ready
-- ARGV  holder (its lease may be passed on), owner, lease_ms, the epoch of the caller's rebuild (empty: no rebuild),
--       then run, tenant, lane, score of each
-- ->    "ok"; or "cold": the shard is cold, or the epoch is not that of the latest reset

local refusal = check_index()
local holder, owner, lease_ms, epoch = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
if refusal and refusal ~= "cold" then return refusal end
if (refusal or epoch ~= "") and redis.call("HGET", index, "epoch") ~= epoch then return "cold" end
for i = 5, #ARGV, 4 do
  local run, tenant, lane, score = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local job = read_job(run)
  if not job or job.state ~= "leased" then
    job = job or { run = run, tenant = tenant, lane = lane, score = score }
    job.owner = owner
    move(job, "leased", now_ms + lease_ms)
  elseif job.owner == holder or job.owner == owner then
    -- A new holder reads Postgres anew, so an enqueue that came during the old lease is dropped. The same holder keeps it.
    if job.owner ~= owner then job.requeue_at_ms = nil end
    job.owner = owner
    write_job(job)
    redis.call("ZADD", leases, integer_text(now_ms + lease_ms), run)
  end
end
return "ok"
