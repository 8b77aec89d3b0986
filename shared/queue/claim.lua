-- Finish a worker's ended runs, then take ready jobs and lease them to it.
--
-- Jobs with a lapsed lease come first: they still use their tenant's slot, and their runs wait for a worker. Then lanes,
-- and in each lane tenants, take turns in proportion to their weights. A tenant's jobs are claimed in the order of their
-- scores. Taking and leasing are one script: if they were two and a worker died between them, the job would be neither
-- ready nor leased.
--
-- `active` has all runs of a tenant that Postgres calls running. While it has no more members than the tenant has slots,
-- each of them may run. When it has more, some are not running: a worker died between its claim here and the one in
-- Postgres, and a run that was claimed directly meanwhile got its lease back. Redis does not know which, so the reply names
-- the lapsed leases of such a tenant, and of their runs only those that Postgres calls running may be claimed.
--
-- No tenant keeps another one from starting, however long its runs last. Any tenant may take one of the worker's `open` slots;
-- of the others, the spare ones, a tenant may take one more only while it holds fewer runs in this worker than slots are
-- free (the dynamic threshold of switches whose ports share one buffer: Choudhury and Hahne, 1998). Its first run it may always take.
-- This threshold is the same for all weights, so a heavy tenant reaches it first, and lighter ones would go past it. Therefore
-- a tenant that comes after tenants at their share goes past them only while, by weight, it then holds no more
-- than each of them. When its own turn comes first, only the threshold counts: so the turns decide, and weights hold however
-- full the worker is. The same holds inside a lane.
-- A tenant at its share is passed over: it keeps its place in the ring and the start of its turn.
--
-- A lane with a rate starts no more jobs than that, over all workers: each ready job that is leased takes one start out of the
-- lane's token bucket. A lapsed lease takes none, because its job has started. A bucket that Redis does not know is empty, so a
-- Redis that was emptied delays a lane by one start, and never lets it pass its rate. While a lane may start nothing, one
-- worker at a time claims again when the next start is due (`next_ms`), and no marker wakes the others.
--
-- KEYS  ready
-- ARGV  owner, lease_ms, slots, open, n_ended, the ended runs, n_held, then tenant, lane, count of the runs that the worker
--       holds, then lane, cap, open, weight, rate, burst of each lane: the rate in millionths of a start in a second (0: none),
--       the burst in billionths of a start
-- ->    next_ms (until the next due job or lapse, at most 60 000), n_ready (how many jobs remain ready), the runs of
--       excess leases, the roomy tenants of the claimed jobs, then run, tenant of each claimed job; or "cold"

local refusal = check_index() or check_sizes()
if refusal then return refusal end
local owner, lease_ms, slots, open = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local n_ended = tonumber(ARGV[5])
local n_held = tonumber(ARGV[6 + n_ended])
local held_at = 7 + n_ended
local lanes_at = held_at + 3 * n_held

local MAX_DUE = 100
-- High enough that lapsed jobs of lanes without a worker do not hide those that this worker may take.
local MAX_LAPSED = 5000

for i = 6, 5 + n_ended do finish_job(ARGV[i], owner) end

-- `move` keeps this count. When all jobs are ready, none waits for a time: one size takes the place of four searches.
n_ready = redis.call("ZCARD", ready)
local is_all_ready = n_ready > 0 and redis.call("HLEN", jobs) == n_ready

-- When the next job is due or the next lease or reservation lapses.
local next_at_ms = math.huge
local function lower_next(at_ms) next_at_ms = math.min(next_at_ms, at_ms or math.huge) end

if not is_all_ready then
  local reserved_until_ms, cold = drop_lapsed_reservations()
  if cold then return cold end
  lower_next(reserved_until_ms)
  for _, key in ipairs({ due, timer }) do
    local at_ms, cold_now = each_due(key, MAX_DUE, function(job) move(job, "ready") end)
    if cold_now then return cold_now end
    lower_next(at_ms)
  end
