-- Make jobs ready, or let them wait for their time. Repeating it changes nothing.
--
-- A job that waits already gets the earlier of both times. One that is leased remembers the time as `again`: the
-- worker that holds it may have looked at Postgres before this wake-up was written.
--
-- KEYS  ready
-- ARGV  run, tenant, lane, score, status ("queued" or "paused"), delay_ms of each
-- ->    how many were not known here before; or "cold"

local no = refusal()
if no then return no end

local unknown = 0
for i = 1, #ARGV, 6 do
  local run, tenant, lane, score, status = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4]
  local at_ms = now_ms + tonumber(ARGV[i + 5])
  local job = read(run)
  if not job then
    unknown = unknown + 1
    wait_until({ run = run, tenant = tenant, lane = lane, score = score }, status, at_ms)
  elseif job.state == "leased" then
    job.again = math.min(job.again or math.huge, at_ms)
    write(job)
  else
    bring_forward(job, lane, score, status, at_ms)
  end
end
return unknown
