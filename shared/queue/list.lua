-- Name jobs, in no order, a part of them a call: for a walk that looks whether they should exist.
--
-- KEYS  ready
-- ARGV  cursor ("0": from the start), count (roughly)
-- ->    the next cursor ("0": through), then run, tenant of each job; or "cold"

local no = refusal()
if no then return no end
local cursor, fields = unpack(redis.call("HSCAN", jobs, ARGV[1], "COUNT", ARGV[2]))
local found = { cursor }
for i = 1, #fields, 2 do
  found[#found + 1] = fields[i]
  found[#found + 1] = string.match(fields[i + 1], "^%l+\t([^\t]*)\t")
end
return found
