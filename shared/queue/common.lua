-- What all verbs of the queue share: the keys of a shard, and the moves of a job between its states.
--
-- All keys of a shard are in one slot of a Redis cluster: KEYS[1], the ready runs, is the hash tag of the others, so a
-- script may derive their names. The number of keys is fixed, whatever the number of tenants, so their sizes can prove
-- that no key is missing.
--
-- A job is in exactly one state, which its entry in `jobs` names. Only `enter_state` and `leave_state` move a job:
--   reserved  admitted, not committed yet      -> reserved, queued_or_reserved
--   ready     may be claimed                   -> ready, order:<lane>, queued_or_reserved
--   due       queued, waits for its time       -> due, queued_or_reserved
--   timer     paused, waits for its time       -> timer
--   leased    a worker moves the run           -> leases, active
--
-- The last argument of every call is the caller's number of shards. It is removed from ARGV here.

local ready = KEYS[1]
local tag = "{" .. ready .. "}:"
local index, jobs, reserved, due, timer = tag .. "index", tag .. "jobs", tag .. "reserved", tag .. "due", tag .. "timer"
local leases, active, queued_or_reserved = tag .. "leases", tag .. "active", tag .. "queued_or_reserved"
local limits, rate, virtual_times = tag .. "limits", tag .. "rate", tag .. "virtual_times"
local LANES = { "interactive", "default", "bulk", "mail", "webhooks" }
local function order(lane) return tag .. "order:" .. lane end
local function ring(lane) return tag .. "ring:" .. lane end
local function wake(lane) return tag .. "wake:" .. lane end

local caller_shards = table.remove(ARGV)
local time = redis.call("TIME")
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- A number as an integer's text: Lua would write a large one as 1.78e+14. Commands get text too, because a number costs
-- them twice as much (2.6 against 1.3 us for a ZADD). "%.0f" costs three times as much as "%d".
local function integer_text(number) return string.format("%d", number) end

local function read_job(run)
  local raw = redis.call("HGET", jobs, run)
  if not raw then return nil end
  local state, tenant, lane, score, owner, requeue_at_ms =
    string.match(raw, "^(%l+)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)$")
  return {
    run = run, state = state, tenant = tenant, lane = lane, score = tonumber(score), owner = owner,
    requeue_at_ms = tonumber(requeue_at_ms),
  }
end

local function write_job(job)
  local requeue_at = job.requeue_at_ms and integer_text(job.requeue_at_ms) or ""
  local fields = { job.state, job.tenant, job.lane, integer_text(job.score), job.owner or "", requeue_at }
  redis.call("HSET", jobs, job.run, table.concat(fields, "\t"))
end

-- How many members of `active` or `queued_or_reserved` a tenant has. They are adjacent in the set's order, so Redis does
-- two searches.
local function count_members(key, tenant)
  return redis.call("ZLEXCOUNT", key, "[" .. tenant .. "\0", "(" .. tenant .. "\1")
end

-- A script reads a tenant's limits and used slots once and keeps them up to date itself, as nothing else runs meanwhile.
-- This halves the cost of a batch of one tenant's jobs.
local limits_cache, used_slots_cache = {}, {}

local function limits_of(tenant)
  if limits_cache[tenant] then return limits_cache[tenant] end
  local raw = redis.call("HGET", limits, tenant)
  if not raw then return nil end
  local version, concurrent, queued, per_second, weight = string.match(raw, "^(%d+) (%d+) (%d+) (%d+) (%d+)$")
  limits_cache[tenant] = {
    version = tonumber(version), concurrent = tonumber(concurrent), queued = tonumber(queued),
    per_second = tonumber(per_second), weight = tonumber(weight),
  }
  return limits_cache[tenant]
end

local function used_slots(tenant)
  used_slots_cache[tenant] = used_slots_cache[tenant] or count_members(active, tenant)
  return used_slots_cache[tenant]
