-- Admit runs, or refuse them: rate, depth of the shard, the tenant's quota.
--
-- An admitted run has a reservation until it is enqueued, or for `reservation_ms`. A refused run takes nothing. A run
-- that the queue knows already is admitted again: the caller repeats its request.
--
-- While the index is not quota ready, the script cannot check quota and depth: the caller checks them in Postgres. The
-- run gets its reservation all the same, so the queue counts it from the moment at which the index is quota ready.
--
-- KEYS  ready
-- ARGV  max_depth, reservation_ms, then tenant, run of each
-- ->    a text for each run: "ok", "rate <retry_ms>", "queued <limit>", "depth", "disabled", "unknown" (no limits of
--       the tenant here), or "rebuilding" (reserved, quota and depth not checked); or "cold" for all

local refusal = check_index() or check_sizes()
if refusal then return refusal end
local _, cold = drop_lapsed_reservations()
if cold then return cold end

local max_depth, reservation_ms = tonumber(ARGV[1]), tonumber(ARGV[2])

local admitted = is_quota_ready and "ok" or "rebuilding"

-- How many jobs count against `max_depth`.
local function depth()
  n_queued_or_reserved = n_queued_or_reserved or redis.call("ZCARD", queued_or_reserved)
  return n_queued_or_reserved
end

-- The tenants whose tokens were spent. Their limits are written once, at the end.
local spent = {}

-- The tokens in a tenant's bucket, which holds one second's requests. A new bucket is full.
local function tokens_of(limit)
  local most = 1000 * limit.per_second
  if not limit.tokens then return most end
  return math.min(most, limit.tokens + math.max(0, now_ms - limit.tokens_at_ms) * limit.per_second)
end

local function admit(tenant, run)
  if redis.call("HEXISTS", jobs, run) == 1 then return admitted end
  local limit = limits_of(tenant)
  if not limit then return "unknown" end
  if limit.concurrent == 0 then return "disabled" end
  local tokens = tokens_of(limit)
  if tokens < 1000 then
    local has_rate = limit.per_second > 0
    return "rate " .. (has_rate and integer_text(math.ceil((1000 - tokens) / limit.per_second)) or "60000")
  end
  if is_quota_ready and depth() >= max_depth then return "depth" end
  if is_quota_ready and counted(queued_or_reserved, tenant) >= limit.queued then
    return "queued " .. integer_text(limit.queued)
  end
  limit.tokens, limit.tokens_at_ms = tokens - 1000, now_ms
  spent[tenant] = limit
  move({ run = run, tenant = tenant, lane = "default", score = now_ms }, "reserved", now_ms + reservation_ms)
  return admitted
end

local verdicts = {}
for i = 3, #ARGV, 2 do verdicts[#verdicts + 1] = admit(ARGV[i], ARGV[i + 1]) end
for tenant, limit in pairs(spent) do write_limits(tenant, limit) end
return verdicts
