/** The commands of a history: requests and faults with their times, and what each does. */
import fc from "fast-check";
import { Lane } from "../../shared/contracts/run.ts";
import { START_MS } from "./clock.ts";
import { orchestrations } from "./orchestrations.ts";
import type { OrchestrationName } from "./orchestrations.ts";
import { TENANTS } from "./simulation.ts";
import type { SimWorker, Simulation } from "./simulation.ts";
import { FAULTS } from "./network.ts";
import type { Verb } from "./network.ts";

/** Faults happen in this time; then all of them end. */
export const CHAOS_MS = 30_000;

const names = Object.keys(orchestrations).filter((name): name is OrchestrationName => name in orchestrations);
const common = names.filter((name) => name !== "killer");
/** Verbs by which runs move. */
const WORKER_VERBS: readonly Verb[] = [
  "claimJobs",
  "claim",
  "readRunSnapshots",
  "flush",
  "findCommitted",
  "beat",
  "renew",
  "restoreLeases",
  "release",
  "finish",
];
const REPAIR_VERBS: readonly Verb[] = [
  "readWaits",
  "claimDirectly",
  "handBack",
  "readPinnedDefinition",
  "readStoredPage",
  "readDefinition",
  "takeLock",
  "listDueRuns",
  "listRunningRuns",
  "listOwners",
  "reclaimFromSilent",
  "listOverdueRuns",
  "reclaimOverdue",
  "listChangedLimits",
  "readScanBounds",
  "reset",
  "pushLimits",
  "beginIndex",
  "readIndex",
  "advanceScan",
  "advanceLimits",
  "enqueue",
  "repairRing",
];
const EDGE_VERBS: readonly Verb[] = [
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
  orchestration: fc.oneof(
    { weight: 30, arbitrary: fc.constantFrom(...common) },
    { weight: 1, arbitrary: fc.constant<OrchestrationName>("killer") },
  ),
  lane: fc.constantFrom<Lane>("default", "default", "interactive", "bulk"),
});
const trap = (process: fc.Arbitrary<string>, verbs: readonly Verb[]) =>
  fc.record({
    do: fc.constant("trap"),
    atMs,
    trap: fc.record({
      process,
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
  { weight: 1, arbitrary: fc.record({ do: fc.constant("lose_jobs"), atMs }) },
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

/** Whether limits may be exceeded for a while: a rollback loses grants of Redis, and a lowered limit stops no running run. */
export function mayExceedLimits(commands: readonly Command[]): boolean {
  return commands.some((each) => each.do === "rollback" || each.do === "limit");
}

/** Carries out a command now. A rollback is carried out by `schedule`, which copies the memory of Redis before. */
function perform(sim: Simulation, each: Command): void {
  switch (each.do) {
    case "submit": {
      const name = TENANTS[each.tenant];
      if (name) sim.edge.submit(name, each.orchestration, each.lane);
      return;
    }
    case "cancel":
    case "retry": {
      const runs = [...sim.postgres.tables.runs.keys()];
      const run = runs[each.nth % Math.max(1, runs.length)];
      if (run) sim.edge[each.do](run);
      return;
    }
    case "answer": {
      const asking = sim.postgres.tables.waits.filter(
        ({ kind, answered_by }) => kind === "human" && answered_by === null,
      );
      const wait = asking[each.nth % Math.max(1, asking.length)];
      if (wait) sim.edge.answer(wait.run_id);
      return;
    }
    case "limit": {
      const name = TENANTS[each.tenant];
      if (name) sim.edge.setLimit(name, each.to);
      return;
    }
    case "kill":
      return withWorker(sim, each.nth, ({ process }) => process.kill());
    case "freeze":
      return withWorker(sim, each.nth, ({ process }) => process.freeze(each.ms));
    case "drain":
      return withWorker(sim, each.nth, (worker) => sim.drain(worker, each.graceMs));
    case "empty":
      return sim.redis.empty();
    case "lose_jobs":
      return sim.redis.loseWaitingJobs();
    case "rollback":
      return;
    case "away":
      return away(sim, each.store, each.ms, each.restarts);
    case "trap":
      return sim.network.set(each.trap);
  }
}

function withWorker(sim: Simulation, nth: number, act: (worker: SimWorker) => void): void {
  const worker = sim.alive[nth % Math.max(1, sim.alive.length)];
  if (worker) act(worker);
}

function away(sim: Simulation, store: "redis" | "postgres", ms: number, restarts: boolean): void {
  const service = store === "redis" ? sim.redisService : sim.postgresService;
  service.isUp = false;
  sim.clock.after(ms, () => {
    service.isUp = true;
    if (store === "postgres" && restarts) sim.postgres.startedAt = sim.clock.nowMs;
  });
}

/** Puts a command on the clock; for a rollback also the copy of Redis that it returns to. */
export function schedule(sim: Simulation, each: Command): void {
  sim.clock.after(each.atMs, () => {
    sim.trace(`COMMAND ${describe(each)}`);
    perform(sim, each);
  });
  if (each.do !== "rollback") return;
  sim.clock.after(each.atMs - each.ms, () => {
    const memory = sim.redis.snapshot();
    sim.clock.after(each.atMs - (sim.clock.nowMs - START_MS), () => sim.redis.restore(memory));
  });
}

export function describe({ do: what, atMs: _atMs, ...rest }: Command): string {
  return `${what} ${JSON.stringify(rest)}`;
}
