-- Store the limits of tenants, and put the tenants into or out of the rings immediately.
--
-- Acts on a cold shard too. A lower version never replaces a higher one.
--
-- KEYS  ready
-- ARGV  tenant, version, max_concurrent, max_queued, requests_per_second, weight, runs_per_minute of each
-- ->    tenant and version of those that the queue has with a higher version

local refusal = check_index()
if refusal and refusal ~= "cold" then return refusal end
local newer = {}
for i = 1, #ARGV, 7 do
  local tenant = ARGV[i]
  local current = limits_of(tenant)
  if not current or tonumber(ARGV[i + 1]) >= current.version then
    local version, concurrent, queued, per_second, weight, per_minute = unpack(ARGV, i + 1, i + 6)
    write_limits(tenant, {
      version = tonumber(version), concurrent = tonumber(concurrent), queued = tonumber(queued),
      per_second = tonumber(per_second), weight = tonumber(weight),
      tokens = current and current.tokens, tokens_at_ms = current and current.tokens_at_ms,
    })
    local minute = read_minute(tenant)
    minute.most = tonumber(per_minute)
    write_minute(tenant, minute)
    if minute.is_new and minutes_of_index then redis.call("HINCRBY", index, "minutes", 1) end
    -- The index counts tenants up and never recounts them: a recount would hide that the limits of others were lost.
    if not current and not refusal then redis.call("HINCRBY", index, "tenants", 1) end
    repair_rings(tenant)
  else
    newer[#newer + 1] = tenant
    newer[#newer + 1] = tostring(current.version)
  end
end
return newer
