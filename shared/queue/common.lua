-- What all verbs of the queue share: the keys of a shard and the moves of a job between its states.
--
-- All keys of a shard are in one slot: KEYS[1], the ready runs, is the hash tag of the others, so a script may
-- derive their names and still be safe in a cluster. There is a fixed number of them, whatever the number of
-- tenants, so that their sizes can prove that none is missing.
--
-- A job is in exactly one state, written in `jobs`; `enter` and `leave` are the only places that move it:
--   reserved  admitted, not committed yet   -> reserved, open
--   ready     may be claimed                -> ready, order:<lane>, open
--   due       queued, for a later time      -> due, open
--   timer     paused, until a time          -> timer
--   leased    a worker moves it             -> leases, active
--
-- The last argument of every call is the number of shards that the caller counts; it is taken off here.

local ready = KEYS[1]
local tag = "{" .. ready .. "}:"
local index, jobs, reserved, due, timer = tag .. "index", tag .. "jobs", tag .. "reserved", tag .. "due", tag .. "timer"
local leases, active, open = tag .. "leases", tag .. "active", tag .. "open"
local limits, rate, tags = tag .. "limits", tag .. "rate", tag .. "tags"
local LANES = { "interactive", "default", "bulk", "mail", "webhooks" }
local function order(lane) return tag .. "order:" .. lane end
local function ring(lane) return tag .. "ring:" .. lane end
local function wake(lane) return tag .. "wake:" .. lane end

local shards = table.remove(ARGV)
local time = redis.call("TIME")
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- Numbers as text, whole: Lua would write large ones as 1.78e+14. Commands get text too: a number costs them twice
-- as much (2.6 against 1.3 us for a ZADD), and "%.0f" three times as much as "%d".
local function whole(number) return string.format("%d", number) end

local function read(run)
  local raw = redis.call("HGET", jobs, run)
  if not raw then return nil end
  local state, tenant, lane, score, owner, again =
    string.match(raw, "^(%l+)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)$")
  return { run = run, state = state, tenant = tenant, lane = lane, score = tonumber(score), owner = owner, again = tonumber(again) }
end

local function write(job)
  local again = job.again and whole(job.again) or ""
  local raw = table.concat({ job.state, job.tenant, job.lane, whole(job.score), job.owner or "", again }, "\t")
  redis.call("HSET", jobs, job.run, raw)
end

-- A tenant's members of `active` or `open` stand together, so that counting them is two searches.
local function count_of(key, tenant)
  return redis.call("ZLEXCOUNT", key, "[" .. tenant .. "\0", "(" .. tenant .. "\1")
end

-- Limits and used slots are read once a call, as nothing else changes them meanwhile: that is half the cost of a
-- batch of one tenant's jobs.
local limits_read, slots_used = {}, {}

local function limits_of(tenant)
  if limits_read[tenant] then return limits_read[tenant] end
  local raw = redis.call("HGET", limits, tenant)
  if not raw then return nil end
  local version, concurrent, queued, per_second, weight = string.match(raw, "^(%d+) (%d+) (%d+) (%d+) (%d+)$")
  limits_read[tenant] = {
    version = tonumber(version), concurrent = tonumber(concurrent), queued = tonumber(queued),
    per_second = tonumber(per_second), weight = tonumber(weight),
  }
  return limits_read[tenant]
end

local function used_slots(tenant)
  slots_used[tenant] = slots_used[tenant] or count_of(active, tenant)
  return slots_used[tenant]
end

local function has_slot(tenant)
  local limit = limits_of(tenant)
  return limit ~= nil and used_slots(tenant) < limit.concurrent
end

local function first_ready(tenant, lane)
  return redis.call("ZRANGEBYLEX", order(lane), "[" .. tenant .. "\0", "(" .. tenant .. "\1", "LIMIT", 0, 1)[1]
end

local function mark(lane)
  if redis.call("LLEN", wake(lane)) == 0 then redis.call("RPUSH", wake(lane), "1") end
end

-- A tenant is in a lane's ring when it has a ready job there and a free slot. It comes in at the ring's virtual
-- time, or after what it has already had (start-time fair queueing): idling earns nothing, coming back costs nothing.
-- Answers whether it is in.
local function settle(tenant, lane)
  if not (has_slot(tenant) and first_ready(tenant, lane)) then
    redis.call("ZREM", ring(lane), tenant)
    return false
  end
  if not redis.call("ZSCORE", ring(lane), tenant) then
    local now_tag, finish_tag = unpack(redis.call("HMGET", tags, lane, lane .. "\0" .. tenant))
    local start = math.max(tonumber(now_tag or 0), tonumber(finish_tag or 0))
    redis.call("ZADD", ring(lane), string.format("%.17g", start), tenant)
  end
  return true
end

-- After a change of a tenant's free slots: a worker may be waiting for what has been ready for long.
local function settle_all(tenant)
  for _, lane in ipairs(LANES) do
    if settle(tenant, lane) then mark(lane) end
  end
end

local function order_member(job)
  return job.tenant .. "\0" .. string.format("%015d", job.score) .. "\0" .. job.run
end

