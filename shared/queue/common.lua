-- What all verbs of the queue share: the keys of a shard, and the moves of a job between its states.
--
-- All keys of a shard are in one slot of a Redis cluster: KEYS[1], the ready runs, is the hash tag of the others, so a
-- script may derive their names. The number of keys is fixed, whatever the number of tenants, so their sizes can prove
-- that no key is missing.
--
-- A job is in exactly one state, which its entry in `jobs` names. Only `move` changes the state of a job:
--   reserved  admitted, not committed yet      -> reserved, queued_or_reserved
--   ready     may be claimed                   -> ready, queued_or_reserved
--   due       queued, waits for its time       -> due, queued_or_reserved
--   timer     paused, waits for its time       -> timer
--   leased    a worker moves the run           -> leases, active
--
-- The last argument of every call is the caller's number of shards. It is removed from ARGV here.

local ready = KEYS[1]
local tag = "{" .. ready .. "}:"
local index, jobs, reserved, due, timer = tag .. "index", tag .. "jobs", tag .. "reserved", tag .. "due", tag .. "timer"
local leases, active, queued_or_reserved = tag .. "leases", tag .. "active", tag .. "queued_or_reserved"
local limits, virtual_times = tag .. "limits", tag .. "virtual_times"
local minutes, lane_starts = tag .. "minutes", tag .. "lane_starts"
local LANES = { "interactive", "default", "bulk", "mail", "webhooks" }
local function ring(lane) return tag .. "ring:" .. lane end
local function wake(lane) return tag .. "wake:" .. lane end
local function wake_spare(lane) return tag .. "wake_spare:" .. lane end

-- The set that orders the jobs of a state by time, and the set that counts them for their tenant.
local TIMED = { reserved = reserved, due = due, timer = timer, leased = leases }
local COUNTED = {
  reserved = queued_or_reserved, ready = queued_or_reserved, due = queued_or_reserved, leased = active,
}

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

-- A script reads a tenant's limits and counts once and keeps them up to date itself, as nothing else runs meanwhile.
-- This halves the cost of a batch of one tenant's jobs.
local limits_cache = {}
local counts_cache = { [active] = {}, [queued_or_reserved] = {} }

-- The size of `queued_or_reserved`, and how many jobs are ready. Nil: the script has not read it.
local n_queued_or_reserved, n_ready

-- Keeps the cached counts up to date. Call it when a job of the tenant has entered (`change` 1) or left (-1) one of the two sets.
local function keep_counts(key, tenant, change)
  local counts = counts_cache[key]
  if counts[tenant] then counts[tenant] = counts[tenant] + change end
  if key == queued_or_reserved and n_queued_or_reserved then n_queued_or_reserved = n_queued_or_reserved + change end
end

local function limits_of(tenant)
  if limits_cache[tenant] then return limits_cache[tenant] end
  local raw = redis.call("HGET", limits, tenant)
  if not raw then return nil end
  local version, concurrent, queued, per_second, weight, tokens, tokens_at_ms =
    string.match(raw, "^(%d+) (%d+) (%d+) (%d+) (%d+) ?(%d*) ?(%d*)$")
  limits_cache[tenant] = {
    version = tonumber(version), concurrent = tonumber(concurrent), queued = tonumber(queued),
    per_second = tonumber(per_second), weight = tonumber(weight),
    tokens = tonumber(tokens), tokens_at_ms = tonumber(tokens_at_ms),
  }
  return limits_cache[tenant]
end

-- `tokens`: what is left of the tenant's rate, in thousandths of a token so that it is an integer, at `tokens_at_ms`. Both are
-- nil before the tenant's first request.
local function write_limits(tenant, limit)
  local numbers = { limit.version, limit.concurrent, limit.queued, limit.per_second, limit.weight, limit.tokens, limit.tokens_at_ms }
  for i, number in ipairs(numbers) do numbers[i] = integer_text(number) end
  redis.call("HSET", limits, tenant, table.concat(numbers, " "))
  limits_cache[tenant] = limit
end

