-- Lets a call to a model begin, or says when to ask again.
--
-- A call waits while the circuit breaker is open for its tenant, while the provider has asked to wait, and while a limit leaves no
-- room for it: calls that wait already, are about to ask again and have an earlier turn, have the first right to what is free. Of
-- several tenants that wait none is ahead of another by more than one call, however many calls each of them has waiting. A repeated
-- call of this script for a call that has begun replies "begun" again.
--
-- KEYS  calls
-- ARGV  tenant, call, lease_ms, max_concurrent, requests_per_minute, tokens_per_minute (0: no limit), the tokens that the call may
--       use, as they are estimated
-- ->    { "begun", "1" when settle.lua has to learn the outcome even if it is an answer, else "0" };
--       or { "limit" | "open", wait_ms }: the call asks again after this time

-- A waiting call that asks again within SOON_MS has a claim on what is free. One that is GONE_MS late has none any more: its run
-- was cancelled, or no worker has a slot for it.
local SOON_MS, GONE_MS = 2000, 3000
-- The least and the longest time until a call asks again. The longest bounds what a limit that was raised costs.
local LEAST_WAIT_MS, LONGEST_WAIT_MS = 1000, 60000
local MAX_WAITING, MAX_CLAIMS, MAX_TENANTS = 10000, 100, 10000
-- After a refusal of the provider calls begin at a learned pace (settle.lua), which doubles in this time.
local DOUBLED_MS = 30000
-- How long a call counts as taking, until a first call has ended; and, until then, the longest that a call waits for those before it.
-- The length is a guess, which many calls must not multiply.
local FIRST_HOLD_MS, FIRST_LINE_MS = 5000, 8000

local tenant, call, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local max_concurrent, requests, tokens = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local estimate = tonumber(ARGV[7])
local waiting_since = tonumber(redis.call("HGET", since, call) or "")
local member = tenant .. "\0" .. string.format("%015d", waiting_since or now_ms) .. "\0" .. call

redis.call("ZREMRANGEBYSCORE", calls, "-inf", now_ms)
local gone = redis.call("ZRANGEBYSCORE", due, "-inf", now_ms - GONE_MS, "LIMIT", 0, MAX_CLAIMS)
if #gone > 0 then
  redis.call("ZREM", due, unpack(gone))
  redis.call("ZREM", waiting, unpack(gone))
  for _, each in ipairs(gone) do redis.call("HDEL", since, string.match(each, "^[^%z]*%z%d+%z(.*)$")) end
end
if redis.call("ZSCORE", calls, call) then return { "begun", "1" } end

if (state.learned_until_ms or 0) > now_ms then
  local learned = state.learned_requests * 2 ^ (math.max(0, now_ms - (state.learned_from_ms or now_ms)) / DOUBLED_MS)
  requests = requests > 0 and math.min(requests, learned) or learned
end

local function refuse(why, ms)
  local wait_ms = math.min(math.max(math.ceil(ms), LEAST_WAIT_MS), LONGEST_WAIT_MS)
  if waiting_since or redis.call("ZCARD", due) < MAX_WAITING then
    redis.call("HSETNX", since, call, string.format("%d", now_ms))
    redis.call("ZADD", due, now_ms + wait_ms, member)
    redis.call("ZADD", waiting, 0, member)
    for _, key in ipairs({ since, due, waiting }) do redis.call("PEXPIRE", key, LONGEST_WAIT_MS * 2) end
  end
  return { why, string.format("%d", wait_ms) }
end

-- How many calls of this tenant have waited for longer.
local n_earlier = redis.call("ZLEXCOUNT", waiting, "[" .. tenant .. "\0", "(" .. member)

-- The breaker. After its time one call in the fleet is the probe, and the others wait for its outcome.
local is_open = state.open_until_ms ~= nil and (state.open_for == "*" or state.open_for == tenant)
if is_open then
  if now_ms < state.open_until_ms then return refuse("open", state.open_until_ms - now_ms) end
  if state.probe and state.probe ~= call and now_ms < (state.probe_until_ms or 0) then
    return refuse("open", LEAST_WAIT_MS * 2)
  end
end

-- How long this call waits for the tenant's calls before it: each has a turn, and the strictest limit says how far turns are apart.
local line_ms = 0
if requests > 0 then line_ms = n_earlier * 60000 / requests end
if tokens > 0 then line_ms = math.max(line_ms, n_earlier * estimate * 60000 / tokens) end
if max_concurrent > 0 then
  local held_ms = n_earlier * (state.hold_ms or FIRST_HOLD_MS) / max_concurrent
  line_ms = math.max(line_ms, state.hold_ms and held_ms or math.min(held_ms, FIRST_LINE_MS))
