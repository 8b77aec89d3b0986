-- Admit runs, or refuse them: rate, depth of the shard, the tenant's quota, its runs a minute.
--
-- An admitted run has a reservation until it is enqueued, or for `reservation_ms`. A refused run takes nothing. A run
-- that the queue knows already is admitted again: the caller repeats its request.
--
-- While the index is not quota ready, the script cannot check quota and depth: the caller checks them in Postgres. The
-- run gets its reservation all the same, so the queue counts it from the moment at which the index is quota ready.
--
-- KEYS  ready
-- ARGV  max_depth, reservation_ms, then tenant, run of each
-- ->    a text for each run: "ok" with what its tenant has left (see `quota_text`), "ok" alone (the queue knows the run
--       already), "rate <per second> <retry_ms>", "minute <per minute> <retry_ms>", "queued <limit>", "depth",
--       "disabled", "unknown" (no limits of the tenant here), or "rebuilding" (reserved, quota and depth not checked);
--       or "cold" for all

local refusal = check_index() or check_sizes()
if refusal then return refusal end
local _, cold = drop_lapsed_reservations()
if cold then return cold end

local max_depth, reservation_ms = tonumber(ARGV[1]), tonumber(ARGV[2])

local admitted = is_quota_ready and "ok" or "rebuilding"

-- How many jobs count against `max_depth`: the size of `queued_or_reserved`, read once.
local function depth()
  n_queued_or_reserved = n_queued_or_reserved or redis.call("ZCARD", queued_or_reserved)
  return n_queued_or_reserved
end

-- The limits of the tenants of admitted runs, whose tokens were spent. They are written once, at the end, and so are the minutes.
local spent = {}

-- The tokens in a tenant's bucket, which holds one second's requests. A new bucket is full.
local function tokens_of(limit)
  local most = 1000 * limit.per_second
  if not limit.tokens then return most end
  return math.min(most, limit.tokens + math.max(0, now_ms - limit.tokens_at_ms) * limit.per_second)
end

local minutes_cache = {}
local function minute_of(tenant)
  local minute = minutes_cache[tenant] or read_minute(tenant)
  if not minute.total then
    minute.total = 0
    for _, entry in ipairs(minute.admitted) do minute.total = minute.total + entry[2] end
  end
  minutes_cache[tenant] = minute
  return minute
end

-- In how many ms the tenant's minute has room for a run: its oldest seconds are forgotten first, until fewer than `most` runs are left.
local function minute_retry_ms(minute)
  local left = minute.total
  for _, entry in ipairs(minute.admitted) do
    left = left - entry[2]
    if left < minute.most then return (entry[1] + MINUTE_SECONDS + 1) * 1000 - now_ms end
  end
  return MINUTE_SECONDS * 1000
end

local function count_start(minute)
  if minute.most >= NO_LIMIT then return end
  local second = math.floor(now_ms / 1000)
  local last = minute.admitted[#minute.admitted]
  if not last or last[1] < second then
    last = { second, 0 }
    minute.admitted[#minute.admitted + 1] = last
  end
  last[2], minute.total = last[2] + 1, minute.total + 1
  minute.is_changed = true
end

-- What a tenant has left after this run: " <per second> <requests left> <queued limit> <places left> <per minute>
-- <runs left> <ms until the minute forgets its oldest>", the last three only for a tenant with such a limit.
local function quota_text(tenant, limit, minute)
  local numbers = {
    limit.per_second, math.floor(limit.tokens / 1000),
    limit.queued, math.max(0, limit.queued - counted(queued_or_reserved, tenant)),
  }
  if minute.most < NO_LIMIT then
    numbers[5], numbers[6] = minute.most, math.max(0, minute.most - minute.total)
    numbers[7] = (minute.admitted[1][1] + MINUTE_SECONDS + 1) * 1000 - now_ms
  end
  for i, number in ipairs(numbers) do numbers[i] = integer_text(number) end
  return " " .. table.concat(numbers, " ")
end

local function admit(tenant, run)
  if redis.call("HEXISTS", jobs, run) == 1 then return admitted end
  local limit, minute = limits_of(tenant), minute_of(tenant)
  if not limit then return "unknown" end
  if limit.concurrent == 0 then return "disabled" end
  local tokens = tokens_of(limit)
  if tokens < 1000 then
    local has_rate = limit.per_second > 0
    local retry_ms = has_rate and integer_text(math.ceil((1000 - tokens) / limit.per_second)) or "60000"
    return "rate " .. integer_text(limit.per_second) .. " " .. retry_ms
  end
  if is_quota_ready and depth() >= max_depth then return "depth" end
  if is_quota_ready and counted(queued_or_reserved, tenant) >= limit.queued then
    return "queued " .. integer_text(limit.queued)
  end
  if minute.total >= minute.most then
    return "minute " .. integer_text(minute.most) .. " " .. integer_text(minute_retry_ms(minute))
  end
  limit.tokens, limit.tokens_at_ms = tokens - 1000, now_ms
  spent[tenant] = limit
  count_start(minute)
  move({ run = run, tenant = tenant, lane = "default", score = now_ms }, "reserved", now_ms + reservation_ms)
  return is_quota_ready and admitted .. quota_text(tenant, limit, minute) or admitted
end

local verdicts = {}
for i = 3, #ARGV, 2 do verdicts[#verdicts + 1] = admit(ARGV[i], ARGV[i + 1]) end
for tenant, limit in pairs(spent) do
  write_limits(tenant, limit)
  local minute = minutes_cache[tenant]
  if minute.is_changed then write_minute(tenant, minute) end
end
return verdicts
