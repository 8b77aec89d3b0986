-- Renews the leases of calls under way. After a loss of Redis it counts these calls again.
--
-- KEYS  calls
-- ARGV  lease_ms, then the calls
-- ->    nil

local lease_ms = tonumber(ARGV[1])
for i = 2, #ARGV do
  redis.call("ZADD", calls, now_ms + lease_ms, ARGV[i])
  if state.probe == ARGV[i] then write({ probe_until_ms = now_ms + lease_ms }) end
end
redis.call("PEXPIRE", calls, lease_ms * 2)
