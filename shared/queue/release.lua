-- End leases of a worker: each job waits for its time, or for the earlier one that came while it was leased.
--
-- A job that is not leased is treated as by `enqueue`, as its lease may have been lost; one that another holds is
-- left alone.
--
-- KEYS  ready
-- ARGV  owner, then run, tenant, lane, score, status ("queued" or "paused"), delay_ms of each
-- ->    "ok" or "cold"

local no = refusal()
if no then return no end
local owner = ARGV[1]
for i = 2, #ARGV, 6 do
  local run, tenant, lane, score, status = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4]
  local at_ms = now_ms + tonumber(ARGV[i + 5])
  local job = read(run)
  if not job then
    wait_until({ run = run, tenant = tenant, lane = lane, score = score }, status, at_ms)
  elseif job.state ~= "leased" then
    bring_forward(job, lane, score, status, at_ms)
  elseif job.owner == owner then
    at_ms = math.min(at_ms, job.again or math.huge)
    leave(job)
    wait_until(job, status, at_ms)
  end
end
return "ok"
