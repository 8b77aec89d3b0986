/** What may happen in a history, when, and how it is done to a world. */
import fc from "fast-check";
import { Lane } from "../../shared/contracts/run.ts";
import { START_MS } from "./clock.ts";
import { programs } from "./programs.ts";
import type { ProgramName } from "./programs.ts";
import { TENANTS } from "./world.ts";
import type { SimWorker, Simulation } from "./world.ts";
import { FAULTS } from "./wire.ts";

/** For how long things go wrong; then all is healed. */
export const CHAOS_MS = 30_000;

const names = Object.keys(programs).filter((name): name is ProgramName => name in programs);
const common = names.filter((name) => name !== "killer");
/** The verbs that carry runs; a fault elsewhere is what a fault of the store is. */
const WORKER_VERBS = [
  "take",
  "claim",
  "lookUp",
  "flush",
  "findCommitted",
  "beat",
  "renew",
  "restoreLeases",
  "release",
  "finish",
];
const REPAIR_VERBS = [
  "readWaits",
  "claimDirectly",
  "handBack",
  "orchestration",
  "definition",
  "takeLock",
  "dueRuns",
  "runningRuns",
  "owners",
  "reclaimFromSilent",
  "overdueRuns",
  "reclaimOverdue",
  "changedLimits",
  "scanBounds",
  "reset",
  "pushLimits",
  "beginIndex",
  "readIndex",
  "advanceScan",
  "advanceLimits",
  "enqueue",
  "repairRing",
];
const EDGE_VERBS = [
  "admit",
  "accept",
  "enqueue",
  "answer",
  "cancel",
  "retry",
  "finish",
  "save",
  "pushLimits",
];

const atMs = fc.integer({ min: 0, max: CHAOS_MS });
const anyOf = fc.nat(7);
const tenant = fc.nat(TENANTS.length - 1);
const faultMs: fc.Arbitrary<number> = fc.constantFrom(50, 500, 3_000, 8_000, 14_000);
const faultIs = fc.constantFrom(...FAULTS);

const submit = fc.record({
  do: fc.constant("submit"),
  atMs,
  tenant,
  program: fc.oneof(
    { weight: 30, arbitrary: fc.constantFrom(...common) },
    { weight: 1, arbitrary: fc.constant<ProgramName>("killer") },
  ),
  lane: fc.constantFrom<Lane>("default", "default", "interactive", "bulk"),
});
const trap = (whose: fc.Arbitrary<string>, verbs: readonly string[]) =>
  fc.record({
    do: fc.constant("trap"),
    atMs,
    trap: fc.record({
      whose,
      verbs: fc.constantFrom(...verbs).map((verb) => [verb]),
      is: faultIs,
      ms: faultMs,
    }),
  });

export const anyCommand = fc.oneof(
  { weight: 8, arbitrary: submit },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("cancel"), atMs, nth: anyOf }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("retry"), atMs, nth: anyOf }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("answer"), atMs, nth: anyOf }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("limit"), atMs, tenant, to: fc.constantFrom(0, 1, 2, 5) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("kill"), atMs, nth: anyOf }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("freeze"),
      atMs,
      nth: anyOf,
      ms: fc.constantFrom(3_000, 13_000, 16_000, 25_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("drain"),
      atMs,
      nth: anyOf,
      graceMs: fc.constantFrom(0, 1_000, 5_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("empty"), atMs }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("rob"), atMs }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("rollback"),
      atMs,
      ms: fc.constantFrom(1_000, 4_000, 12_000, 25_000),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("away"),
      atMs,
      store: fc.constantFrom<"redis" | "postgres">("redis", "postgres"),
      ms: fc.constantFrom(500, 3_000, 9_000, 20_000),
      restarts: fc.boolean(),
    }),
  },
  { weight: 8, arbitrary: trap(fc.constantFrom("w", "w0", "w1"), WORKER_VERBS) },
  { weight: 3, arbitrary: trap(fc.constant("w"), REPAIR_VERBS) },
  { weight: 4, arbitrary: trap(fc.constant("edge"), EDGE_VERBS) },
);
export type Command = typeof anyCommand extends fc.Arbitrary<infer A> ? A : never;

/** After these, limits may be passed for a while: a rollback forgets what Redis has granted, lowered limits stop nobody. */
export function mayPassLimits(commands: readonly Command[]): boolean {
  return commands.some((each) => each.do === "rollback" || each.do === "limit");
}

/** Does it now. A rollback needs to be known before: see `prepare`. */
function perform(world: Simulation, each: Command): void {
  switch (each.do) {
    case "submit": {
      const name = TENANTS[each.tenant];
      if (name) world.front.submit(name, each.program, each.lane);
      return;
    }
    case "cancel":
    case "retry": {
      const runs = [...world.postgres.tables.runs.keys()];
      const run = runs[each.nth % Math.max(1, runs.length)];
      if (run) world.front[each.do](run);
      return;
    }
    case "answer": {
      const asking = world.postgres.tables.waits.filter(({ answered_by }) => answered_by === null);
      const wait = asking[each.nth % Math.max(1, asking.length)];
      if (wait) world.front.answer(wait.run_id);
      return;
    }
    case "limit": {
      const name = TENANTS[each.tenant];
      if (name) world.front.setLimit(name, each.to);
      return;
    }
    case "kill":
      return withWorker(world, each.nth, ({ process }) => process.kill());
    case "freeze":
      return withWorker(world, each.nth, ({ process }) => process.freeze(each.ms));
    case "drain":
      return withWorker(world, each.nth, (worker) => world.drain(worker, each.graceMs));
    case "empty":
      return world.redis.empty();
    case "rob":
      return world.redis.rob();
    case "rollback":
      return;
    case "away":
      return away(world, each.store, each.ms, each.restarts);
    case "trap":
      return world.network.set(each.trap);
  }
}

function withWorker(world: Simulation, nth: number, act: (worker: SimWorker) => void): void {
  const worker = world.alive[nth % Math.max(1, world.alive.length)];
  if (worker) act(worker);
}

function away(world: Simulation, store: "redis" | "postgres", ms: number, restarts: boolean): void {
  const service = store === "redis" ? world.redisService : world.postgresService;
  service.isUp = false;
  world.clock.after(ms, () => {
    service.isUp = true;
    if (store === "postgres" && restarts) world.postgres.startedAt = world.clock.nowMs;
  });
}

/** Puts a command on the clock; for a rollback also the look at what Redis will go back to. */
export function schedule(world: Simulation, each: Command): void {
  world.clock.after(each.atMs, () => {
    world.trace(`ACT ${describe(each)}`);
    perform(world, each);
  });
  if (each.do !== "rollback") return;
  world.clock.after(each.atMs - each.ms, () => {
    const memory = world.redis.snapshot();
    world.clock.after(each.atMs - (world.clock.nowMs - START_MS), () => world.redis.restore(memory));
  });
}

export function describe({ do: what, atMs: _atMs, ...rest }: Command): string {
  return `${what} ${JSON.stringify(rest)}`;
}