end

-- False also for a tenant without limits.
local function has_free_slot(tenant)
  local limit = limits_of(tenant)
  return limit ~= nil and used_slots(tenant) < limit.concurrent
end

local function first_ready_member(tenant, lane)
  return redis.call("ZRANGEBYLEX", order(lane), "[" .. tenant .. "\0", "(" .. tenant .. "\1", "LIMIT", 0, 1)[1]
end

-- Wakes one idle worker of a lane.
local function push_marker(lane)
  if redis.call("LLEN", wake(lane)) == 0 then redis.call("RPUSH", wake(lane), "1") end
end

-- Puts a tenant into a lane's ring, or removes it: a tenant is in the ring if and only if it has a ready job in the lane
-- and a free slot. It enters at the ring's virtual time or at the end of its own last turn, whichever is later
-- (start-time fair queueing): a tenant gains nothing by being idle and loses nothing by coming back.
-- Returns whether the tenant is in the ring.
local function repair_ring(tenant, lane)
  if not (has_free_slot(tenant) and first_ready_member(tenant, lane)) then
    redis.call("ZREM", ring(lane), tenant)
    return false
  end
  if not redis.call("ZSCORE", ring(lane), tenant) then
    local ring_time, tenant_time = unpack(redis.call("HMGET", virtual_times, lane, lane .. "\0" .. tenant))
    local start = math.max(tonumber(ring_time or 0), tonumber(tenant_time or 0))
    redis.call("ZADD", ring(lane), string.format("%.17g", start), tenant)
  end
  return true
end

-- Call it after a change of the tenant's free slots. It wakes workers, because jobs may have been ready for long.
local function repair_rings(tenant)
  for _, lane in ipairs(LANES) do
    if repair_ring(tenant, lane) then push_marker(lane) end
  end
end

local function order_member(job)
  return job.tenant .. "\0" .. string.format("%015d", job.score) .. "\0" .. job.run
end

local function leave_state(job)
  local member = job.tenant .. "\0" .. job.run
  if job.state == "leased" then
    local had_no_free_slot = not has_free_slot(job.tenant)
    local used = used_slots(job.tenant)
    used_slots_cache[job.tenant] = used - redis.call("ZREM", active, member)
    redis.call("ZREM", leases, job.run)
    -- The tenant's other ready jobs may use the slot.
    if had_no_free_slot then repair_rings(job.tenant) end
  elseif job.state == "timer" then
    redis.call("ZREM", timer, job.run)
  else
    redis.call("ZREM", queued_or_reserved, member)
    if job.state == "ready" then
      redis.call("ZREM", ready, job.run)
      redis.call("ZREM", order(job.lane), order_member(job))
      repair_ring(job.tenant, job.lane)
    elseif job.state == "due" then
      redis.call("ZREM", due, job.run)
    else
      redis.call("ZREM", reserved, job.run)
    end
  end
end

-- `at_ms`: for `due` and `timer` when the job is due; for `leased` and `reserved` when the lease or reservation lapses;
-- for `ready` since when the job is ready.
local function enter_state(job, state, at_ms)
  local member = job.tenant .. "\0" .. job.run
  job.state = state
  if state ~= "leased" then
    job.owner, job.requeue_at_ms = nil, nil
  end
  write_job(job)
  if state == "leased" then
    redis.call("ZADD", leases, integer_text(at_ms), job.run)
    local used = used_slots(job.tenant)
    used_slots_cache[job.tenant] = used + redis.call("ZADD", active, "0", member)
    if not has_free_slot(job.tenant) then repair_rings(job.tenant) end
  elseif state == "timer" then
    redis.call("ZADD", timer, integer_text(at_ms), job.run)
  else
    redis.call("ZADD", queued_or_reserved, "0", member)
    if state == "ready" then
      redis.call("ZADD", ready, integer_text(at_ms), job.run)
      redis.call("ZADD", order(job.lane), "0", order_member(job))
      if repair_ring(job.tenant, job.lane) then push_marker(job.lane) end
    elseif state == "due" then
      redis.call("ZADD", due, integer_text(at_ms), job.run)
    else
      redis.call("ZADD", reserved, integer_text(at_ms), job.run)
    end
  end
