-- Ends a call to a model, and notes what it says about the provider.
--
-- `failed`: the provider did not answer, or not to the end. Five such calls in a row open the breaker: for the tenant whose calls
-- all of them were, or for all when several tenants had them, because one tenant's requests may be the reason. A probe that
-- fails opens it again, for twice as long. `answered`: the provider answered, also with a refusal of the request; the breaker
-- closes. `limited`: it asked to wait. `unknown`: the call was cut off here, and says nothing.
--
-- KEYS  calls
-- ARGV  tenant, call, outcome, held_ms, tokens_per_minute (0: no limit), tokens more than expected,
--       the wait_ms that the provider asked for, left_requests, left_requests_ms, left_tokens, left_tokens_ms (-1: not reported)
-- ->    nil

local FAILURES = 5
local FIRST_OPEN_MS, LONGEST_OPEN_MS = 5000, 60000
-- The wait when the provider names no time, and the longest time that counts.
local DEFAULT_WAIT_MS, LONGEST_WAIT_MS = 2000, 3600000
-- After a refusal calls begin at LEARNED_SHARE of the pace that was refused; acquire.lua lets this learned pace grow, and forgets it
-- after LEARNED_MS. A low pace says little about the provider (there were few calls, or an earlier refusal held them back), so the
-- learned pace is at least LEAST_LEARNED calls a minute.
local LEARNED_MS, LEARNED_SHARE, LEAST_LEARNED = 300000, 0.7, 6

local tenant, call, outcome, held_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local tokens, more = tonumber(ARGV[5]), tonumber(ARGV[6])
local wait_ms = tonumber(ARGV[7])

redis.call("ZREM", calls, call)
local was_probe = state.probe == call
if was_probe then write({ probe = false, probe_until_ms = false }) end

if tokens > 0 and more ~= 0 then
  write({ tokens = bucket_of("tokens", tokens, 1) - more, tokens_at_ms = now_ms })
end

if outcome == "answered" then
  if state.failures then
    write({ failures = false, failing = false, open_until_ms = false, open_for = false, open_ms = false })
  end
  write({ hold_ms = state.hold_ms and (0.8 * state.hold_ms + 0.2 * held_ms) or held_ms })
elseif outcome == "failed" then
  local failures = (state.failures or 0) + 1
  local failing = (state.failing == nil or state.failing == tenant) and tenant or "*"
  write({ failures = failures, failing = failing })
  local is_open = (state.open_until_ms or 0) > now_ms and (state.open_for == failing or state.open_for == "*")
  if was_probe or (failures >= FAILURES and not is_open) then
    local open_ms = math.min(state.open_ms and state.open_ms * 2 or FIRST_OPEN_MS, LONGEST_OPEN_MS)
    write({ open_ms = open_ms, open_until_ms = now_ms + open_ms, open_for = failing })
  end
elseif outcome == "limited" then
  local closed_ms = math.min(wait_ms >= 0 and wait_ms or DEFAULT_WAIT_MS, LONGEST_WAIT_MS)
  local until_ms = math.max(state.closed_until_ms or 0, now_ms + closed_ms)
  -- How many calls began in the last 60 s, about: those of this calendar minute, and of those of the minute before the part that
  -- lies in these 60 s.
  local into = now_ms / 60000 - math.floor(now_ms / 60000)
  local before = state.minute == math.floor(now_ms / 60000) and state.begun_before or state.begun or 0
  local begun = state.minute == math.floor(now_ms / 60000) and state.begun or 0
  local pace = begun + (before or 0) * (1 - into)
  write({
    closed_until_ms = until_ms,
    learned_requests = math.max(LEAST_LEARNED, math.floor(pace * LEARNED_SHARE)),
    learned_from_ms = until_ms,
    learned_until_ms = until_ms + LEARNED_MS,
  })
end

for i, name in ipairs({ "left_requests", "left_tokens" }) do
  local left, ms = tonumber(ARGV[6 + 2 * i]), tonumber(ARGV[7 + 2 * i])
  if left >= 0 and ms >= 0 then
    write({ [name] = left, [name .. "_until_ms"] = now_ms + math.min(ms, LONGEST_WAIT_MS) })
  end
end

keep_state(math.max(IDLE_MS, (state.learned_until_ms or 0) - now_ms, (state.open_until_ms or 0) - now_ms + IDLE_MS))
