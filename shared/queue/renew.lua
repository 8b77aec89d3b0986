-- Renew the leases of a worker.
--
-- KEYS  ready
-- ARGV  owner, lease_ms, then the runs
-- ->    { lost_leases, unknown_leases }: runs leased to another worker, runs without a lease; or "cold"

local refusal = check_index()
if refusal then return refusal end
local owner, lease_ms = ARGV[1], tonumber(ARGV[2])
local lost_leases, unknown_leases = {}, {}
for i = 3, #ARGV do
  local job = read_job(ARGV[i])
  if not job or job.state ~= "leased" then
    unknown_leases[#unknown_leases + 1] = ARGV[i]
  elseif job.owner == owner then
    redis.call("ZADD", leases, integer_text(now_ms + lease_ms), job.run)
  else
    lost_leases[#lost_leases + 1] = ARGV[i]
  end
end
return { lost_leases, unknown_leases }
