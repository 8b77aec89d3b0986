-- Finish a worker's ended runs, then take ready jobs and lease them to it.
--
-- Jobs with a lapsed lease come first: they still use their tenant's slot, and their runs wait for a worker. Then lanes,
-- and in each lane tenants, take turns in proportion to their weights. A tenant's jobs are claimed in the order of their
-- scores. Taking and leasing are one script: if they were two and a worker died between them, the job would be neither
-- ready nor leased.
--
-- KEYS  ready
-- ARGV  owner, lease_ms, slots, n_ended, the ended runs, then lane, cap, weight of each lane
-- ->    next_ms (until the next due job or lapse, at most 60 000), then run, tenant of each claimed job; or "cold"

local refusal = check_index() or check_sizes()
if refusal then return refusal end
local owner, lease_ms, slots, n_ended = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local MAX_DUE = 100
-- High enough that lapsed jobs of lanes without a worker do not hide those that this worker may take.
local MAX_LAPSED = 5000

for i = 5, 4 + n_ended do finish_job(ARGV[i], owner) end
drop_lapsed_reservations()
for _, key in ipairs({ due, timer }) do
  for _, run in ipairs(redis.call("ZRANGEBYSCORE", key, "-inf", integer_text(now_ms), "LIMIT", 0, MAX_DUE)) do
    local job = read_job(run)
    leave_state(job)
    enter_state(job, "ready", now_ms)
  end
end

local caps, weights = {}, {}
for i = 5 + n_ended, #ARGV, 3 do
  caps[ARGV[i]], weights[ARGV[i]] = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
end

local NEXT_MS = 1
local reply = { 60000 }
local function add_to_reply(job)
  reply[#reply + 1] = job.run
  reply[#reply + 1] = job.tenant
  slots = slots - 1
  caps[job.lane] = caps[job.lane] - 1
end

for _, run in ipairs(redis.call("ZRANGEBYSCORE", leases, "-inf", integer_text(now_ms), "LIMIT", 0, MAX_LAPSED)) do
  if slots <= 0 then break end
  local job = read_job(run)
  if (caps[job.lane] or 0) > 0 then
    -- The new holder reads Postgres anew, so an enqueue that came during the old lease is obsolete.
    job.owner, job.requeue_at_ms = owner, nil
    write_job(job)
    redis.call("ZADD", leases, integer_text(now_ms + lease_ms), run)
    add_to_reply(job)
  end
end

-- Start-time fair queueing, the same among lanes and among the tenants of a lane: the smallest start is served, the
-- virtual time becomes that start, and the next turn of the served lane or tenant starts 1/weight later.
local function exact_text(number) return string.format("%.17g", number) end

local lane_fields = { "\0" }
for _, lane in ipairs(LANES) do lane_fields[#lane_fields + 1] = "\0" .. lane end
local lane_times = redis.call("HMGET", virtual_times, unpack(lane_fields))
local lanes_time, lane_next_start = tonumber(lane_times[1] or 0), {}
for i, lane in ipairs(LANES) do lane_next_start[lane] = tonumber(lane_times[i + 1] or 0) end

-- Returns the lane whose turn it is, the first tenant of its ring, and the start of that tenant's turn.
local function next_turn()
  local turn_lane, turn_lane_start, turn_tenant, turn_start
  for _, lane in ipairs(LANES) do
    if (caps[lane] or 0) > 0 then
      local tenant, start = unpack(redis.call("ZRANGE", ring(lane), 0, 0, "WITHSCORES"))
      local lane_start = math.max(lanes_time, lane_next_start[lane])
      if tenant and (not turn_lane or lane_start < turn_lane_start) then
        turn_lane, turn_lane_start, turn_tenant, turn_start = lane, lane_start, tenant, tonumber(start)
      end
    end
  end
  if not turn_lane then return nil end
  lanes_time, lane_next_start[turn_lane] = turn_lane_start, turn_lane_start + 1 / weights[turn_lane]
  return turn_lane, turn_tenant, turn_start
end

local served_lanes = {}
while slots > 0 do
  local lane, tenant, start = next_turn()
  if not lane then break end
  local member = first_ready_member(tenant, lane)
  local run = string.match(member or "", "([^%z]+)$")
  local job = run and read_job(run)
  -- A tenant in the ring without a ready job, or a ready run without a job: a key was lost a moment ago.
  if not job then
    redis.call("DEL", index)
    return "cold"
  end
  local next_start = exact_text(start + 1 / limits_of(tenant).weight)
  redis.call("HSET", virtual_times, lane, exact_text(start), lane .. "\0" .. tenant, next_start)
  leave_state(job)
  job.owner = owner
  enter_state(job, "leased", now_ms + lease_ms)
  -- If the tenant is still in the ring, its next turn comes after those of the others.
  redis.call("ZADD", ring(lane), "XX", next_start, tenant)
  add_to_reply(job)
  served_lanes[lane] = true
end
for lane in pairs(served_lanes) do
  local lane_start = exact_text(lane_next_start[lane])
  redis.call("HSET", virtual_times, "\0", exact_text(lanes_time), "\0" .. lane, lane_start)
end

-- Wake another worker for the jobs that remain.
if redis.call("ZCARD", ready) > 0 then
  for _, lane in ipairs(LANES) do
    if redis.call("ZCARD", ring(lane)) > 0 then push_marker(lane) end
  end
end

local function lower_next_ms(key, from)
  local _, at_ms = unpack(redis.call("ZRANGEBYSCORE", key, from, "+inf", "WITHSCORES", "LIMIT", 0, 1))
  if at_ms then reply[NEXT_MS] = math.max(0, math.min(reply[NEXT_MS], tonumber(at_ms) - now_ms)) end
end
for _, key in ipairs({ due, timer, reserved }) do lower_next_ms(key, "-inf") end
-- Of the leases only those that lapse later: a lapsed one that remains is not for this worker, so another call now would
-- not get it either.
lower_next_ms(leases, "(" .. integer_text(now_ms))
return reply
