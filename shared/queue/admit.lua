-- Let runs in, or say no: rate, depth of the shard, the tenant's queue.
--
-- A yes reserves the place until the run is committed and enqueued, or for `reservation_ms`. A no takes nothing.
-- A run that is here already is a yes: the request is repeated.
--
-- While the index is not full, quota and depth cannot be counted here: the caller counts otherwise, and has its places
-- all the same, so that who is let in that way is known here when the index is.
--
-- KEYS  ready
-- ARGV  max_depth, reservation_ms, then tenant, run of each
-- ->    a word for each run: "ok", "rate <retry_ms>", "queued <limit>", "depth", "disabled", "unknown", or
--       "rebuilding": it has its place, uncounted; or "cold" for all

local no = refusal() or check_sizes()
if no then return no end
drop_lapsed_reservations()

local max_depth, reservation_ms = tonumber(ARGV[1]), tonumber(ARGV[2])

local counts = redis.call("HGET", index, "full") == "1"

-- Token bucket of one second's requests, in thousandths of a token, so that all of it is whole numbers. Buckets
-- start full.
local function tokens_of(tenant, per_second)
  local raw = redis.call("HGET", rate, tenant)
  if not raw then return 1000 * per_second end
  local tokens, at_ms = string.match(raw, "^(%S+) (%S+)$")
  return math.min(1000 * per_second, tonumber(tokens) + math.max(0, now_ms - tonumber(at_ms)) * per_second)
end

local function admit(tenant, run)
  if redis.call("HEXISTS", jobs, run) == 1 then return counts and "ok" or "rebuilding" end
  local limit = limits_of(tenant)
  if not limit then return "unknown" end
  if limit.concurrent == 0 then return "disabled" end
  local tokens = tokens_of(tenant, limit.per_second)
  if tokens < 1000 then
    return "rate " .. (limit.per_second > 0 and whole(math.ceil((1000 - tokens) / limit.per_second)) or "60000")
  end
  if counts and redis.call("ZCARD", open) >= max_depth then return "depth" end
  if counts and count_of(open, tenant) >= limit.queued then return "queued " .. whole(limit.queued) end
  redis.call("HSET", rate, tenant, whole(tokens - 1000) .. " " .. whole(now_ms))
  enter({ run = run, tenant = tenant, lane = "default", score = now_ms }, "reserved", now_ms + reservation_ms)
  return counts and "ok" or "rebuilding"
end

local answers = {}
for i = 3, #ARGV, 2 do answers[#answers + 1] = admit(ARGV[i], ARGV[i + 1]) end
return answers
