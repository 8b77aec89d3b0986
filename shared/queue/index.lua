-- Read or write what this shard's Redis knows about its own completeness.
--
-- `upto`: every run that was due by this time (ms of Postgres) has been enqueued on this shard. It is stored in the same
-- Redis as the jobs, so a loss or a rollback of Redis affects both. `scanned`: the position of the scan under way.
-- `epoch`: the rebuild that made this index. A scan sends the `epoch` and `scanned` that it expects: it ends without
-- effect when Redis was emptied or rolled back since the scan began.
--
-- `quota_ready`: this Redis knows every run that counts against a quota, so `admit` may count. It needs a scan that
-- reaches QUOTA_READY_AFTER_MS further than the first: every run that was accepted before the index began is committed by
-- then, and the scan has enqueued it. "invalidate_counts" resets `quota_ready`: runs were accepted without the queue.
--
-- KEYS  ready
-- ARGV  nothing: read; or "begin", epoch; or "invalidate_counts";
--       or "scan", epoch, scanned, the new scanned, upto (empty: the scan goes on); or "limits", epoch, limits_upto
-- ->    { epoch, scanned, upto, quota_ready, limits_upto }; or "cold"; or "stale": epoch or scanned differ

local QUOTA_READY_AFTER_MS = 7000

local refusal = check_index()
-- "begin" needs the epoch of the latest reset. It is missing when Redis was emptied after that reset, and then leases that
-- the rebuild has restored are missing too.
if refusal == "cold" and ARGV[1] == "begin" and redis.call("HGET", index, "epoch") == ARGV[2] then
  redis.call("HSET", index, "scanned", "", "upto", "-inf", "quota_ready", "0",
    "limits_upto", "-inf", "shards", caller_shards, "tenants", redis.call("HLEN", limits), "minutes", redis.call("HLEN", minutes))
elseif refusal then
  return refusal
end

if ARGV[1] == "invalidate_counts" then
  redis.call("HSET", index, "quota_ready", "0")
  redis.call("HDEL", index, "first_scan_upto")
end

local function read_field(field) return redis.call("HGET", index, field) end

-- Never lowers a field: the slower of two reconcilers must not undo the progress of the other.
local function raise(field, upto)
  if (tonumber(read_field(field)) or -math.huge) < tonumber(upto) then redis.call("HSET", index, field, upto) end
end

if ARGV[1] == "scan" or ARGV[1] == "limits" then
  if read_field("epoch") ~= ARGV[2] then return "stale" end
  if ARGV[1] == "limits" then
    raise("limits_upto", ARGV[3])
  else
    if read_field("scanned") ~= ARGV[3] then return "stale" end
    local upto = ARGV[5]
    redis.call("HSET", index, "scanned", ARGV[4])
    if upto ~= "" then
      raise("upto", upto)
      redis.call("HSETNX", index, "first_scan_upto", upto)
      local scanned_ms = tonumber(upto) - tonumber(read_field("first_scan_upto"))
      if scanned_ms >= QUOTA_READY_AFTER_MS then redis.call("HSET", index, "quota_ready", "1") end
    end
  end
end
return redis.call("HMGET", index, "epoch", "scanned", "upto", "quota_ready", "limits_upto")