local function leave(job)
  local member = job.tenant .. "\0" .. job.run
  if job.state == "leased" then
    local was_full = not has_slot(job.tenant)
    local used = used_slots(job.tenant)
    slots_used[job.tenant] = used - redis.call("ZREM", active, member)
    redis.call("ZREM", leases, job.run)
    -- The slot is free again for whatever of this tenant is ready.
    if was_full then settle_all(job.tenant) end
  elseif job.state == "timer" then
    redis.call("ZREM", timer, job.run)
  else
    redis.call("ZREM", open, member)
    if job.state == "ready" then
      redis.call("ZREM", ready, job.run)
      redis.call("ZREM", order(job.lane), order_member(job))
      settle(job.tenant, job.lane)
    elseif job.state == "due" then
      redis.call("ZREM", due, job.run)
    else
      redis.call("ZREM", reserved, job.run)
    end
  end
end

-- `at_ms`: when the job is due, or its lease or reservation lapses; for `ready`, since when it has been.
local function enter(job, state, at_ms)
  local member = job.tenant .. "\0" .. job.run
  job.state = state
  if state ~= "leased" then
    job.owner, job.again = nil, nil
  end
  write(job)
  if state == "leased" then
    redis.call("ZADD", leases, whole(at_ms), job.run)
    local used = used_slots(job.tenant)
    slots_used[job.tenant] = used + redis.call("ZADD", active, "0", member)
    if not has_slot(job.tenant) then settle_all(job.tenant) end
  elseif state == "timer" then
    redis.call("ZADD", timer, whole(at_ms), job.run)
  else
    redis.call("ZADD", open, "0", member)
    if state == "ready" then
      redis.call("ZADD", ready, whole(at_ms), job.run)
      redis.call("ZADD", order(job.lane), "0", order_member(job))
      if settle(job.tenant, job.lane) then mark(job.lane) end
    elseif state == "due" then
      redis.call("ZADD", due, whole(at_ms), job.run)
    else
      redis.call("ZADD", reserved, whole(at_ms), job.run)
    end
  end
end

-- Puts a job where it waits for `at_ms`. `status` is the run's: what is queued counts against the tenant's queue.
local function wait_until(job, status, at_ms)
  if at_ms <= now_ms then
    enter(job, "ready", now_ms)
  elseif status == "queued" then
    enter(job, "due", at_ms)
  else
    enter(job, "timer", at_ms)
  end
end

-- Gives a job that waits the earlier of both times.
local function bring_forward(job, lane, score, status, at_ms)
  local waits_until = -math.huge
  if job.state == "reserved" then
    waits_until = math.huge
  elseif job.state ~= "ready" then
    -- Missing only if its key was lost a moment ago; then any time is earlier.
    waits_until = tonumber(redis.call("ZSCORE", job.state == "due" and due or timer, job.run)) or math.huge
  end
  if at_ms < waits_until then
    leave(job)
    job.lane, job.score = lane, score
    wait_until(job, status, at_ms)
  end
end

local function remove(job)
  leave(job)
  redis.call("HDEL", jobs, job.run)
end

-- Why nothing may be done here, or nil: "cold", or an error for a caller that counts another number of shards, as
-- it would put tenants where nobody looks for them.
local function refusal()
  local known = redis.call("HGET", index, "shards")
  if not known then return "cold" end
  if known ~= shards then
    return redis.error_reply("SHARDS this queue is laid out for " .. known .. " shards, the caller counts " .. shards)
  end
end

-- Compares the sizes that must be equal while no key has been evicted or deleted. If one has, the index goes too,
-- and with it the claim to be complete. Answers "cold" then, else nil.
local function check_sizes()
  local function size(key) return redis.call("ZCARD", key) end
  local n_ready, n_leases = size(ready), size(leases)
  local n_open = size(reserved) + n_ready + size(due)
  local n_order = 0
  for _, lane in ipairs(LANES) do n_order = n_order + size(order(lane)) end
  local sound = redis.call("HLEN", jobs) == n_open + size(timer) + n_leases
    and n_order == n_ready
    and size(active) == n_leases
    and size(open) == n_open
    and redis.call("HLEN", limits) == tonumber(redis.call("HGET", index, "tenants"))
  if sound then return nil end
  redis.call("DEL", index)
  return "cold"
end

-- Gives back the places of runs that were admitted and never committed; at most 100 a call.
local function drop_lapsed_reservations()
  for _, run in ipairs(redis.call("ZRANGEBYSCORE", reserved, "-inf", whole(now_ms), "LIMIT", 0, 100)) do
    remove(read(run))
  end
end

-- Ends the life of a job whose run has ended, unless a client's retry has come meanwhile.
local function finish(run, owner)
  local job = read(run)
  if not job then return end
  local leased = job.state == "leased"
  -- A worker finishes what it holds; whoever holds nothing finishes what nobody holds. So a late or repeated
  -- `finish` never takes away a job that came back.
  if leased ~= (owner ~= "") or (leased and job.owner ~= owner) then return end
  if job.again then
    local at_ms = job.again
    leave(job)
    wait_until(job, "queued", at_ms)
  else
    remove(job)
  end
end
