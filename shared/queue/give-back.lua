-- Give back the reservations of runs that were not committed: their place, and their start in the tenant's minute. A job
-- that is not reserved stays. Only the caller that reserved knows that no run was committed, so a lapse gives no start
-- back: the run may exist.
--
-- KEYS  ready
-- ARGV  the runs
-- ->    "ok" or "cold"

local refusal = check_index()
if refusal then return refusal end
for i = 1, #ARGV do
  local job = read_job(ARGV[i])
  if job and job.state == "reserved" then
    local minute = read_minute(job.tenant)
    for place, entry in ipairs(minute.admitted) do
      -- The score of a reserved job is the time at which it was admitted.
      if entry[1] == math.floor(job.score / 1000) then
        entry[2] = entry[2] - 1
        if entry[2] == 0 then table.remove(minute.admitted, place) end
        write_minute(job.tenant, minute)
        break
      end
    end
    move(job, nil)
  end
end
return "ok"
