-- Finish a worker's ended runs, then take ready jobs and lease them to it.
--
-- Jobs with a lapsed lease come first: they still use their tenant's slot, and their runs wait for a worker. Then lanes,
-- and in each lane tenants, take turns in proportion to their weights. A tenant's jobs are claimed in the order of their
-- scores. Taking and leasing are one script: if they were two and a worker died between them, the job would be neither
-- ready nor leased.
--
-- KEYS  ready
-- ARGV  owner, lease_ms, slots, n_ended, the ended runs, then lane, cap, weight of each lane
-- ->    next_ms (until the next due job or lapse, at most 60 000), n_ready (how many jobs remain ready),
--       then run, tenant of each claimed job; or "cold"

local refusal = check_index() or check_sizes()
if refusal then return refusal end
local owner, lease_ms, slots, n_ended = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local MAX_DUE = 100
-- High enough that lapsed jobs of lanes without a worker do not hide those that this worker may take.
local MAX_LAPSED = 5000

for i = 5, 4 + n_ended do finish_job(ARGV[i], owner) end

-- When the next job is due or the next lease or reservation lapses.
local next_at_ms = math.huge
local function lower_next(at_ms) next_at_ms = math.min(next_at_ms, at_ms or math.huge) end

local reserved_until_ms, cold = drop_lapsed_reservations()
if cold then return cold end
lower_next(reserved_until_ms)
for _, key in ipairs({ due, timer }) do
  local at_ms, cold_now = each_due(key, MAX_DUE, function(job) move(job, "ready") end)
  if cold_now then return cold_now end
  lower_next(at_ms)
end

local caps, weights = {}, {}
for i = 5 + n_ended, #ARGV, 3 do
  caps[ARGV[i]], weights[ARGV[i]] = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
end

local reply = { 60000, 0 }
local function add_to_reply(job)
  reply[#reply + 1] = job.run
  reply[#reply + 1] = job.tenant
  slots = slots - 1
  caps[job.lane] = caps[job.lane] - 1
end

local lapse_ms = first_time(leases)
local has_lapsed = lapse_ms ~= nil and lapse_ms <= now_ms
if has_lapsed then
  for _, run in ipairs(redis.call("ZRANGEBYSCORE", leases, "-inf", integer_text(now_ms), "LIMIT", 0, MAX_LAPSED)) do
    if slots <= 0 then break end
    local job = read_job(run)
    if not job then return drop_index() end
    if (caps[job.lane] or 0) > 0 then
      -- The new holder reads Postgres anew, so an enqueue that came during the old lease is obsolete.
      job.owner, job.requeue_at_ms = owner, nil
      write_job(job)
      redis.call("ZADD", leases, integer_text(now_ms + lease_ms), run)
      add_to_reply(job)
    end
  end
end

-- Start-time fair queueing, the same among lanes and among the tenants of a lane: the smallest start is served, the
-- virtual time becomes that start, and the next turn of the served lane or tenant starts 1/weight later.
local function exact_text(number) return string.format("%.17g", number) end

local n_ready = redis.call("ZCARD", ready)
-- The fields to write into `virtual_times`.
local times = {}
-- The first tenant of each lane's ring and the start of its turn, in the lanes that this worker serves.
local heads = {}
local function read_head(lane)
  local tenant, start = unpack(redis.call("ZRANGE", ring(lane), 0, 0, "WITHSCORES"))
  heads[lane] = tenant and { tenant = tenant, start = tonumber(start) }
end

local lanes_time, lane_next_start = 0, {}
if n_ready == 0 then
  -- A tenant in a ring has a ready job, unless a key was lost a moment ago.
  local rings = {}
  for i, lane in ipairs(LANES) do rings[i] = ring(lane) end
  if redis.call("EXISTS", unpack(rings)) > 0 then return drop_index() end
elseif slots > 0 then
  local lane_fields = { "\0" }
  for _, lane in ipairs(LANES) do lane_fields[#lane_fields + 1] = "\0" .. lane end
  local lane_times = redis.call("HMGET", virtual_times, unpack(lane_fields))
  lanes_time = tonumber(lane_times[1] or 0)
  for i, lane in ipairs(LANES) do
    lane_next_start[lane] = tonumber(lane_times[i + 1] or 0)
    if (caps[lane] or 0) > 0 then read_head(lane) end
  end
end

-- Returns the lane whose turn it is.
local function next_lane()
  local turn_lane, turn_start
  for _, lane in ipairs(LANES) do
    if heads[lane] and (caps[lane] or 0) > 0 then
      local start = math.max(lanes_time, lane_next_start[lane])
      if not turn_lane or start < turn_start then turn_lane, turn_start = lane, start end
    end
  end
  if not turn_lane then return nil end
  lanes_time, lane_next_start[turn_lane] = turn_start, turn_start + 1 / weights[turn_lane]
  times["\0"], times["\0" .. turn_lane] = lanes_time, lane_next_start[turn_lane]
  return turn_lane
end

while slots > 0 do
  local lane = next_lane()
  if not lane then break end
  local tenant, start = heads[lane].tenant, heads[lane].start
  local member = first_ready_member(tenant, lane)
  local job = member and read_job(string.match(member, "([^%z]+)$"))
  local limit = limits_of(tenant)
  -- A tenant in the ring without limits or a ready job, or a ready run without a job: a key was lost a moment ago.
  if not (job and limit) then return drop_index() end
  local next_start = start + 1 / limit.weight
  times[lane], times[lane .. "\0" .. tenant] = start, next_start
  job.owner = owner
  -- If the tenant stays in the ring, its next turn comes after those of the others.
  move(job, "leased", now_ms + lease_ms, exact_text(next_start))
  add_to_reply(job)
  n_ready = n_ready - 1
  -- The served tenant may have left this ring or, without a free slot, all rings.
  for other, head in pairs(heads) do
    if n_ready == 0 then
      heads[other] = nil
    elseif other == lane or (head.tenant == tenant and not has_free_slot(tenant)) then
      read_head(other)
    end
  end
end

local time_fields = {}
for field, value in pairs(times) do
  time_fields[#time_fields + 1] = field
  time_fields[#time_fields + 1] = exact_text(value)
end
if #time_fields > 0 then redis.call("HSET", virtual_times, unpack(time_fields)) end

-- Wake another worker for the jobs that remain.
if n_ready > 0 then
  for _, lane in ipairs(LANES) do
    if redis.call("ZCARD", ring(lane)) > 0 then push_marker(lane) end
  end
end

if has_lapsed then
  -- The next lease that lapses. A lapsed lease that remains does not count: this worker may not take its job, at the next
  -- call either.
  local _
  _, lapse_ms = unpack(redis.call(
    "ZRANGEBYSCORE", leases, "(" .. integer_text(now_ms), "+inf", "WITHSCORES", "LIMIT", 0, 1))
elseif #reply > 2 then
  lapse_ms = math.min(lapse_ms or math.huge, now_ms + lease_ms)
end
lower_next(tonumber(lapse_ms))
reply[1] = math.max(0, math.min(reply[1], next_at_ms - now_ms))
reply[2] = n_ready
return reply
