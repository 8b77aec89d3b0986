-- Read or write what this Redis knows about its own completeness.
--
-- `upto`: every run due by that time (ms of Postgres) has been shown to this Redis. It lives beside what it speaks
-- of, so a loss or a rollback takes both. `walked`: how far the walk under way has come; `epoch`: which rebuild made it.
-- Who walks says both as he knows them, so that a walk does not end as through when this Redis was emptied, or has
-- gone back, since it began.
--
-- `full`: whoever counts against a tenant's queue is known here, so `admit` may count. It takes a walk that reaches
-- SETTLE_MS further than the first one: whoever was let in before this index began, without asking it, has been
-- committed by then. "doubt" takes it back: somebody was let in without asking.
--
-- KEYS  ready
-- ARGV  nothing: read; or "begin", epoch; or "doubt"; or "walk", epoch, walked, the new walked, upto (empty: it goes on);
--       or "limits", epoch, limits_upto
-- ->    { epoch, walked, upto, full, limits_upto }; or "cold"; or "stale": another index, or another walk

local SETTLE_MS = 7000

local no = refusal()
-- Only for the last `reset`, if nothing was lost since: then what runs is held here.
if no == "cold" and ARGV[1] == "begin" and redis.call("HGET", index, "epoch") == ARGV[2] then
  redis.call("HSET", index, "walked", "", "upto", "-inf", "full", "0",
    "limits_upto", "-inf", "shards", shards, "tenants", redis.call("HLEN", limits))
elseif no then
  return no
end

if ARGV[1] == "doubt" then
  redis.call("HSET", index, "full", "0")
  redis.call("HDEL", index, "first_upto")
end

local function known(field) return redis.call("HGET", index, field) end

-- Never back: of two who walk, the slower one must not undo what the other has done.
local function raise(field, upto)
  if (tonumber(known(field)) or -math.huge) < tonumber(upto) then redis.call("HSET", index, field, upto) end
end

if ARGV[1] == "walk" or ARGV[1] == "limits" then
  if known("epoch") ~= ARGV[2] then return "stale" end
  if ARGV[1] == "limits" then
    raise("limits_upto", ARGV[3])
  else
    if known("walked") ~= ARGV[3] then return "stale" end
    redis.call("HSET", index, "walked", ARGV[4])
    if ARGV[5] ~= "" then
      raise("upto", ARGV[5])
      redis.call("HSETNX", index, "first_upto", ARGV[5])
      if tonumber(ARGV[5]) - tonumber(known("first_upto")) >= SETTLE_MS then redis.call("HSET", index, "full", "1") end
    end
  end
end
return redis.call("HMGET", index, "epoch", "walked", "upto", "full", "limits_upto")
