-- Prolong the leases of a worker.
--
-- KEYS  ready
-- ARGV  owner, lease_ms, then the runs
-- ->    { lost, unknown }: runs that another holds, runs that nobody holds; or "cold"

local no = refusal()
if no then return no end
local owner, lease_ms = ARGV[1], tonumber(ARGV[2])
local lost, unknown = {}, {}
for i = 3, #ARGV do
  local job = read(ARGV[i])
  if not job or job.state ~= "leased" then
    unknown[#unknown + 1] = ARGV[i]
  elseif job.owner == owner then
    redis.call("ZADD", leases, whole(now_ms + lease_ms), job.run)
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return { lost, unknown }