end

local caps, open_of, weights, rates, bursts = {}, {}, {}, {}, {}
for i = lanes_at, #ARGV, 6 do
  local lane, rate = ARGV[i], tonumber(ARGV[i + 4])
  caps[lane], open_of[lane], weights[lane] = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  if rate > 0 then rates[lane], bursts[lane] = rate, tonumber(ARGV[i + 5]) end
end

-- How many runs of each tenant the worker holds: in all lanes, which is under "", and in each lane.
local held = { [""] = {} }
local function hold(tenant, lane, count)
  held[lane] = held[lane] or {}
  for _, place in ipairs({ "", lane }) do held[place][tenant] = (held[place][tenant] or 0) + count end
end
for i = held_at, lanes_at - 1, 3 do hold(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])) end

local function held_in(place, tenant) return held[place] and held[place][tenant] or 0 end

local function weight_of(tenant)
  local limit = limits_of(tenant)
  return limit and limit.weight or 1
end

-- Whether one more run of the tenant is within its share of the worker's slots (`place` is ""), or of a lane's. `least`: the least
-- number of runs for each 1 of weight that any tenant holds there which this tenant would go past.
local function is_within_share(tenant, place, n_free, least)
  local own = held_in(place, tenant)
  if own == 0 then return true end
  return own < n_free and own + 1 <= least * weight_of(tenant)
end

-- `passed`: by lane, how many of the first tenants in the ring were passed over; the worker holds a run of each of them. `least`: by
-- lane, the least number of runs for each 1 of weight that any of them holds: in the whole worker (under "") and in the lane.
local passed, least = {}, {}
local function least_in(lane, place) return least[lane] and least[lane][place] or math.huge end
local function pass_over(tenant, lane)
  passed[lane] = (passed[lane] or 0) + 1
  least[lane] = least[lane] or {}
  for _, place in ipairs({ "", lane }) do
    least[lane][place] = math.min(least_in(lane, place), held_in(place, tenant) / weight_of(tenant))
  end
end

-- Whether the worker may take one more run of the tenant in the lane, past the tenants that were passed over there. While `passed`
-- does not change, an answer `false` holds for the rest of this call: the worker's slots only become fewer, and the runs that it
-- holds of a tenant only become more. A tenant that was passed over and then gets a run in another lane counts as it was, so the next
-- claim, for which there is a marker, takes what may go past it then. A run with a lapsed lease uses its tenant's slot already and
-- waits for no turn, so it goes past no tenant.
local function may_take(tenant, lane)
  return slots > 0 and (caps[lane] or 0) > 0
    and (open > 0 or is_within_share(tenant, "", slots, least_in(lane, "")))
    and (open_of[lane] > 0 or is_within_share(tenant, lane, caps[lane], least_in(lane, lane)))
end