-- The runs that a tenant may start in a minute, and those of the last minute: a list of { second, count }, oldest first. It
-- has a key of its own, because scripts of earlier versions read and write `limits`. A tenant without an entry has no such
-- limit: only a version that knows this key can have set one.
local NO_LIMIT = 1000000000
local MINUTE_SECONDS = 60
local function read_minute(tenant)
  local most, text = string.match(redis.call("HGET", minutes, tenant) or "", "^(%d+) (.*)$")
  if not most then return { most = NO_LIMIT, admitted = {}, is_new = true } end
  local minute = { most = tonumber(most), admitted = {} }
  -- A second counts until 60 whole seconds lie between it and now. So no 60 s have more runs than `most`, and a run is
  -- forgotten after 61 s at the latest.
  local first_second = math.floor(now_ms / 1000) - MINUTE_SECONDS
  for second, count in string.gmatch(text, "(%d+):(%d+)") do
    if tonumber(second) >= first_second then
      minute.admitted[#minute.admitted + 1] = { tonumber(second), tonumber(count) }
    end
  end
  return minute
end

local function write_minute(tenant, minute)
  local parts = {}
  for i, entry in ipairs(minute.admitted) do parts[i] = integer_text(entry[1]) .. ":" .. integer_text(entry[2]) end
  redis.call("HSET", minutes, tenant, integer_text(minute.most) .. " " .. table.concat(parts, ","))
end

-- The cached count of a tenant's members: see `count_members`.
local function counted(key, tenant)
  local counts = counts_cache[key]
  counts[tenant] = counts[tenant] or count_members(key, tenant)
  return counts[tenant]
end
local function used_slots(tenant) return counted(active, tenant) end

-- Whether the tenant uses fewer slots than it has. A tenant without limits has none.
local function has_free_slot(tenant)
  local limit = limits_of(tenant)
  return limit ~= nil and used_slots(tenant) < limit.concurrent
end

-- The members of a tenant in a lane are adjacent in the ready set, in the order in which they are claimed.
local function ready_prefix(lane, tenant) return lane .. "\0" .. tenant .. "\0" end
local function ready_member(job)
  return ready_prefix(job.lane, job.tenant) .. string.format("%015d", job.score) .. "\0" .. job.run
end
local function first_ready_member(tenant, lane)
  if n_ready == 0 then return nil end
  local prefix = ready_prefix(lane, tenant)
  return redis.call("ZRANGEBYLEX", ready, "[" .. prefix, "(" .. string.sub(prefix, 1, -2) .. "\1", "LIMIT", 0, 1)[1]
end

-- Wakes one worker that blocks on this marker: `wake(lane)` is for workers with an open slot, `wake_spare(lane)` for workers
-- that have only spare slots. A script does so once for each marker.
local is_marked = {}
local function push_marker(marker)
  if is_marked[marker] then return end
  is_marked[marker] = true
  if redis.call("LLEN", marker) == 0 then redis.call("RPUSH", marker, "1") end
end

-- A tenant with fewer leases than this has a right to a spare slot of some worker. A tenant with more may have one too: it
-- gets it from the next claim of that worker, at the latest when a run of the worker ends. So a tenant that holds all slots
-- wakes no worker in vain with each job that it enqueues.
local FEW_LEASES = 8

-- Wakes a worker for a job that has become ready.
local function wake_for(tenant, lane)
  push_marker(wake(lane))
  if used_slots(tenant) < FEW_LEASES then push_marker(wake_spare(lane)) end
end

-- Puts a tenant into a lane's ring, or removes it: a tenant is in the ring if and only if it has a ready job in the lane
-- and a free slot. It enters at the ring's virtual time or at the end of its own last turn, whichever is later
-- (start-time fair queueing): a tenant gains nothing by being idle and loses nothing by coming back.
--
-- `is_ready`: the tenant is known to have a ready job in the lane. `next_start`: the tenant was served, and this is when
-- its next turn starts. Returns whether the tenant is in the ring.
local is_in_ring = {}
local function repair_ring(tenant, lane, is_ready, next_start)
  local place = lane .. "\0" .. tenant
  if not (has_free_slot(tenant) and (is_ready or first_ready_member(tenant, lane))) then
    redis.call("ZREM", ring(lane), tenant)
    is_in_ring[place] = nil
    return false
  end
  if next_start then
    redis.call("ZADD", ring(lane), next_start, tenant)
  elseif not is_in_ring[place] then
    local ring_time, tenant_time = unpack(redis.call("HMGET", virtual_times, lane, place))
    local start = math.max(tonumber(ring_time or 0), tonumber(tenant_time or 0))
    redis.call("ZADD", ring(lane), "NX", string.format("%.17g", start), tenant)
  end
  is_in_ring[place] = true
  return true
end

-- Call it after a change of the tenant's free slots. It wakes workers, because jobs may have been ready for long.
local function repair_rings(tenant)
  for _, lane in ipairs(LANES) do
    if repair_ring(tenant, lane) then wake_for(tenant, lane) end
  end
end

-- Moves a job to a state: from the state that its entry names, or from none when the job is new. It touches only the sets
-- in which the two states differ. A ready job keeps its lane and score until it has left the ready set.
--
-- `at_ms`: for `due` and `timer` when the job is due; for `leased` and `reserved` when the lease or reservation lapses.
-- `next_start`: see `repair_ring`, for a ready job that a claim serves. `state` nil removes the job.
local function move(job, state, at_ms, next_start)
  local from, tenant = job.state, job.tenant
  -- Without a ready job no tenant waits for the slot.
  local had_no_free_slot = from == "leased" and n_ready ~= 0 and not has_free_slot(tenant)

  local left, entered, member = COUNTED[from], COUNTED[state], tenant .. "\0" .. job.run
  if left ~= entered then
    if left then keep_counts(left, tenant, -redis.call("ZREM", left, member)) end
    if entered then keep_counts(entered, tenant, redis.call("ZADD", entered, "0", member)) end
  end

  if n_ready then n_ready = n_ready + (state == "ready" and 1 or 0) - (from == "ready" and 1 or 0) end
  if from == "ready" then
    redis.call("ZREM", ready, ready_member(job))
  elseif from then
    redis.call("ZREM", TIMED[from], job.run)
  end
  if state == "ready" then
    redis.call("ZADD", ready, "0", ready_member(job))
  elseif state then
    redis.call("ZADD", TIMED[state], integer_text(at_ms), job.run)
  end

  job.state = state
  if state ~= "leased" then
    job.owner, job.requeue_at_ms = nil, nil
  end
  if state then write_job(job) else redis.call("HDEL", jobs, job.run) end

  -- A slot that became free is for all ready jobs of the tenant. A tenant without a free slot leaves all rings.
  if had_no_free_slot or (state == "leased" and not has_free_slot(tenant)) then
    repair_rings(tenant)
  elseif state == "ready" then
    if repair_ring(tenant, job.lane, true) then wake_for(tenant, job.lane) end
  elseif from == "ready" then
    repair_ring(tenant, job.lane, false, next_start)
  end
end

-- Makes a job ready at `at_ms`. `status` is the run's: until then a queued run counts against the tenant's queue, a
-- paused run does not.
local function schedule(job, status, at_ms)
  if at_ms <= now_ms then
    move(job, "ready")
  elseif status == "queued" then
    move(job, "due", at_ms)
  else
    move(job, "timer", at_ms)
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
    job.lane, job.score = lane, score
    schedule(job, status, at_ms)
  end
end

-- What the index says of the shard, read by `check_index`.
local is_quota_ready, tenants_of_index, minutes_of_index, checked_ms

-- How many reservations `check_sizes` has found; nil: it has not compared in this call.
local n_reserved

-- Returns the reply of a script that must not act on this shard, or nil. The reply is "cold", or an error for a caller
-- with another number of shards: it would put tenants on shards where other callers do not look for them.
local function check_index()
  local shards, quota_ready
  shards, quota_ready, tenants_of_index, minutes_of_index, checked_ms =
    unpack(redis.call("HMGET", index, "shards", "quota_ready", "tenants", "minutes", "checked_ms"))
  is_quota_ready = quota_ready == "1"
  if not shards then return "cold" end
  if shards ~= caller_shards then
    return redis.error_reply(
      "SHARDS this queue is laid out for " .. shards .. " shards, the caller uses " .. caller_shards
    )
  end
end

-- For a shard that has lost a key, by an eviction or a deletion: deletes its index, so that the reconciler rebuilds the
-- shard. Returns the reply of the script.
local function drop_index()
  redis.call("DEL", index)
  return "cold"
end

-- Compares the sizes that are equal as long as no key has been evicted or deleted, at most once in CHECK_EVERY_MS: the
-- comparison is a third of the commands of a claim. Returns "cold" when they differ, else nil.
local CHECK_EVERY_MS = 100
local function check_sizes()
  local since_ms = now_ms - (tonumber(checked_ms) or -math.huge)
  if since_ms >= 0 and since_ms < CHECK_EVERY_MS then return nil end
  local function size(key) return redis.call("ZCARD", key) end
  local n_leases = size(leases)
  n_reserved = size(reserved)
  n_queued_or_reserved = n_reserved + size(ready) + size(due)
  local is_complete = redis.call("HLEN", jobs) == n_queued_or_reserved + size(timer) + n_leases
    and size(active) == n_leases
    and size(queued_or_reserved) == n_queued_or_reserved
    and redis.call("HLEN", limits) == tonumber(tenants_of_index)
    -- An index that an earlier version has begun does not count these.
    and (not minutes_of_index or redis.call("HLEN", minutes) == tonumber(minutes_of_index))
  if not is_complete then return drop_index() end
  redis.call("HSET", index, "checked_ms", integer_text(now_ms))
end

-- The time of the first job of a timed set, or nil.
local function first_time(key)
  local _, at_ms = unpack(redis.call("ZRANGE", key, 0, 0, "WITHSCORES"))
  return tonumber(at_ms)
end

-- Calls `act` with up to `count` jobs of a timed set whose time has come, earliest first. Returns the time of the first job
-- that remains, or nil; and as a second value "cold" when a job is missing, because a key was lost a moment ago.
local function each_due(key, count, act)
  local first_ms = first_time(key)
  if not first_ms or first_ms > now_ms then return first_ms end
  for _, run in ipairs(redis.call("ZRANGEBYSCORE", key, "-inf", integer_text(now_ms), "LIMIT", 0, count)) do
    local job = read_job(run)
    if not job then return nil, drop_index() end
    act(job)
  end
  return first_time(key)
end

-- Removes runs that were admitted and not committed in time; at most 100 a call.
local function drop_lapsed_reservations()
  if n_reserved == 0 then return nil end
  return each_due(reserved, 100, function(job) move(job, nil) end)
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
    schedule(job, "queued", job.requeue_at_ms)
  else
    move(job, nil)
  end
end
