-- Take ready jobs and lease them to a worker.
--
-- Jobs whose lease has lapsed come first: they hold their tenant's slot already, and somebody is waiting for them.
-- Then lanes and, in a lane, tenants take turns in proportion to their weights, and a tenant's jobs go by score.
-- Taking and leasing are one script because a worker that died between the two would take the job with it.
--
-- KEYS  ready
-- ARGV  owner, lease_ms, slots, n_ended, the ended runs, then lane, cap, weight of each lane
-- ->    next_ms (to the next due job or lapse, at most 60 000), then run, tenant of each claimed job; or "cold"

local no = refusal() or check_sizes()
if no then return no end
local owner, lease_ms, slots, n_ended = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local MAX_DUE = 100
-- So many that what nobody serves any more does not hide what this worker may take.
local MAX_LAPSED = 5000

for i = 5, 4 + n_ended do finish(ARGV[i], owner) end
drop_lapsed_reservations()
for _, key in ipairs({ due, timer }) do
  for _, run in ipairs(redis.call("ZRANGEBYSCORE", key, "-inf", whole(now_ms), "LIMIT", 0, MAX_DUE)) do
    local job = read(run)
    leave(job)
    enter(job, "ready", now_ms)
  end
end

local caps, weights = {}, {}
for i = 5 + n_ended, #ARGV, 3 do
  caps[ARGV[i]], weights[ARGV[i]] = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
end

local reply = { 0 }
local function take(job)
  reply[#reply + 1] = job.run
  reply[#reply + 1] = job.tenant
  slots = slots - 1
  caps[job.lane] = caps[job.lane] - 1
end

for _, run in ipairs(redis.call("ZRANGEBYSCORE", leases, "-inf", whole(now_ms), "LIMIT", 0, MAX_LAPSED)) do
  if slots <= 0 then break end
  local job = read(run)
  if (caps[job.lane] or 0) > 0 then
    job.owner, job.again = owner, nil
    write(job)
    redis.call("ZADD", leases, whole(now_ms + lease_ms), run)
    take(job)
  end
end

-- Start-time fair queueing, the same among lanes and among the tenants of a lane: who has the smallest start is
-- served, the virtual time becomes that start, and his next turn starts 1/weight later.
local function text(number) return string.format("%.17g", number) end

local lane_fields = { "\0" }
for _, lane in ipairs(LANES) do lane_fields[#lane_fields + 1] = "\0" .. lane end
local lane_tags = redis.call("HMGET", tags, unpack(lane_fields))
local lanes_time, lane_finish = tonumber(lane_tags[1] or 0), {}
for i, lane in ipairs(LANES) do lane_finish[lane] = tonumber(lane_tags[i + 1] or 0) end

-- The lane whose turn it is, and the first tenant of its ring with the start of his turn.
local function next_turn()
  local best, best_start, tenant, start
  for _, lane in ipairs(LANES) do
    if (caps[lane] or 0) > 0 then
      local first, first_start = unpack(redis.call("ZRANGE", ring(lane), 0, 0, "WITHSCORES"))
      local lane_start = math.max(lanes_time, lane_finish[lane])
      if first and (not best or lane_start < best_start) then
        best, best_start, tenant, start = lane, lane_start, first, tonumber(first_start)
      end
    end
  end
  if not best then return nil end
  lanes_time, lane_finish[best] = best_start, best_start + 1 / weights[best]
  return best, tenant, start
end

local lanes_served = {}
while slots > 0 do
  local lane, tenant, start = next_turn()
  if not lane then break end
  local member = first_ready(tenant, lane)
  local run = string.match(member or "", "([^%z]+)$")
  local job = run and read(run)
  -- An order without its job, or a ring without its order: a key was lost a moment ago.
  if not job then
    redis.call("DEL", index)
    return "cold"
  end
  local next_start = text(start + 1 / limits_of(tenant).weight)
  redis.call("HSET", tags, lane, text(start), lane .. "\0" .. tenant, next_start)
  leave(job)
  job.owner = owner
  enter(job, "leased", now_ms + lease_ms)
  -- Behind the others, if the move has left it in the ring.
  redis.call("ZADD", ring(lane), "XX", next_start, tenant)
  take(job)
  lanes_served[lane] = true
end
for lane in pairs(lanes_served) do
  redis.call("HSET", tags, "\0", text(lanes_time), "\0" .. lane, text(lane_finish[lane]))
end

if redis.call("ZCARD", ready) > 0 then
  for _, lane in ipairs(LANES) do
    if redis.call("ZCARD", ring(lane)) > 0 then mark(lane) end
  end
end

local next_ms = 60000
local function wait_at_most_until(key, from)
  local _, at_ms = unpack(redis.call("ZRANGEBYSCORE", key, from, "+inf", "WITHSCORES", "LIMIT", 0, 1))
  if at_ms then next_ms = math.max(0, math.min(next_ms, tonumber(at_ms) - now_ms)) end
end
for _, key in ipairs({ due, timer, reserved }) do wait_at_most_until(key, "-inf") end
-- Of the leases only those to come: what has lapsed and is left is not for this worker, and asking again is no use.
wait_at_most_until(leases, "(" .. whole(now_ms))
reply[1] = next_ms
return reply