local excess = {}
local roomy = {}
local reply = { 60000, 0, excess, roomy }
local taken_of = {}
local took_spare = false
local function add_to_reply(job)
  reply[#reply + 1] = job.run
  reply[#reply + 1] = job.tenant
  taken_of[job.tenant] = true
  took_spare = took_spare or open <= 0 or open_of[job.lane] <= 0
  slots, open = slots - 1, open - 1
  caps[job.lane], open_of[job.lane] = caps[job.lane] - 1, open_of[job.lane] - 1
  hold(job.tenant, job.lane, 1)
end

-- Whether the tenant has more leases than slots.
local function has_excess(tenant)
  local limit = limits_of(tenant)
  return limit == nil or used_slots(tenant) > limit.concurrent
end

local lapse_ms = not is_all_ready and first_time(leases) or nil
local has_lapsed = lapse_ms ~= nil and lapse_ms <= now_ms
if has_lapsed then
  for _, run in ipairs(redis.call("ZRANGEBYSCORE", leases, "-inf", integer_text(now_ms), "LIMIT", 0, MAX_LAPSED)) do
    if slots <= 0 then break end
    local job = read_job(run)
    if not job then return drop_index() end
    if may_take(job.tenant, job.lane) then
      -- The new holder reads Postgres anew, so an enqueue that came during the old lease is obsolete.
      job.owner, job.requeue_at_ms = owner, nil
      write_job(job)
      redis.call("ZADD", leases, integer_text(now_ms + lease_ms), run)
      if has_excess(job.tenant) then excess[#excess + 1] = run end
      add_to_reply(job)
    end
  end
end

-- Start-time fair queueing, the same among lanes and among the tenants of a lane: the smallest start is served, the
-- virtual time becomes that start, and the next turn of the served lane or tenant starts 1/weight later.
local function exact_text(number) return string.format("%.17g", number) end

-- The lanes that may have ready jobs. The ready set is in the order of its lanes, so its ends name the first and the last.
local first_lane, last_lane
if n_ready > 0 then
  local function lane_at(position) return string.match(redis.call("ZRANGE", ready, position, position)[1], "^(%l+)%z") end
  first_lane = lane_at(0)
  last_lane = n_ready == 1 and first_lane or lane_at(-1)
end
local function may_have_ready(lane) return n_ready > 0 and first_lane <= lane and lane <= last_lane end

-- The token buckets of lanes with a rate, as far as this call has read them. `tokens`: how much the lane may start, in billionths of
-- a start, so that it is an integer. `asked_ms`: the time at which the worker that was asked last claims again.
local START = 1000000000
local buckets, changed = {}, {}
local function bucket_of(lane)
  if buckets[lane] then return buckets[lane] end
  local tokens, at_ms, asked_ms = string.match(redis.call("HGET", lane_starts, lane) or "", "^(%d+) (%d+) (%d+)$")
  if not tokens then tokens, at_ms, asked_ms, changed[lane] = 0, now_ms, 0, true end
  -- A time in the future was written before the clock was set back.
  local since_ms = now_ms - tonumber(at_ms)
  if since_ms < 0 then since_ms, changed[lane] = 0, true end
  buckets[lane] = { tokens = math.min(bursts[lane], tonumber(tokens) + since_ms * rates[lane]), asked_ms = tonumber(asked_ms) }
  return buckets[lane]
end
local function may_start(lane) return not rates[lane] or bucket_of(lane).tokens >= START end
local function take_start(lane)
  if not rates[lane] then return end
  buckets[lane].tokens, changed[lane] = buckets[lane].tokens - START, true
end

-- The fields to write into `virtual_times`.
local times = {}
-- By lane, of the lanes that this worker serves: the first tenant of the ring that may have a slot, and the start of its turn.
local heads = {}
local function read_head(lane)
  heads[lane] = nil
  while slots > 0 and caps[lane] > 0 and may_start(lane) do
    local at = integer_text(passed[lane] or 0)
    local tenant, start = unpack(redis.call("ZRANGE", ring(lane), at, at, "WITHSCORES"))
    if not tenant then return end
    if may_take(tenant, lane) then
      heads[lane] = { tenant = tenant, start = tonumber(start) }
      return
    end
    pass_over(tenant, lane)
  end
end

-- `ring_times`: the virtual time of each ring. It never goes back, although a tenant that was passed over starts earlier.
local lanes_time, lane_next_start, ring_times = 0, {}, {}
if n_ready == 0 then
  -- A tenant in a ring has a ready job, unless a key was lost a moment ago.
  local rings = {}
  for i, lane in ipairs(LANES) do rings[i] = ring(lane) end
  if redis.call("EXISTS", unpack(rings)) > 0 then return drop_index() end
elseif slots > 0 then
  local lane_fields = { "\0" }
  for _, lane in ipairs(LANES) do lane_fields[#lane_fields + 1] = "\0" .. lane end
  for _, lane in ipairs(LANES) do lane_fields[#lane_fields + 1] = lane end
  local lane_times = redis.call("HMGET", virtual_times, unpack(lane_fields))
  lanes_time = tonumber(lane_times[1] or 0)
  for i, lane in ipairs(LANES) do
    lane_next_start[lane] = tonumber(lane_times[i + 1] or 0)
    ring_times[lane] = tonumber(lane_times[i + 1 + #LANES] or 0)
    if (caps[lane] or 0) > 0 and may_have_ready(lane) then read_head(lane) end
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
  ring_times[lane] = math.max(ring_times[lane], start)
  times[lane], times[lane .. "\0" .. tenant] = ring_times[lane], next_start
  job.owner = owner
  -- If the tenant stays in the ring, its next turn comes after those of the others.
  move(job, "leased", now_ms + lease_ms, exact_text(next_start))
  take_start(lane)
  add_to_reply(job)
  -- The served tenant may have left this ring or, without a free slot, all rings: also one in which it was passed over.
  if not has_free_slot(tenant) then passed, least = {}, {} end
  for other, head in pairs(heads) do
    if n_ready == 0 then
      heads[other] = nil
    elseif other == lane or (head.tenant == tenant and not has_free_slot(tenant)) or not may_take(head.tenant, other) then
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

-- Returns whether a worker claims again when the lane's next start is due. A worker that was asked and whose time is still to come
-- does; else this worker is asked, if it has room. A time that was written before the clock was set back lies after the next start,
-- and does not count.
local MIN_PAUSE_MS = 20
local function is_next_claim_arranged(lane)
  local bucket = buckets[lane]
  local next_ms = now_ms + math.max(MIN_PAUSE_MS, math.ceil((START - bucket.tokens) / rates[lane]))
  if bucket.asked_ms > now_ms and bucket.asked_ms <= next_ms then return true end
  if (caps[lane] or 0) <= 0 or slots <= 0 then return false end
  bucket.asked_ms, changed[lane] = next_ms, true
  lower_next(next_ms)
  return true
end

-- Wake another worker for the jobs that remain: one with an open slot, and one with spare slots only if this worker took jobs
-- in spare slots or has no slot left. A worker whose spare slots are for none of the remaining tenants wakes no other
-- one like it: they would wake each other without end.
if n_ready > 0 then
  for _, lane in ipairs(LANES) do
    if may_have_ready(lane) and redis.call("ZCARD", ring(lane)) > 0 then
      if may_start(lane) or not is_next_claim_arranged(lane) then
        push_marker(wake(lane))
        if took_spare or slots <= 0 then push_marker(wake_spare(lane)) end
      end
    end
  end
end

for lane in pairs(changed) do
  local bucket = buckets[lane]
  local fields = { integer_text(bucket.tokens), integer_text(now_ms), integer_text(bucket.asked_ms) }
  redis.call("HSET", lane_starts, lane, table.concat(fields, " "))
end

if has_lapsed then
  -- The next lease that lapses. A lapsed lease that remains does not count: this worker may not take its job, at the next
  -- call either.
  local _
  _, lapse_ms = unpack(redis.call(
    "ZRANGEBYSCORE", leases, "(" .. integer_text(now_ms), "+inf", "WITHSCORES", "LIMIT", 0, 1))
elseif #reply > 4 then
  lapse_ms = math.min(lapse_ms or math.huge, now_ms + lease_ms)
end
lower_next(tonumber(lapse_ms))
-- A tenant is roomy when it uses few of its slots: the worker may then finish its ended runs later. The counts are in the caches.
local ROOMY_SHARE = 8
for tenant in pairs(taken_of) do
  local limit = limits_of(tenant)
  if limit and used_slots(tenant) * ROOMY_SHARE <= limit.concurrent then roomy[#roomy + 1] = tenant end
end

reply[1] = math.max(0, math.min(reply[1], next_at_ms - now_ms))
reply[2] = n_ready
return reply