end

-- Makes a job ready at `at_ms`. `status` is the run's: until then a queued run counts against the tenant's queue, a
-- paused run does not.
local function schedule(job, status, at_ms)
  if at_ms <= now_ms then
    enter_state(job, "ready", now_ms)
  elseif status == "queued" then
    enter_state(job, "due", at_ms)
  else
    enter_state(job, "timer", at_ms)
  end
end

-- Schedules a job that is not leased for `at_ms`, unless it is ready or scheduled for an earlier time already.
local function bring_forward(job, lane, score, status, at_ms)
  local scheduled_ms = -math.huge
  if job.state == "reserved" then
    scheduled_ms = math.huge
  elseif job.state ~= "ready" then
    -- The score is missing only when its key was lost a moment ago. Then `at_ms` counts as earlier.
    scheduled_ms = tonumber(redis.call("ZSCORE", job.state == "due" and due or timer, job.run)) or math.huge
  end
  if at_ms < scheduled_ms then
    leave_state(job)
    job.lane, job.score = lane, score
    schedule(job, status, at_ms)
  end
end

local function remove_job(job)
  leave_state(job)
  redis.call("HDEL", jobs, job.run)
end

-- Returns the reply of a script that must not act on this shard, or nil. The reply is "cold", or an error for a caller
-- with another number of shards: it would put tenants on shards where other callers do not look for them.
local function check_index()
  local index_shards = redis.call("HGET", index, "shards")
  if not index_shards then return "cold" end
  if index_shards ~= caller_shards then
    return redis.error_reply(
      "SHARDS this queue is laid out for " .. index_shards .. " shards, the caller uses " .. caller_shards
    )
  end
end

-- Compares the sizes that are equal as long as no key has been evicted or deleted. If they differ, the index is deleted:
-- the shard is cold. Returns "cold" then, else nil.
local function check_sizes()
  local function size(key) return redis.call("ZCARD", key) end
  local n_ready, n_leases = size(ready), size(leases)
  local n_queued_or_reserved = size(reserved) + n_ready + size(due)
  local n_order = 0
  for _, lane in ipairs(LANES) do n_order = n_order + size(order(lane)) end
  local is_complete = redis.call("HLEN", jobs) == n_queued_or_reserved + size(timer) + n_leases
    and n_order == n_ready
    and size(active) == n_leases
    and size(queued_or_reserved) == n_queued_or_reserved
    and redis.call("HLEN", limits) == tonumber(redis.call("HGET", index, "tenants"))
  if is_complete then return nil end
  redis.call("DEL", index)
  return "cold"
end

-- Removes runs that were admitted and not committed in time; at most 100 a call.
local function drop_lapsed_reservations()
  for _, run in ipairs(redis.call("ZRANGEBYSCORE", reserved, "-inf", integer_text(now_ms), "LIMIT", 0, 100)) do
    remove_job(read_job(run))
  end
end

-- Removes the job of an ended run. A job that was enqueued while it was leased (a client's retry) is scheduled instead.
local function finish_job(run, owner)
  local job = read_job(run)
  if not job then return end
  local is_leased = job.state == "leased"
  -- A worker finishes only jobs that it holds; a caller without leases (`owner` empty) only jobs that are not leased.
  -- So a late or repeated `finish` never removes a job that came back.
  if is_leased ~= (owner ~= "") or (is_leased and job.owner ~= owner) then return end
  if job.requeue_at_ms then
    local at_ms = job.requeue_at_ms
    leave_state(job)
    schedule(job, "queued", at_ms)
  else
    remove_job(job)
  end
end
