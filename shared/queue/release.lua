-- End leases of a worker: each job is scheduled for its time, or for the earlier time of an enqueue during the lease.
--
-- A job that is not leased is treated as by `enqueue`, because Redis may have lost the lease. A job that another worker
-- holds does not change.
--
-- KEYS  ready
-- ARGV  owner, then run, tenant, lane, score, status ("queued" or "paused"), delay_ms of each
-- ->    "ok" or "cold"

local refusal = check_index()
if refusal then return refusal end
local owner = ARGV[1]
for i = 2, #ARGV, 6 do
  local run, tenant, lane, score, status = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4]
  local at_ms = now_ms + tonumber(ARGV[i + 5])
  local job = read_job(run)
  if not job then
    schedule({ run = run, tenant = tenant, lane = lane, score = score }, status, at_ms)
  elseif job.state ~= "leased" then
    bring_forward(job, lane, score, status, at_ms)
  elseif job.owner == owner then
    schedule(job, status, math.min(at_ms, job.requeue_at_ms or math.huge))
  end
end
return "ok"
