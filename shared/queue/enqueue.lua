-- Make jobs ready, now or at their time. A repeated call changes nothing.
--
-- A job that waits for its time already gets the earlier of both times. A leased job keeps the time as `requeue_at_ms`, because the
-- worker that holds it may have read Postgres before this wake-up was written.
--
-- KEYS  ready
-- ARGV  run, tenant, lane, score, status ("queued" or "paused"), delay_ms of each
-- ->    how many jobs this shard did not know before; or "cold"

local refusal = check_index()
if refusal then return refusal end

local n_unknown = 0
for i = 1, #ARGV, 6 do
  local run, tenant, lane, score, status = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4]
  local at_ms = now_ms + tonumber(ARGV[i + 5])
  local job = read_job(run)
  if not job then
    n_unknown = n_unknown + 1
    schedule({ run = run, tenant = tenant, lane = lane, score = score }, status, at_ms)
  elseif job.state == "leased" then
    job.requeue_at_ms = math.min(job.requeue_at_ms or math.huge, at_ms)
    write_job(job)
  else
    bring_forward(job, lane, score, status, at_ms)
  end
end
return n_unknown