end

-- For how long the provider itself has asked to wait.
local said_ms = (state.closed_until_ms or 0) - now_ms
if (state.left_requests or 1) <= 0 then said_ms = math.max(said_ms, (state.left_requests_until_ms or 0) - now_ms) end
if (state.left_tokens or estimate) < estimate then
  said_ms = math.max(said_ms, (state.left_tokens_until_ms or 0) - now_ms)
end
if said_ms > 0 then return refuse("limit", said_ms + line_ms) end

-- How many calls may begin now, by each limit.
local free, wait_ms = math.huge, 0
if max_concurrent > 0 then
  free = max_concurrent - redis.call("ZCARD", calls)
  -- The end of a call is not known in advance. A tenant's first waiting call looks often enough to keep its claim.
  if free <= 0 then wait_ms = SOON_MS end
end
local request_bucket, token_bucket, needed
if requests > 0 then
  request_bucket = bucket_of("requests", requests, 1)
  free = math.min(free, math.floor(request_bucket))
  wait_ms = math.max(wait_ms, (1 - request_bucket) * 60000 / requests)
end
if tokens > 0 then
  token_bucket = bucket_of("tokens", tokens, 1)
  -- A call that is larger than the bucket begins when that is full, and the calls after it wait for what it took.
  needed = math.max(1, math.min(estimate, math.max(1, tokens / 10)))
  free = math.min(free, math.floor(token_bucket / needed))
  wait_ms = math.max(wait_ms, (needed - token_bucket) * 60000 / tokens)
end
if (state.left_requests_until_ms or 0) > now_ms then free = math.min(free, state.left_requests or math.huge) end

-- The waiting calls that are about to ask again and have an earlier turn (`ahead`): those of tenants that had fewer turns, and, for a
-- call that has not waited yet, those of its own tenant.
local virtual = state.virtual or 0
local function turn_of(name) return math.max(tonumber(redis.call("ZSCORE", turns, name) or 0), virtual) end
local own_turn = turn_of(tenant)
if free < math.huge then
  local ahead = 0
  for _, each in ipairs(redis.call("ZRANGEBYSCORE", due, "-inf", now_ms + SOON_MS, "LIMIT", 0, MAX_CLAIMS)) do
    local waiting_tenant = string.match(each, "^([^%z]*)")
    local is_own = waiting_tenant == tenant
    if (is_own and not waiting_since) or (not is_own and turn_of(waiting_tenant) < own_turn) then ahead = ahead + 1 end
  end
  if free <= ahead then return refuse("limit", wait_ms + line_ms) end
end

-- The call begins.
if waiting_since then
  redis.call("HDEL", since, call)
  redis.call("ZREM", due, member)
  redis.call("ZREM", waiting, member)
end
if max_concurrent > 0 or is_open then
  redis.call("ZADD", calls, now_ms + lease_ms, call)
  redis.call("PEXPIRE", calls, lease_ms * 2)
end
if is_open then write({ probe = call, probe_until_ms = now_ms + lease_ms }) end
if request_bucket then write({ requests = request_bucket - 1, requests_at_ms = now_ms }) end
if token_bucket then write({ tokens = token_bucket - estimate, tokens_at_ms = now_ms }) end
if state.left_requests then write({ left_requests = state.left_requests - 1 }) end
if state.left_tokens then write({ left_tokens = state.left_tokens - estimate }) end
if free < math.huge then
  redis.call("ZREMRANGEBYSCORE", turns, "-inf", virtual)
  if redis.call("ZCARD", turns) < MAX_TENANTS then redis.call("ZADD", turns, number_text(own_turn + 1), tenant) end
  redis.call("PEXPIRE", turns, IDLE_MS)
  write({ virtual = math.max(virtual, own_turn) })
end
-- How many calls begin in each minute: settle.lua derives the learned pace from it when the provider refuses a call.
local minute = math.floor(now_ms / 60000)
if state.minute ~= minute then
  write({ minute = minute, begun_before = state.minute == minute - 1 and state.begun or 0, begun = 0 })
end
write({ begun = state.begun + 1 })
keep_state(IDLE_MS)
local matters = free < math.huge or is_open or (state.failures or 0) > 0
return { "begun", matters and "1" or "0" }
