/**
 * The simulation notices when a rule of docs/protocol.md is dropped. Each mutation replaces a part by a broken one, and
 * within 200 histories the violation that belongs to it is found.
 */
import fc from "fast-check";
import { afterAll, expect, test, vi } from "vitest";
import { newRunId } from "../../shared/contracts/ids.ts";
import type { NewRun } from "../../shared/contracts/run.ts";
import { scoreOf } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { OwnedRun } from "../../shared/store/workers/beats.ts";
import { Journal } from "../../worker-node/journal/journal.ts";
import type { RunLog } from "../../worker-node/journal/run-log.ts";
import {
  BranchesMixedUp,
  DeadlineLeavesQuestionOpen,
  EventSeqNotInFence,
  ParentNotSignalled,
  ParentWokenAfterItsEnd,
  ScanWithoutOverlap,
  SilencesNotCompared,
  TakesOverFromLiveOwners,
  OwnerNotInFence,
  SignalsNotInPark,
} from "./broken-postgres-models.ts";
import type { SimProcess } from "./clock.ts";
import { FakeEdge } from "./fake-edge.ts";
import type { Command } from "./commands.ts";
import { anyHistory, play } from "./history.ts";
import type { History } from "./history.ts";
import { RedisModel } from "./redis-model.ts";
import type { OrchestrationName } from "./orchestrations.ts";
import type { FaultKind, Verb } from "./network.ts";
import { realParts } from "./simulation.ts";
import type { Parts } from "./simulation.ts";

// Test files share their modules. This one loads the product anew with mocks, and leaves no mocked module behind.
vi.hoisted(() => vi.resetModules());
vi.mock("node:timers/promises", () => import("./virtual-timers.ts"));
vi.mock("../../shared/log.ts", () => import("./traced-log.ts"));
afterAll(() => {
  vi.doUnmock("node:timers/promises");
  vi.doUnmock("../../shared/log.ts");
  vi.resetModules();
});

