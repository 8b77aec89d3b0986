/**
 * The model notices when a script is broken: each mutation removes a line of a script or changes its meaning.
 *
 * The model cannot notice some mutations. They were made by hand, and these tests failed. cold.test.ts: sizes not
 * compared, one size not compared, shards not compared, a missing key taken for granted, limits recounted, a key left by
 * `reset`, `upto` lowered. lease.test.ts: `restoreLeases` refused to the rebuild. wake.test.ts: a marker for the jobs of
 * a tenant without a free slot. fairness.test.ts and cluster.test.ts break the scripts themselves: virtual time,
 * weights, newcomers, a key outside the tag.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { command } from "./commands.ts";
import { TestQueue } from "./fixture.ts";
import { History } from "./history.ts";
import { countPlaces, rewriteOf } from "./mutation.ts";

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

/** What is broken, the file, the code there, and what takes its place. */
const mutations: [what: string, file: string, from: string, to: string][] = [
  ["slots are not counted", "common.lua", "used_slots(tenant) < limit.concurrent", "true"],
  ["a slot that becomes free lets no tenant into a ring", "common.lua", "if had_no_free_slot or (", "if ("],
  [
    "a tenant without a free slot stays in the ring",
    "common.lua",
    'or (state == "leased" and not has_free_slot(tenant)) then',
    "then",
  ],
  [
    "a tenant without ready jobs stays in the ring",
    "common.lua",
    "repair_ring(tenant, job.lane, false, next_start)",
    "",
  ],
  [
    "the cached counts of a tenant do not follow its jobs",
    "common.lua",
    "if counts[tenant] then counts[tenant] = counts[tenant] + change end",
    "",
  ],
  ["cached limits outlive new ones", "common.lua", "limits_cache[tenant] = limit end", "end"],
  ["new limits let no tenant into a ring", "push-limits.lua", "repair_rings(tenant)", ""],
  ["a lower version replaces a higher one", "push-limits.lua", ">= current.version", ">= 0"],
  [
    "an enqueue that meets a lease is forgotten",
    "enqueue.lua",
    "job.requeue_at_ms = math.min(job.requeue_at_ms or math.huge, at_ms)",
    "",
  ],
  [
    "release forgets an enqueue that met the lease",
    "release.lua",
    "math.min(at_ms, job.requeue_at_ms or math.huge)",
    "at_ms",
  ],
  [
    "finish forgets an enqueue that met the lease",
    "common.lua",
    "if job.requeue_at_ms then",
    "if false then",
  ],
  [
    "a claim of a lapsed lease keeps an obsolete enqueue",
    "claim.lua",
    "job.owner, job.requeue_at_ms = owner, nil",
    "job.owner = owner",
  ],
  [
    "a lease restored to a new holder keeps an obsolete enqueue",
    "restore-leases.lua",
    "if job.owner ~= owner then job.requeue_at_ms = nil end",
    "",
  ],
  [
    "a lease restored to the same holder forgets an enqueue",
    "restore-leases.lua",
    "if job.owner ~= owner then job.requeue_at_ms = nil end",
    "job.requeue_at_ms = nil",
  ],
  [
    "restoreLeases takes the lease of a third worker",
    "restore-leases.lua",
    "elseif job.owner == holder or job.owner == owner then",
    "else",
  ],
  [
    "enqueue breaks a lease",
    "enqueue.lua",
    'elseif job.state == "leased" then job.requeue_at_ms',
    "elseif false then job.requeue_at_ms",
  ],
  [
    "the later of two times wins",
    "common.lua",
    "if at_ms < scheduled_ms then",
    "if at_ms > scheduled_ms then",
  ],
  [
    "finish checks no lease",
    "common.lua",
    'if is_leased ~= (owner ~= "") or (is_leased and job.owner ~= owner) then return end',
    "",
  ],
  ["a worker's finish removes a waiting job", "common.lua", 'is_leased ~= (owner ~= "") or ', ""],
  [
    "release ends another worker's lease",
    "release.lua",
    "elseif job.owner == owner then schedule",
    "else schedule",
  ],
  [
    "renew takes another worker's lease",
    "renew.lua",
    "elseif job.owner == owner then redis",
    "elseif true then redis",
  ],
  [
    "excess leases are not named",
    "claim.lua",
    "if has_excess(job.tenant) then excess[#excess + 1] = run end",
    "",
  ],
  [
    "a tenant with half of its slots in use is roomy",
    "claim.lua",
    "local ROOMY_SHARE = 8",
    "local ROOMY_SHARE = 2",
  ],
  ["lapsed leases are not claimed", "claim.lua", "lapse_ms ~= nil and lapse_ms <= now_ms", "false"],
  [
    "leases are claimed before they lapse",
    "claim.lua",
    'leases, "-inf", integer_text(now_ms)',
    'leases, "-inf", "+inf"',
  ],
  [
    "a lane serves a tenant that has left its ring",
    "claim.lua",
    "or (head.tenant == tenant and not has_free_slot(tenant))",
    "",
  ],
  [
    "the next lapse of a lease is forgotten",
    "claim.lua",
    "math.min(lapse_ms or math.huge, now_ms + lease_ms)",
    "nil",
  ],
  [
    "a new run loses what its tenant's bucket holds",
    "admit.lua",
    "limit.tokens, limit.tokens_at_ms = tokens - 1000, now_ms",
    "",
  ],
  ["limits that are pushed again fill the bucket", "push-limits.lua", "current and current.tokens,", "nil,"],
  [
    "lapsed leases exceed the caps of lanes",
    "claim.lua",
    "if may_take(job.tenant, job.lane) then job",
    "if slots > 0 and caps[job.lane] then job",
  ],
  [
    "lapsed leases pass their tenant's share",
    "claim.lua",
    "if may_take(job.tenant, job.lane) then job",
    "if slots > 0 and (caps[job.lane] or 0) > 0 then job",
  ],
  [
    "tenants pass their share",
    "claim.lua",
    'and (open > 0 or is_within_share(tenant, "", slots, least_in(lane, "")))',
    "",
  ],
  [
    "tenants pass their share of a lane",
    "claim.lua",
    "and (open_of[lane] > 0 or is_within_share(tenant, lane, caps[lane], least_in(lane, lane)))",
    "",
  ],
  ["tenants take slots whatever is free", "claim.lua", "own < n_free and", ""],
  ["a tenant without a run has no right to one", "claim.lua", "if own == 0 then return true end", ""],
  [
    "the runs that a worker holds already count for no tenant",
    "claim.lua",
    "hold(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]))",
    "",
  ],
  ["the runs that a claim takes count for no tenant", "claim.lua", "hold(job.tenant, job.lane, 1)", ""],
  ["open slots are never used up", "claim.lua", "slots, open = slots - 1, open - 1", "slots = slots - 1"],
  [
    "a tenant at its share hides the others of its ring",
    "claim.lua",
    "pass_over(tenant, lane) end end",
    "return end end",
  ],
  [
    "a tenant that reached its share during a claim is served",
    "claim.lua",
    "or not may_take(head.tenant, other)",
    "",
  ],
  ["due jobs do not become ready", "claim.lua", "ipairs({ due, timer })", "ipairs({ timer })"],
  ["timers do not become ready", "claim.lua", "ipairs({ due, timer })", "ipairs({ due })"],
  ["reservations do not lapse", "common.lua", "function(job) move(job, nil) end", "function(job) end"],
  [
    "caps of lanes are not counted",
    "claim.lua",
    "caps[job.lane], open_of[job.lane] = caps[job.lane] - 1,",
    "open_of[job.lane] =",
  ],
  ["a claim does not finish ended runs", "claim.lua", "do finish_job(ARGV[i], owner) end", "do end"],
  ["a job with a later start is ready at once", "enqueue.lua", "now_ms + tonumber(ARGV[i + 5])", "now_ms"],
  [
    "a job with a later start does not count as queued",
    "common.lua",
    "ready = queued_or_reserved, due = queued_or_reserved,",
    "ready = queued_or_reserved,",
  ],
  ["the newest job goes first", "common.lua", '"%015d", job.score', '"%015d", 9e14 - job.score'],
  [
    "a ready job wakes no worker",
    "common.lua",
    "if repair_ring(tenant, job.lane, true) then wake_for(tenant, job.lane) end",
    "repair_ring(tenant, job.lane, true)",
  ],
  [
    "jobs that a claim leaves wake no worker",
    "claim.lua",
    "push_marker(wake(lane)) if took_spare",
    "if took_spare",
  ],
  [
    "a free slot wakes no worker",
    "common.lua",
    "if repair_ring(tenant, lane) then wake_for(tenant, lane) end",
    "repair_ring(tenant, lane)",
  ],
  ["markers pile up", "common.lua", 'if redis.call("LLEN", marker) == 0 then', "if true then"],
  [
    "a tenant's queue has no limit",
    "admit.lua",
    "if is_quota_ready and counted(queued_or_reserved, tenant) >= limit.queued then",
    "if false then",
  ],
  [
    "a shard's depth has no limit",
    "admit.lua",
    "if is_quota_ready and depth() >= max_depth then",
    "if false then",
  ],
  ["the rate has no limit", "admit.lua", "if tokens < 1000 then", "if false then"],
  ["buckets overflow", "admit.lua", "return math.min(most, limit.tokens + ", "return (0 + limit.tokens + "],
  [
    "the runs that one admit accepts do not count for the depth",
    "common.lua",
    "n_queued_or_reserved = n_queued_or_reserved + change",
    "",
  ],
  ["a tenant's minute has no limit", "admit.lua", "if minute.total >= minute.most then", "if false then"],
  [
    "a minute forgets too early",
    "common.lua",
    "math.floor(now_ms / 1000) - MINUTE_SECONDS",
    "math.floor(now_ms / 1000) - 30",
  ],
  ["a minute never forgets", "common.lua", "if tonumber(second) >= first_second then", "if true then"],
  [
    "limits that are pushed again empty the minute",
    "push-limits.lua",
    "minute.most = tonumber(per_minute)",
    "minute = { most = tonumber(per_minute), admitted = {} }",
  ],
  ["a start that is given back still counts", "give-back.lua", "entry[2] = entry[2] - 1", ""],
  ["tokens that an admit spent are not written", "admit.lua", "write_limits(tenant, limit)", ""],
  [
    "a claim that moves jobs does not count them",
    "common.lua",
    'if n_ready then n_ready = n_ready + (state == "ready" and 1 or 0) - (from == "ready" and 1 or 0) end',
    "",
  ],
  [
    "a claim that finds ready jobs forgets those that wait",
    "claim.lua",
    'n_ready > 0 and redis.call("HLEN", jobs) == n_ready',
    "n_ready > 0",
  ],
  [
    "only the first lane with ready jobs is served",
    "claim.lua",
    "n_ready == 1 and first_lane or lane_at(-1)",
    "first_lane",
  ],
  [
    "a run that is known takes a second place",
    "admit.lua",
    'if redis.call("HEXISTS", jobs, run) == 1 then return admitted end',
    "",
  ],
  [
    "an index that is not quota ready counts",
    "common.lua",
    'is_quota_ready = quota_ready == "1"',
    "is_quota_ready = true",
  ],
  [
    "a late reset empties a shard with an index",
    "reset.lua",
    'if refusal ~= "cold" then return refusal or "known" end',
    "",
  ],
  [
    "a superseded rebuild begins the index",
    "index.lua",
    'and redis.call("HGET", index, "epoch") == ARGV[2] then',
    "then",
  ],
  [
    "a superseded rebuild restores leases",
    "restore-leases.lua",
    'redis.call("HGET", index, "epoch") ~= epoch',
    "false",
  ],
  [
    "the latest rebuild restores no leases",
    "restore-leases.lua",
    '(refusal or epoch ~= "") and redis.call("HGET", index, "epoch") ~= epoch',
    "refusal",
  ],
  ["invalidateCounts does nothing", "index.lua", 'if ARGV[1] == "invalidate_counts" then', "if false then"],
  ["paused runs count as queued", "common.lua", 'elseif status == "queued" then', "elseif true then"],
  ["a lane has no rate", "claim.lua", "bucket_of(lane).tokens >= START", "true"],
  [
    "a start takes nothing out of its lane's bucket",
    "claim.lua",
    "take_start(lane) add_to_reply(job)",
    "add_to_reply(job)",
  ],
  [
    "a lane's bucket is not written",
    "claim.lua",
    "buckets[lane].tokens - START, true",
    "buckets[lane].tokens - START, nil",
  ],
  [
    "a lane's bucket overflows",
    "claim.lua",
    "math.min(bursts[lane], tonumber(tokens) +",
    "(0 + tonumber(tokens) +",
  ],
  ["a lane's bucket is never filled", "claim.lua", "+ since_ms * rates[lane])", ")"],
  [
    "a lane's bucket begins full",
    "claim.lua",
    "asked_ms, changed[lane] = 0, now_ms",
    "asked_ms, changed[lane] = bursts[lane], now_ms",
  ],
  [
    "a lane that may start nothing is served",
    "claim.lua",
    "caps[lane] > 0 and may_start(lane) do",
    "caps[lane] > 0 do",
  ],
  ["no worker comes back for a lane's next start", "claim.lua", "lower_next(next_ms)", ""],
  [
    "a worker without room comes back for a lane's next start",
    "claim.lua",
    "if (caps[lane] or 0) <= 0 or slots <= 0 then return false end",
    "",
  ],
  [
    "every worker comes back for a lane's next start",
    "claim.lua",
    "if bucket.asked_ms > now_ms and bucket.asked_ms <= next_ms then return true end",
    "",
  ],
  [
    "a lane is left to a worker whose time is over",
    "claim.lua",
    "bucket.asked_ms > now_ms and bucket.asked_ms <= next_ms",
    "bucket.asked_ms > 0",
  ],
  [
    "a lane for which no worker can come back has no marker",
    "claim.lua",
    "or not is_next_claim_arranged(lane) then",
    "or (is_next_claim_arranged(lane) and false) then",
  ],
  [
    "lapsed leases of other lanes make a worker claim without pause",
    "claim.lua",
    '"(" .. integer_text(now_ms)',
    '"-inf"',
  ],
];

test("each mutation changes exactly one place of its file", () => {
  const misplaced = mutations.flatMap(([what, file, from, to]) => {
    const places = countPlaces({ file, from, to });
    return places === 1 ? [] : [`${what}: ${places} places in ${file}`];
  });
  expect(misplaced).toEqual([]);
});

test.each(mutations)("the model notices that %s", async (_, file, from, to) => {
  const queue = t.rewritten(rewriteOf({ file, from, to }));
  const histories = fc.array(command, { minLength: 60, maxLength: 100, size: "max" });
  const result = await fc.check(
    fc.asyncProperty(histories, async (commands) => {
      const history = new History(t, queue);
      await history.begin();
      for (const each of commands) await history.apply(each);
    }),
    // The model notices most mutations within a few histories, and the rare ones within 500.
    { numRuns: 500, endOnFailure: true },
  );
  expect(result.failed).toBe(true);
  // A broken script that does not even run would prove nothing.
  expect(String(result.errorInstance)).not.toContain("compiling");
});
