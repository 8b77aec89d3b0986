-- Read or write what this Redis knows about its own completeness.
--
-- `upto`: every run due by that time (ms of Postgres) has been shown to this Redis. It lives beside what it speaks
-- of, so a loss or a rollback takes both.
--
-- KEYS  ready
-- ARGV  nothing: read; or "begin"; or "advance", upto, full ("1": the first walk is through), limits_upto
-- ->    { upto, full, limits_upto }, numbers as text; or "cold"

local no = refusal()
if no == "cold" and ARGV[1] == "begin" then
  local tenants = redis.call("HLEN", limits)
  redis.call("HSET", index, "upto", "-inf", "full", "0", "limits_upto", "-inf", "shards", shards, "tenants", tenants)
elseif no then
  return no
end
if ARGV[1] == "advance" then
  local known = redis.call("HMGET", index, "upto", "limits_upto")
  -- Never back: of two reconcilers the slower one must not undo the other's walk.
  if tonumber(ARGV[2]) and (tonumber(known[1]) or -math.huge) < tonumber(ARGV[2]) then redis.call("HSET", index, "upto", ARGV[2]) end
  if ARGV[3] == "1" then redis.call("HSET", index, "full", "1") end
  if tonumber(ARGV[4]) and (tonumber(known[2]) or -math.huge) < tonumber(ARGV[4]) then redis.call("HSET", index, "limits_upto", ARGV[4]) end
end
return redis.call("HMGET", index, "upto", "full", "limits_upto")
