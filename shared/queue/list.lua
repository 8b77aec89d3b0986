-- List jobs, in no order, some in each call: for a scan that finds jobs without a living run.
--
-- KEYS  ready
-- ARGV  cursor ("0": from the start), count (approximate)
-- ->    the next cursor ("0": all jobs are listed), then run, tenant of each job; or "cold"

local refusal = check_index()
if refusal then return refusal end
local cursor, fields = unpack(redis.call("HSCAN", jobs, ARGV[1], "COUNT", ARGV[2]))
local reply = { cursor }
for i = 1, #fields, 2 do
  reply[#reply + 1] = fields[i]
  reply[#reply + 1] = string.match(fields[i + 1], "^%l+\t([^\t]*)\t")
end
return reply