class UptoInPostgres extends RedisModel {
  #uptoMs = -Infinity;
  override advanceScan(...args: Parameters<RedisModel["advanceScan"]>): boolean {
    const isKnown = super.advanceScan(...args);
    if (isKnown) this.#uptoMs = Math.max(this.#uptoMs, args[2] ?? -Infinity);
    return isKnown;
  }
  override readIndex(): ReturnType<RedisModel["readIndex"]> {
    return { ...super.readIndex(), uptoMs: this.#uptoMs };
  }
}

class QuotaReadyAtOnce extends RedisModel {
  override get quotaReadyAfterMs(): number {
    return 0;
  }
}

class ExcessNotNamed extends RedisModel {
  override claim(...args: Parameters<RedisModel["claim"]>): ReturnType<RedisModel["claim"]> {
    return { ...super.claim(...args), excess: [] };
  }
}

class SizesNotCompared extends RedisModel {
  override checkSizes(): void {}
}

class EnqueuesFirst extends FakeEdge {
  override async accept(process: SimProcess, queue: Queue, run: NewRun): Promise<void> {
    const { run_id, tenant_id, lane } = run;
    const job = { run: run_id, tenant: tenant_id, lane, score: scoreOf(Date.now(), 0), delayMs: 0 };
    await queue.enqueue([{ ...job, status: "queued" }]);
    await super.accept(process, queue, run);
  }
}

/** Results count as committed when they are appended: a step with effects does not wait for those before it. */
class ResultsNotAwaited extends Journal {
  override open(...args: Parameters<Journal["open"]>): RunLog {
    const log = super.open(...args);
    const append = log.append.bind(log);
    log.append = (entry) => {
      const appended = append(entry);
      if (entry.kind !== "step") return appended;
      // A fenced entry stops the execution as before.
      appended.catch(() => {});
      return Promise.resolve({ is: "committed", signals: log.signals, cancel: false });
    };
    return log;
  }
}

/** A child gets another id each time that its parent comes to the step that starts it. */
const childIdsDrawn: Parts["store"] = (store) => ({
  ...store,
  startChild: (parent, child) => store.startChild(parent, { ...child, run_id: newRunId(Date.now()) }),
});

/** A worker that ignores the reply of its beat, and keeps every run that it has claimed. */
const beatIgnored: Parts["store"] = (store) => {
  const claimed = new Map<string, OwnedRun>();
  return {
    ...store,
    claim: async (owner, runs, ...silences) => {
      const got = await store.claim(owner, runs, ...silences);
      for (const { run_id, attempt, signals } of got)
        claimed.set(run_id, { run_id, attempt, signals, cancel: false, has_budget: false });
      return got;
    },
    beat: async (self) => {
      const { silences } = await store.beat(self);
      return { silences, drain: false, owned: [...claimed.values()] };
    },
  };
};

/** A worker that treats a flush of unknown outcome as committed. */
const unknownIsCommitted: Parts["store"] = (store) => ({
  ...store,
  flush: (entries) =>
    store.flush(entries).catch(() =>
      entries.map(({ run_id, known_seq, events_n }) => ({
        run_id,
        event_seq: known_seq + events_n,
        signals: 0,
        cancel: false,
        webhook: false,
        frees_key: false,
      })),
    ),
});

/** Histories in which a mutation soon causes a violation: one tenant with these commands. */
function scene(
  commands: (fc.Arbitrary<Command> | Command)[],
  changes: Partial<History> = {},
): fc.Arbitrary<History> {
  const all = fc.tuple(...commands.map((each) => ("do" in each ? fc.constant(each) : each)));
  return fc
    .record({ seed: fc.nat(), commands: all })
    .map((drawn) => ({ workers: 2, slots: 2, limit: 2, queued: 100, ...drawn, ...changes }));
}

const between = (min: number, max: number) => fc.integer({ min, max });
const submit = (orchestration: OrchestrationName, min = 6_000, max = min + 1_000): fc.Arbitrary<Command> =>
  between(min, max).map((atMs) => ({ do: "submit", atMs, tenant: 0, orchestration, lane: "default" }));
const trap = (process: string, verb: Verb, is: FaultKind, ms: number, atMs = 5_500): Command => ({
  do: "trap",
  atMs,
  trap: { process, verbs: [verb], is, ms },
});

/** Runs that wait for a slot, long after they were enqueued, when Redis loses data. */
const backlog = (loss: (atMs: number) => Command) =>
  scene([...Array.from({ length: 6 }, () => submit("long")), between(24_000, 29_000).map(loss)], {
    slots: 1,
    limit: 1,
  });
const drainDuringFlush = scene([
  submit("prints", 6_000, 6_010),
  trap("w", "flush", "slow", 4_000),
  trap("w", "release", "fail", 0),
  ...[0, 1].map((nth) =>
    between(6_000, 7_000).map((atMs): Command => ({ do: "drain", atMs, nth, graceMs: 0 })),
  ),
]);
/** A tenant that exceeds its quota while Redis loses its memory, and while some accepts take longer than a scan. */
const flood = (loss: fc.Arbitrary<Command>) =>
  scene(
    [
      ...Array.from({ length: 60 }, () => submit("long", 9_000, 20_000)),
      ...Array.from({ length: 4 }, () => between(9_000, 11_000).map((atMs) => slowAccept(atMs))),
      loss,
    ],
    { slots: 1, limit: 1, queued: 8 },
  );
const slowAccept = (atMs: number): Command => trap("edge", "accept", "slow", 4_000, atMs);
const flushesGoWrong = scene([
  ...(["late", "twice", "lose"] as const).map((is) => trap("w", "flush", is, 50)),
  ...Array.from({ length: 4 }, () => submit("talk")),
]);
const cancelDuringCall = scene([
  submit("flaky", 6_000, 6_000),
  between(6_200, 6_500).map((atMs): Command => ({ do: "cancel", atMs, nth: 0 })),
]);
/** Answers shortly before and after the deadline of their question, while the flush of the end is late. */
const lateAnswers = scene([
  submit("asks", 6_000, 6_000),
  trap("w", "flush", "late", 1_500, 14_000),
  ...Array.from({ length: 6 }, () =>
    between(15_000, 18_000).map((atMs): Command => ({ do: "answer", atMs, nth: 0 })),
  ),
]);
/**
 * A worker is stopped before it sends its claim of the second run. Meanwhile Redis is away, and the other worker claims the
 * first run directly, in the tenant's only slot.
 */
const claimIsOvertaken = scene(
  [
    trap("w", "claim", "freeze", 14_000),
    trap("edge", "enqueue", "fail", 0),
    submit("long", 6_000, 6_000),
    submit("long", 6_300, 6_500),
    { do: "away", atMs: 6_700, store: "redis", ms: 20_000, restarts: false },
  ],
  { slots: 1, limit: 1 },
);
/**
 * A worker dies before it sends its claim of the second run. While Redis is away, the other worker claims the first run
 * directly, in the tenant's only slot. The lease of the second run lapses when Redis is back.
 */
const leaseOfADeadClaimer = scene(
  [
    trap("w", "claim", "kill", 0),
    trap("edge", "enqueue", "fail", 0),
    submit("long", 6_000, 6_000),
    submit("long", 6_300, 6_500),
    { do: "away", atMs: 6_700, store: "redis", ms: 9_000, restarts: false },
    { do: "away", atMs: 15_701, store: "redis", ms: 3_000, restarts: false },
  ],
  { slots: 1, limit: 1 },
);
const kills = (min: number, max: number) =>
  [0, 1].map((nth) => between(min, max).map((atMs): Command => ({ do: "kill", atMs, nth })));
/** Workers die while the branches of a run are under way. */
const branchesGoOn = scene([submit("fan", 6_000, 6_010), ...kills(6_300, 12_000), ...kills(6_300, 12_000)]);
/** Workers die while the children of a run are started, and flushes fail. */
const childrenGoOn = scene([
  submit("family", 6_000, 6_010),
  ...kills(6_000, 9_000),
  trap("w", "flush", "fail", 0),
]);
const familyIsCancelled = scene([
  submit("family", 6_000, 6_010),
  between(6_200, 12_000).map((atMs): Command => ({ do: "cancel", atMs, nth: 0 })),
]);
const accepted = scene([
  trap("edge", "accept", "slow", 4_000),
  trap("edge", "enqueue", "fail", 0),
  submit("prints"),
]);

const mutations: [what: string, parts: Partial<Parts>, scenes: fc.Arbitrary<History>, violation: RegExp][] = [
  ["the owner is dropped from the fence", { postgres: OwnerNotInFence }, drainDuringFlush, /not its own/],
  ["event_seq is dropped from the fence", { postgres: EventSeqNotInFence }, flushesGoWrong, /not the next/],
  [
    "signals are dropped from the park",
    { postgres: SignalsNotInPark },
    cancelDuringCall,
    /had been cancelled/,
  ],
  [
    "a run is taken over from a live owner",
    { postgres: TakesOverFromLiveOwners },
    anyHistory,
    /which is alive/,
  ],
  [
    "a claim does not compare the silences of its worker",
    { postgres: SilencesNotCompared },
    claimIsOvertaken,
    /has 2 running runs/,
  ],
  [
    "a claim does not name excess leases",
    { redis: ExcessNotNamed },
    leaseOfADeadClaimer,
    /has 2 running runs/,
  ],
  ["the scan of due runs has no overlap", { postgres: ScanWithoutOverlap }, accepted, /has not ended/],
  [
    "upto is kept in Postgres",
    { redis: UptoInPostgres },
    backlog((atMs) => ({ do: "empty", atMs })),
    /has not ended/,
  ],
  [
    "sizes are not compared",
    { redis: SizesNotCompared },
    backlog((atMs) => ({ do: "lose_jobs", atMs })),
    /has not ended/,
  ],
  [
    "an index is quota ready as soon as its first scan is complete",
    { redis: QuotaReadyAtOnce },
    flood(between(9_500, 10_500).map((atMs) => ({ do: "empty", atMs }))),
    /has \d+ queued/,
  ],
  [
    "a deadline leaves its question open",
    { postgres: DeadlineLeavesQuestionOpen },
    lateAnswers,
    /was not closed by its deadline/,
  ],
  ["a run is enqueued before its commit", { edge: EnqueuesFirst }, anyHistory, /does not exist/],
  ["the reply of the beat is ignored", { store: beatIgnored }, anyHistory, /has not ended|still executes/],
  [
    "a call does not wait for the result before it",
    { journal: ResultsNotAwaited },
    scene([submit("long"), submit("fan"), trap("w", "flush", "slow", 900)]),
    /was called before the result of/,
  ],
  [
    "a branch goes on with the entries of another one",
    { postgres: BranchesMixedUp },
    branchesGoOn,
    /two results of|its steps wrote|failed as/,
  ],
  ["a child is started again by the next worker", { store: childIdsDrawn }, childrenGoOn, /is no only child/],
  [
    "the end of a child leaves its parent asleep",
    { postgres: ParentNotSignalled },
    scene([submit("family")]),
    /has not ended/,
  ],
  [
    "a parent that has ended is woken",
    { postgres: ParentWokenAfterItsEnd },
    familyIsCancelled,
    /ended it, and \w+ follows/,
  ],
  [
    "an unknown outcome counts as a commit",
    { store: unknownIsCommitted },
    anyHistory,
    /before they were committed/,
  ],
];

test.each(mutations)("the simulation notices that %s", async (_, parts, scenes, violation) => {
  const seen: string[] = [];
  const result = await fc.check(
    fc.asyncProperty(scenes, async (history) => {
      const { violations } = await play(history, { ...realParts, ...parts });
      seen.push(...violations);
      expect(violations).toEqual([]);
    }),
    { numRuns: 200, endOnFailure: true },
  );
  expect(result.failed, "no history has a violation").toBe(true);
  expect(seen.join("\n")).toMatch(violation);
});
