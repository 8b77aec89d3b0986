/** One random command to the queue. */
import fc from "fast-check";
import type { Lane } from "../../../shared/contracts/run.ts";
import type { Job, JobWait } from "../../../shared/queue/job.ts";
import { NO_LIMIT } from "../../../shared/queue/limits.ts";
import type { Limits } from "../../../shared/queue/limits.ts";
import type { LaneRule, Shares } from "../../../shared/queue/claim.ts";
import { job, limits, START_MS, tenant } from "./fixture.ts";

const TENANTS = ["acme", "beta", "gamma"] as const;

const number = fc.nat(8);
/** Few lanes and workers, so that commands meet the same ones. */
const lane = fc.constantFrom<Lane>("interactive", "default", "default", "bulk");
const worker = fc.constantFrom("w1", "w1", "w1", "w2", "w3");
const leaseMs = fc.constantFrom(5000, 15_000);
/** The epoch of the latest reset (0), or of the one before (1). */
const rebuild = fc.constantFrom(0, 0, 1);
const numbers = fc.array(number, { minLength: 1, maxLength: 4 });

const aJob = (n: number): Job => job(n, TENANTS[n % TENANTS.length] ?? "acme");
export const jobs = (ns: number[]): Job[] => ns.map(aJob);
const waitingJobs = fc.array(
  fc
    .record({
      n: number,
      lane,
      delayMs: fc.constantFrom(0, 0, 0, 10, 5000, 40_000),
      status: fc.constantFrom<JobWait["status"]>("queued", "queued", "paused"),
      earlierMs: fc.constantFrom(0, 0, 60_000),
    })
    .map(({ n, earlierMs, ...rest }) => ({ ...aJob(n), ...rest, score: START_MS + n - earlierMs })),
  { minLength: 1, maxLength: 4 },
);

/** Few open slots, so that tenants meet their shares. */
const shares: fc.Arbitrary<Shares> = fc.record({
  open: fc.constantFrom(0, 0, 1, 3),
  openLanes: fc.record({ interactive: fc.nat(2), default: fc.nat(2), bulk: fc.nat(2) }),
  held: fc.array(
    fc.record({
      tenant: fc.constantFrom(...TENANTS).map(tenant),
      lane,
      count: fc.integer({ min: 1, max: 4 }),
    }),
    { maxLength: 3 },
  ),
});

/** Rates that the steps of the clock meet, also in the middle of a start. Most claims have none. */
const rule: fc.Arbitrary<LaneRule> = fc.record({
  weight: fc.integer({ min: 1, max: 4 }),
  starts_per_second: fc.constantFrom(null, null, 0.5, 3, 100),
});
const rules = fc.record({ interactive: rule, default: rule, bulk: rule });

const someLimits: fc.Arbitrary<Limits> = fc
  .record({
    tenantName: fc.constantFrom(...TENANTS),
    version: fc.integer({ min: 1, max: 6 }),
    maxConcurrentRuns: fc.constantFrom(0, 1, 2, 2, 9),
    maxQueuedRuns: fc.integer({ min: 0, max: 5 }),
    requestsPerSecond: fc.constantFrom(1, 2, 3, 50),
    runsPerMinute: fc.constantFrom(0, 1, 3, 5, NO_LIMIT),
    weight: fc.integer({ min: 1, max: 4 }),
  })
  .map(({ tenantName, ...rest }) => limits(tenantName, rest));

export const command = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("admit"), numbers, maxDepth: fc.integer({ min: 2, max: 9 }) }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("enqueue"), jobs: waitingJobs }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("claim"),
      owner: worker,
      leaseMs,
      slots: fc.integer({ min: 0, max: 6 }),
      lanes: fc.record({ interactive: fc.nat(3), default: fc.nat(4), bulk: fc.nat(3) }),
      shares: fc.option(shares, { nil: undefined }),
      rules,
      ended: fc.array(number, { maxLength: 2 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("renew"), owner: worker, leaseMs, numbers }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("restoreLeases"),
      holder: worker,
      owner: worker,
      leaseMs,
      numbers,
      rebuild: fc.constantFrom(null, null, 0, 1),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("release"), owner: worker, jobs: waitingJobs }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("finish"), owner: fc.oneof(worker, fc.constant("")), numbers }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("giveBack"), numbers }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("pushLimits"), limits: someLimits }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("advanceClock"),
      ms: fc.constantFrom(1, 9, 10, 400, 4999, 5000, 14_999, 15_000, 30_000),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("popMarker"), lane }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("rebuild"),
      step: fc.constantFrom(
        "beginIndex",
        "beginIndex",
        "beginIndex",
        "scan",
        "scan",
        "scan",
        "invalidateCounts",
        "loseIndex",
        "reset",
        "reset",
      ),
      rebuild,
    }),
  },
);
export type Command = typeof command extends fc.Arbitrary<infer C> ? C : never;
