/**
 * The model notices when a script is broken: each of these takes a line out of the scripts or turns it.
 *
 * What the model cannot see was broken by hand and seen red elsewhere. cold.test.ts: sizes not compared, one size not
 * compared, shards not compared, a missing key taken for granted, limits counted anew, a key left by `reset`, `upto`
 * set back. lease.test.ts: `hold` refused to who rebuilds. wake.test.ts: a marker for a full tenant's jobs.
 * fairness.test.ts and cluster.test.ts break the scripts themselves: virtual time, weights, newcomers, a key outside
 * the tag.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { command } from "./commands.ts";
import { TestQueue } from "./fixture.ts";
import { History } from "./history.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

/** What is broken, the text in the scripts, and what takes its place. */
const mutations: [what: string, from: string, to: string][] = [
  ["the slots are not counted", "used_slots(tenant) < limit.concurrent", "true"],
  ["the slot is not given back", "if was_full then settle_all(job.tenant) end", ""],
  ["who is full stays in the ring", "if not has_slot(job.tenant) then settle_all(job.tenant) end", ""],
  ["who has no more jobs stays in the ring", "      settle(job.tenant, job.lane)\n", ""],
  ["the count of used slots is not brought forward", "slots_used[job.tenant] = used + ", "local _ = "],
  ["the limits read are kept over new ones", "limits_read[tenant] = nil", ""],
  ["new limits let nobody in", "    settle_all(tenant)\n", ""],
  ["a lower version replaces a higher", ">= known.version", ">= 0"],
  ["a wake-up of a leased job is forgotten", "job.again = math.min(job.again or math.huge, at_ms)", ""],
  ["release forgets it", "at_ms = math.min(at_ms, job.again or math.huge)", ""],
  ["finish forgets it", "if job.again then", "if false then"],
  ["a new lease keeps it", "job.owner, job.again = owner, nil", "job.owner = owner"],
  ["hold by another keeps it", "if job.owner ~= owner then job.again = nil end", ""],
  ["hold by the same forgets it", "if job.owner ~= owner then job.again = nil end", "job.again = nil"],
  ["hold robs a third worker", "elseif job.owner == caller or job.owner == owner then", "else"],
  [
    "enqueue breaks a lease",
    'elseif job.state == "leased" then\n    job.again',
    "elseif false then\n    job.again",
  ],
  ["the later of two times wins", "if at_ms < waits_until then", "if at_ms > waits_until then"],
  ["finish asks nobody", 'if leased ~= (owner ~= "") or (leased and job.owner ~= owner) then return end', ""],
  ["finish takes what waits", 'leased ~= (owner ~= "") or ', ""],
  ["release takes from another", "elseif job.owner == owner then\n    at_ms", "else\n    at_ms"],
  ["renew takes from another", "elseif job.owner == owner then\n    redis", "elseif true then\n    redis"],
  ["lapsed leases do not come back", 'leases, "-inf", whole(now_ms)', 'leases, "-inf", 0'],
  ["lapsed leases come before their time", 'leases, "-inf", whole(now_ms)', 'leases, "-inf", "+inf"'],
  [
    "lapsed leases pass the caps",
    "if (caps[job.lane] or 0) > 0 then\n    job",
    "if caps[job.lane] then\n    job",
  ],
  ["due jobs do not come back", "ipairs({ due, timer }) do", "ipairs({ timer }) do"],
  ["timers do not come back", "ipairs({ due, timer }) do", "ipairs({ due }) do"],
  ["reservations do not lapse", 'reserved, "-inf", whole(now_ms)', 'reserved, "-inf", 0'],
  ["the caps are not counted", "caps[job.lane] = caps[job.lane] - 1", ""],
  ["the ended runs are not ended", "do finish(ARGV[i], owner) end", "do end"],
  ["the newest job goes first", '"%015d", job.score', '"%015d", 9e14 - job.score'],
  [
    "nobody is woken",
    "if settle(job.tenant, job.lane) then mark(job.lane) end",
    "settle(job.tenant, job.lane)",
  ],
  ["nobody is woken for what is left", "> 0 then mark(lane) end", "> 0 then end"],
  ["nobody is woken for a free slot", "if settle(tenant, lane) then mark(lane) end", "settle(tenant, lane)"],
  ["markers pile up", 'if redis.call("LLEN", wake(lane)) == 0 then', "if true then"],
  ["the queue has no limit", "if counts and count_of(open, tenant) >= limit.queued then", "if false then"],
  ["the shard has no depth", 'if counts and redis.call("ZCARD", open) >= max_depth then', "if false then"],
  ["the rate has no limit", "if tokens < 1000 then", "if false then"],
  ["buckets overflow", "return math.min(1000 * per_second, ", "return (0 + "],
  [
    "who is here asks for a second place",
    'if redis.call("HEXISTS", jobs, run) == 1 then return counts and "ok" or "rebuilding" end',
    "",
  ],
  [
    "a rebuild is not waited for",
    'local counts = redis.call("HGET", index, "full") == "1"',
    "local counts = true",
  ],
  ["a reset that comes late empties what is known", 'if no ~= "cold" then return no or "known" end', ""],
  ["who was reset begins", ' and redis.call("HGET", index, "epoch") == ARGV[2] then', " then"],
  ["who was reset holds", 'redis.call("HGET", index, "epoch") ~= epoch', "false"],
  ["who rebuilds holds nothing", '(no or epoch ~= "") and redis.call("HGET", index, "epoch") ~= epoch', "no"],
  ["who doubts is not heard", 'if ARGV[1] == "doubt" then', "if false then"],
  ["paused runs are counted as queued", 'elseif status == "queued" then', "elseif true then"],
  ["lapsed leases make the worker ask without end", '"(" .. whole(now_ms)', '"-inf"'],
];

test.each(mutations)("the model notices that %s", { timeout: 60_000 }, async (_, from, to) => {
  let found = false;
  const queue = t.rewritten((source) => {
    found ||= source.includes(from);
    return source.replaceAll(from, () => to);
  });
  const histories = fc.array(command, { minLength: 60, maxLength: 100, size: "max" });
  const result = await fc.check(
    fc.asyncProperty(histories, async (commands) => {
      const history = new History(t, queue);
      await history.begin();
      for (const each of commands) await history.act(each);
    }),
    // Most are noticed in a few; as many as it takes, for the rare ones.
    { numRuns: 500, endOnFailure: true },
  );
  expect(found, "the text is in the scripts").toBe(true);
  expect(result.failed).toBe(true);
  // A broken script that does not even run would prove nothing.
  expect(String(result.errorInstance)).not.toContain("compiling");
});
