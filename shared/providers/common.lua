-- What the verbs of provider limits share: the keys of one model of a provider, and its state.
--
-- All keys are in one slot of a Redis cluster: KEYS[1], the calls under way, is the hash tag of the others.
--   calls    zset of calls that count against `max_concurrent`, by the time at which they lapse
--   since    hash of waiting calls: when each asked first
--   due      zset of waiting calls as `tenant\0since\0call`, by the time at which they come again
--   waiting  the same members in lexical order: those of a tenant are adjacent, the oldest first
--   turns    zset of tenants, by the virtual time at which their next turn starts
--   state    hash of numbers: token buckets, what the provider has said, and the circuit breaker

local calls = KEYS[1]
local tag = "{" .. calls .. "}:"
local since, due, waiting, turns = tag .. "since", tag .. "due", tag .. "waiting", tag .. "turns"
local state_key = tag .. "state"

local time = redis.call("TIME")
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- A state that has nothing to remember is deleted after two minutes: definitions may name any number of models.
local IDLE_MS = 120000

local state = {}
do
  local flat = redis.call("HGETALL", state_key)
  -- These fields name tenants and a call; all others are numbers.
  local texts = { failing = true, open_for = true, probe = true }
  for i = 1, #flat, 2 do state[flat[i]] = texts[flat[i]] and flat[i + 1] or tonumber(flat[i + 1]) end
end

local function number_text(number) return string.format("%.3f", number) end

-- Writes fields; false deletes one.
local function write(fields)
  for name, value in pairs(fields) do
    state[name] = value or nil
    if not value then
      redis.call("HDEL", state_key, name)
    else
      redis.call("HSET", state_key, name, type(value) == "number" and number_text(value) or value)
    end
  end
end

-- Keeps the state for at least this time.
local function keep_state(ms)
  if redis.call("PTTL", state_key) < ms then redis.call("PEXPIRE", state_key, string.format("%d", ms)) end
end

-- What is left in a token bucket, which holds a tenth of what a minute allows, and at least `least`. It is negative after calls that
-- used more tokens than estimated.
local function bucket_of(name, per_minute, least)
  local capacity = math.max(least, per_minute / 10)
  local left, at_ms = state[name] or capacity, state[name .. "_at_ms"] or now_ms
  return math.min(capacity, left + math.max(0, now_ms - at_ms) * per_minute / 60000)
end
