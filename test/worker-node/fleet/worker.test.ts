import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { builtInPrices } from "../fakes.ts";
import { TenantId, newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import type { Lane } from "../../../shared/contracts/run.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import type { LeasesToRestore } from "../../../shared/queue/queue.ts";
import type { Claim, ClaimRequest } from "../../../shared/queue/claim.ts";
import type { Job, JobName, JobWait } from "../../../shared/queue/job.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim-runs.ts";
import type { RunSnapshot } from "../../../shared/store/runs/run-snapshots.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import { Definitions } from "../../../worker-node/execution/definitions.ts";
import { RetryableError } from "../../../worker-node/engine/step-errors.ts";
import { noChildren } from "../fakes.ts";
import { TrackLimiter } from "../../../worker-node/execution/track-limiter.ts";
import { Journal } from "../../../worker-node/journal/journal.ts";
import { Heartbeat } from "../../../worker-node/fleet/heartbeat.ts";
import { QueueLinks } from "../../../worker-node/fleet/queue-links.ts";
import { Slots } from "../../../worker-node/fleet/slots.ts";
import { TrackedRuns } from "../../../worker-node/fleet/tracked-runs.ts";
import { workerTiming } from "../../../worker-node/fleet/worker-timing.ts";
import type { WorkerTiming } from "../../../worker-node/fleet/worker-timing.ts";
import { Worker } from "../../../worker-node/fleet/worker.ts";
import { Counters } from "../../../worker-node/ops/counters.ts";
import { silentPeer, slowPeer, turn } from "../../services/waiting.ts";
import { FakeStore } from "../fake-store.ts";
import { untraced } from "../../../worker-node/tracing/tracing.ts";

const owner = newIncarnation("w");
const acme = TenantId.parse("acme");
/** The calls of a claim from a queue that the worker has to synchronize first. */
const SYNCHRONIZED_CLAIM = [
  "beat: the queue is reachable",
  "lock direct",
  "read running runs",
  "claim from the queue",
];

/** A worker that claims directly soon after the queue has become unreachable. */
const directSoon: WorkerTiming = { ...workerTiming, directAfterMs: 50 };

/** Records the calls of the worker, and offers it the runs that a test sets. */
class FakeQueue extends Queue {
  readonly offers: RunId[][] = [];
  readonly ended: RunId[] = [];
  stillReady = 0;
  roomy: TenantId[] = [];
  readonly finished: RunId[] = [];
  readonly released: { run: RunId; status: string; delayMs: number; isTracked: boolean }[] = [];
  readonly restored: { run: RunId; owner: string; leaseMs: number }[] = [];
  isTracked: (run: RunId) => boolean = () => false;

  constructor() {
    const refuse = async (): Promise<unknown> => Promise.reject(new Error("no Redis here"));
    super({ evalsha: refuse, eval: refuse }, 1);
  }
  override async claim({ ended, slots }: ClaimRequest): Promise<Claim> {
    await slowPeer(1);
    calls.push(slots > 0 ? "claim from the queue" : "pass on a marker");
    this.ended.push(...ended);
    const runs = (this.offers.shift() ?? []).map((run) => ({ run, tenant: acme }));
    return { runs, excess: [], roomy: this.roomy, nextMs: 60_000, stillReady: this.stillReady };
  }
  override async readIndex() {
    return { epoch: "1", scanned: "", uptoMs: 0, quotaReady: true, limitsUptoMs: 0 };
  }
  override async finish(jobs: readonly JobName[]) {
    this.finished.push(...jobs.map(({ run }) => run));
  }
  override async release(jobs: readonly (Job & JobWait)[]) {
    for (const { run, status, delayMs } of jobs) {
      calls.push("release");
      this.released.push({ run, status, delayMs, isTracked: this.isTracked(run) });
    }
  }
  override async restoreLeases({ jobs, leaseMs, ...lease }: LeasesToRestore) {
    this.restored.push(...jobs.map(({ run }) => ({ run, owner: lease.owner, leaseMs })));
  }
}

let fakeStore: FakeStore;
let queue: FakeQueue;
let links: QueueLinks;
let worker: Worker;
let heartbeat: Heartbeat;
/** The reply to a claim of one run in Postgres; null: the claim's condition does not hold. */
let claimInPostgres: (run: RunId) => Promise<ClaimedRun | null>;
/** The snapshots in Postgres of runs that it does not let the worker claim. */
let snapshots: Map<RunId, Partial<RunSnapshot>>;
let handedBack: RunId[];
/** What the next direct claim returns. */
let directlyClaimable: ClaimedRun[];
/** Ends the wait for work. */
let wake: () => void;
let waitedFor: (readonly Lane[])[];
/** Whether the end of a wait is a marker that the worker took. */
let takesMarker: boolean;
/** How long the worker waits for a marker at most, each time. */
let waitedMs: number[];
/** The calls to the stores that a claim needs, in order. */
let calls: string[];
/** Executes the one step of every run. */
let step: (signal: AbortSignal) => Promise<string>;

beforeEach(() => open(["default"]));

function open(lanes: readonly Lane[], timing: WorkerTiming = workerTiming): void {
  waitedFor = [];
  waitedMs = [];
  takesMarker = false;
  calls = [];
  fakeStore = new FakeStore();
  queue = new FakeQueue();
  snapshots = new Map();
  handedBack = [];
  claimInPostgres = async () => null;
  directlyClaimable = [];
  wake = () => {};
  step = async () => "answer";
  const llm = { id: "a", type: "llm", model: "demo/fast", prompt_template: "Write" };
  const definition = JSON.stringify({ id: "orch", name: "Orch", entry_step_id: "a", steps: [llm] });
  let silences = 0;
  const store: StateStore = {
    ...fakeStore.store,
    beat: async ({ redis_ok, voids_claims }) => {
      if (voids_claims) {
        silences += 1;
        calls.push("claims are void");
      } else {
        calls.push(redis_ok ? "beat: the queue is reachable" : "beat: the queue is unreachable");
      }
      return { silences, drain: false, owned: [] };
    },
    takeLock: async (name) => {
      calls.push(`lock ${name}`);
      return true;
    },
    listRunningRuns: async () => {
      calls.push("read running runs");
      return [];
    },
    readPinnedDefinition: async () => definition,
    claim: async (_owner, runs) => {
      const claimed = await Promise.all(runs.map((run) => claimInPostgres(run)));
      return claimed.filter((run) => run !== null);
    },
    claimDirectly: async () => directlyClaimable.splice(0),
    readRunSnapshots: async (runs) => runs.flatMap((run) => (snapshots.has(run) ? [snapshotOf(run)] : [])),
    handBack: async (_owner, runs) => {
      const running = runs.filter(({ run_id }) => fakeStore.row(run_id).status === "running");
      for (const { run_id } of running)
        Object.assign(fakeStore.row(run_id), { status: "queued", owner: null });
      handedBack.push(...running.map(({ run_id }) => run_id));
      return running.map(({ run_id }) => run_id);
    },
  };
  const slots = new Slots(5, lanes);
  links = new QueueLinks(1, timing);
  const report = () => ({
    worker_id: "w",
    hostname: "h",
    address: "",
    status: "online" as const,
    lanes: [...lanes],
    slots: slots.openTotal,
    active: slots.active,
    loop_lag_ms: 0,
  });
  const tracked = new TrackedRuns();
  heartbeat = new Heartbeat({
    owner,
    store,
    queue,
    links,
    timing,
    tracked,
    report,
    laneSettings: slots.laneSettings,
  });
  queue.isTracked = (run) => tracked.get(run) !== undefined;
  const refuse = async (): Promise<never> => Promise.reject(new Error("not in this test"));
  worker = new Worker({
    owner,
    store,
    queue,
    links,
    heartbeat,
    tracked,
    slots,
    timing,
    waitForWork: async (_shard, waited, ms) => {
      waitedFor.push(waited.open);
      waitedMs.push(ms);
      const woken = new AbortController();
      wake = () => woken.abort();
      await slowPeer(ms, undefined, woken.signal).catch(() => {});
      return takesMarker;
    },
    endWaits: () => wake(),
    execution: {
      owner,
      laneSettings: slots.laneSettings.of,
      journal: new Journal(owner, store, () => {}),
      definitions: new Definitions(store),
      defaultModel: async () => "demo/fast",
      windowTokens: async () => 128_000,
      models: {
        async generate({ signal }) {
          const usage = { provider: "d", model: "d", input_tokens: 1, output_tokens: 1, cost_micro_usd: 1 };
          return { text: await step(signal), tool_calls: [], usage };
        },
      },
      tools: { toolsOf: async () => [], call: refuse, callMcp: refuse },
      prices: builtInPrices(),
      sandbox: { of: () => ({ evaluate: refuse, transform: refuse }) },
      artifacts: () => null,
      files: () => null,
      tracing: untraced,
      trackLimiter: new TrackLimiter(),
      count: new Counters(),
      children: noChildren,
      store,
      confirm: async () => {},
    },
  });
}
afterEach(async () => {
  vi.restoreAllMocks();
  wake();
  await worker.drain(0);
});

function snapshotOf(run: RunId): RunSnapshot {
  return {
    run_id: run,
    tenant_id: acme,
    status: "queued",
    lane: "default",
    priority: 0,
    queued_at_ms: 0,
    owner: null,
    owner_silent: false,
    silent_in_ms: 0,
    attempt: 1,
    signals: 0,
    cancel: false,
    due_in_ms: 0,
    ...snapshots.get(run),
  };
}

/** A run that this worker can claim in Postgres. */
function claimable(): ClaimedRun {
  const run = fakeStore.claimed(owner);
  const before = claimInPostgres;
  claimInPostgres = async (requested) => (requested === run.run_id ? run : before(requested));
  return run;
}

/** Resolves as soon as the run is committed as completed. */
async function untilCompleted(run: RunId): Promise<void> {
  while (fakeStore.row(run).status !== "completed" || worker.active > 0) await turn();
}

const eventually = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 100_000, interval: 5 });

describe("a run that the queue leases and Postgres does not let the worker claim", () => {
  const offered = async (snapshot: Partial<RunSnapshot> | null): Promise<RunId> => {
    const run = newRunId(Date.now());
    if (snapshot) snapshots.set(run, snapshot);
    queue.offers.push([run]);
    worker.start();
    await eventually(() =>
      expect(queue.finished.length + queue.released.length + queue.restored.length).toBeGreaterThan(0),
    );
    return run;
  };

  test("is finished in the queue when there is no such run", async () => {
    const run = await offered(null);
    expect(queue.finished).toEqual([run]);
  });

  test("is finished when it has ended", async () => {
    const run = await offered({ status: "failed" });
    expect(queue.finished).toEqual([run]);
  });

  test("is released until its time when it is due later, and stays queued or paused", async () => {
    const run = await offered({ status: "paused", due_in_ms: 40_000 });
    expect(queue.released).toMatchObject([{ run, status: "paused", delayMs: 40_000 }]);
  });

  test("has its lease restored for the worker that executes it", async () => {
    const run = await offered({ status: "running", owner: "other#00000000" });
    expect(queue.restored).toEqual([{ run, owner: "other#00000000", leaseMs: 100 }]);
  });

  // Fails when the lease lasts longer than the owner may still be silent for, or the worker waits longer than that lease: a
  // run whose owner died would wait for the next marker.
  test("is claimed again as soon as its owner can be silent, if the owner does not beat until then", async () => {
    const run = await offered({ status: "running", owner: "other#00000000", silent_in_ms: 1_200 });
    expect(queue.restored).toEqual([{ run, owner: "other#00000000", leaseMs: 1_300 }]);
    await eventually(() => expect(waitedMs).toContain(1_300));
  });

  // Fails when the lease is released: the slot would be free while Postgres counts the run as running.
  test("keeps its slot for a moment, by a lease of its silent owner", async () => {
    const silent = { status: "running", owner: "other#00000000", owner_silent: true } as const;
    const run = await offered({ ...silent, due_in_ms: -500 });
    expect(queue.restored).toEqual([{ run, owner: "other#00000000", leaseMs: 100 }]);
    expect(queue.released).toEqual([]);
  });

  test("is released for a second when another statement has locked it", async () => {
    const run = await offered({ status: "queued", due_in_ms: -500 });
    expect(queue.released).toMatchObject([{ run, status: "queued", delayMs: 1_000 }]);
  });
});

test("a run that ends while the worker is idle is finished soon, without a claim", async () => {
  const run = claimable();
  queue.offers.push([run.run_id]);
  worker.start();
  await eventually(() => expect(queue.finished).toEqual([run.run_id]));
  expect(fakeStore.row(run.run_id).status).toBe("completed");
  expect(queue.ended).toEqual([]);
});

// Fails when each run that ends is finished by a call of its own: a worker then calls Redis twice for each run of a stream.
test("a run that ends just before the next claim is finished by that claim", async () => {
  const [first, second] = [claimable(), claimable()];
  queue.offers.push([first.run_id]);
  worker.start();
  await untilCompleted(first.run_id);
  queue.offers.push([second.run_id]);
  wake();
  await eventually(() => expect(queue.ended).toEqual([first.run_id]));
  expect(queue.finished).not.toContain(first.run_id);
});

// Fails when a run alone costs a call of its own, and when a run whose tenant needs its slot waits as long.
test.each([
  { tenants: [acme], name: "of a roomy tenant", finishedMs: 500 },
  { tenants: [], name: "of any other tenant", finishedMs: 20 },
])("an idle worker finishes an ended run $name after $finishedMs ms", async ({ tenants, finishedMs }) => {
  queue.roomy = tenants;
  const timers = vi.spyOn(globalThis, "setTimeout");
  try {
    const run = claimable();
    queue.offers.push([run.run_id]);
    worker.start();
    await untilCompleted(run.run_id);
    const finishes = timers.mock.calls.filter(([, ms]) => ms === 20 || ms === 500);
    expect(finishes.map(([, ms]) => ms)).toEqual([finishedMs]);
    await eventually(() => expect(queue.finished).toEqual([run.run_id]));
  } finally {
    timers.mockRestore();
  }
});

// Fails when the slot of an ended run is given back late although its tenant's next run waits for it.
test("a run that ends while jobs wait for slots is finished at once", async () => {
  queue.stillReady = 1;
  const run = claimable();
  queue.offers.push([run.run_id]);
  // No timer fires any more once the run executes, so a finish that waits for one never comes.
  step = async () => {
    vi.useFakeTimers({ toFake: ["setTimeout"] });
    return "answer";
  };
  worker.start();
  try {
    await vi.waitUntil(() => queue.finished.length > 0, { timeout: 100_000, interval: 1 });
    expect(queue.finished).toEqual([run.run_id]);
  } finally {
    vi.useRealTimers();
  }
});

// Fails when the worker waits for a marker, or 2 s, before it looks for jobs of a lane that was full here.
test("a slot that is freed in a full lane is filled at once", async () => {
  open(["default", "bulk"]);
  const ends = Promise.withResolvers<string>();
  let begun = 0;
  step = (signal) => (begun++ === 0 ? ends.promise : silentPeer(signal));
  const runs = [1, 2, 3].map(() => Object.assign(claimable(), { lane: "bulk" as const }));
  const [first, second, third] = runs.map(({ run_id }) => run_id);
  if (!first || !second || !third) throw new Error("three runs");
  queue.offers.push([first, second]);
  worker.start();
  await eventually(() => expect(waitedFor).toEqual([["default"]]));
  queue.offers.push([third]);
  ends.resolve("answer");
  // The marker's wait is still under way: `wake` is not called.
  await eventually(() => expect(begun).toBe(3));
  expect(waitedFor).toEqual([["default"]]);
});

// Fails when the lease is released while the run is still tracked: a renewal in between would take the lease again.
test("a run that parks is not tracked any more when its lease is released", async () => {
  step = () => Promise.reject(new RetryableError("busy", "busy", { retryAfterMs: 60_000 }));
  const run = claimable();
  queue.offers.push([run.run_id]);
  worker.start();
  await eventually(() => expect(queue.released).toHaveLength(1));
  expect(queue.released).toEqual([{ run: run.run_id, status: "queued", delayMs: 60_000, isTracked: false }]);
});

test("a run that is leased again while it is executed does not begin a second time", async () => {
  let begun = 0;
  step = async () => {
    begun += 1;
    // The tool answers only when the queue has leased the run again.
    await eventually(() => expect(queue.offers).toEqual([]));
    return "answer";
  };
  const run = claimable();
  queue.offers.push([run.run_id], [run.run_id]);
  worker.start();
  await eventually(() => expect(fakeStore.row(run.run_id).status).toBe("completed"));
  expect(begun).toBe(1);
});

// Fails when leases from a claim whose outcome is unknown are forgotten: each takes a slot of its tenant for a whole lease, and each
// further claim takes as many more. Fails also when they are reconciled while the claim may still reach Postgres: another run would be
// claimed in the slot of each.
test("leases from a failed claim in Postgres are reconciled before the next claim, when the claim is void", async () => {
  const runs = [newRunId(Date.now()), newRunId(Date.now())];
  claimInPostgres = async () => {
    throw new Error("deadlock detected");
  };
  for (const run of runs) snapshots.set(run, {});
  queue.offers.push(runs);
  worker.start();
  await eventually(() => expect(queue.released.map(({ run }) => run)).toEqual(runs));
  const sinceClaim = calls.slice(calls.indexOf("claim from the queue"));
  expect(sinceClaim.slice(0, sinceClaim.lastIndexOf("release") + 1)).toEqual([
    "claim from the queue",
    "claims are void",
    "beat: the queue is reachable",
    "lock direct",
    "read running runs",
    "release",
    "release",
  ]);
});

// Fails when unresolved leases are reconciled before the queue has answered.
test("a worker that cannot reconcile its leases because the queue is unreachable claims directly", async () => {
  open(["default"], directSoon);
  const leased = newRunId(Date.now());
  const answer = claimInPostgres;
  claimInPostgres = async () => {
    claimInPostgres = answer;
    throw new Error("connection refused");
  };
  snapshots.set(leased, {});
  queue.offers.push([leased]);
  const refuse = async (): Promise<never> => Promise.reject(new Error("connection refused"));
  Object.assign(queue, { release: refuse, readIndex: refuse });
  queue.readIndex = async () => {
    queue.readIndex = refuse;
    return { epoch: "1", scanned: "", uptoMs: 0, quotaReady: true, limitsUptoMs: 0 };
  };
  const run = claimable();
  directlyClaimable = [run];
  worker.start();
  await eventually(() => expect(fakeStore.row(run.run_id).status).toBe("completed"));
});

// Fails when a failed renewal does not make the worker synchronize before its next claim.
test("a worker whose renewal failed announces the queue before its next claim", async () => {
  worker.start();
  await eventually(() => expect(calls).toContain("claim from the queue"));
  expect(links.allUp).toBe(true);
  links.reportFailed(0);
  expect(links.allUp).toBe(false);
  calls.length = 0;
  wake();
  await eventually(() => expect(calls).toEqual(SYNCHRONIZED_CLAIM));
});

describe("a run that this worker executes, and claims directly under a new attempt", () => {
  beforeEach(() => open(["default"], directSoon));

  const offer = async (old: ClaimedRun, ...others: ClaimedRun[]): Promise<void> => {
    queue.offers.push([old.run_id]);
    worker.start();
    await eventually(() => expect(worker.active).toBe(1));
    const reclaimed = { ...old, attempt: 2 };
    Object.assign(fakeStore.row(old.run_id), { attempt: 2 });
    directlyClaimable = [reclaimed, ...others];
    const refuse = async (): Promise<never> => Promise.reject(new Error("connection refused"));
    Object.assign(queue, { claim: refuse, readIndex: refuse });
    wake();
  };

  // Fails when other runs wait until the old execution has ended, which may be never.
  test("does not hold up other runs", async () => {
    const flushed = Promise.withResolvers<void>();
    fakeStore.linkFaults.push({ is: "held", until: flushed.promise });
    const [old, other] = [claimable(), claimable()];
    await offer(old, other);
    await eventually(() => expect(fakeStore.row(other.run_id).status).toBe("completed"));
    expect(fakeStore.row(old.run_id).status).toBe("running");
    flushed.resolve();
  });

  test("begins when its old execution has ended", async () => {
    let begun = 0;
    step = async (signal) => (begun++ === 0 ? silentPeer(signal) : "answer");
    const old = claimable();
    await offer(old);
    await eventually(() => expect(fakeStore.row(old.run_id).status).toBe("completed"));
    expect(begun).toBe(2);
  });
});

// Fails when a worker without an open slot waits for the markers of open slots, or for a marker alone.
test("a worker that has only spare slots waits for their markers, and claims when a run ends", async () => {
  const ends = Promise.withResolvers<string>();
  let begun = 0;
  step = (signal) => (begun++ === 0 ? ends.promise : silentPeer(signal));
  const runs = Array.from({ length: 6 }, () => claimable().run_id);
  queue.offers.push(runs.slice(0, 5));
  worker.start();
  await eventually(() => expect([worker.active, waitedFor]).toEqual([5, [[]]]));
  queue.offers.push(runs.slice(5));
  ends.resolve("answer");
  await eventually(() => expect(begun).toBe(6));
  expect(waitedFor).toEqual([[]]);
});

// Fails when a worker without room in any lane waits for markers of no lane, which Redis refuses.
test("a worker whose lanes are all full waits for a slot, not for a marker", async () => {
  const freed = vi.spyOn(Slots.prototype, "freed", "get");
  open(["bulk", "mail"]);
  step = silentPeer;
  // Two open slots and two spare ones in each lane.
  const lanes = Array.from({ length: 8 }, (_, n) => (n % 2 === 0 ? ("bulk" as const) : ("mail" as const)));
  const runs = lanes.map((lane) => Object.assign(claimable(), { lane }));
  queue.offers.push(runs.map(({ run_id }) => run_id));
  worker.start();
  await eventually(() => expect(worker.active).toBe(8));
  // The claim loop has gone on from that claim, and waits.
  await eventually(() => expect(freed).toHaveBeenCalled());
  expect(waitedFor).toEqual([]);
});

describe("a worker that drains", () => {
  // Fails when the marker that ended its last wait is lost: the job that it calls for would wait for 2 s.
  test("passes on a marker that it took, and only then", async () => {
    worker.start();
    await eventually(() => expect(waitedFor).toHaveLength(1));
    await worker.drain(0);
    expect(calls).not.toContain("pass on a marker");
    open(["default"]);
    takesMarker = true;
    worker.start();
    await eventually(() => expect(waitedFor).toHaveLength(1));
    await worker.drain(0);
    expect(calls.at(-1)).toBe("pass on a marker");
  });

  test("lets runs go on during its grace", async () => {
    const answered = Promise.withResolvers<string>();
    step = () => answered.promise;
    const run = claimable();
    queue.offers.push([run.run_id]);
    worker.start();
    await eventually(() => expect(worker.active).toBe(1));
    const drained = worker.drain(60_000);
    answered.resolve("answer");
    await drained;
    expect(fakeStore.row(run.run_id).status).toBe("completed");
    expect(handedBack).toEqual([]);
  });

  test("hands back the runs that still execute after its grace, and releases their jobs", async () => {
    step = silentPeer;
    const run = claimable();
    queue.offers.push([run.run_id]);
    worker.start();
    await eventually(() => expect(worker.active).toBe(1));
    await worker.drain(20);
    expect(handedBack).toEqual([run.run_id]);
    expect(queue.released).toMatchObject([{ run: run.run_id, status: "queued", delayMs: 0 }]);
  });

  // Fails when only a claim finishes ended runs: a drain makes none, and each ended run would take a slot for a whole lease.
  test("finishes a run that ends meanwhile at once", async () => {
    let begun = 0;
    const answers = [Promise.withResolvers<string>(), Promise.withResolvers<string>()];
    step = async () => answers[begun++]?.promise ?? "a third answer";
    const [short, long] = [claimable(), claimable()];
    queue.offers.push([short.run_id, long.run_id]);
    worker.start();
    await eventually(() => expect(begun).toBe(2));
    const drained = worker.drain(60_000);
    wake();
    answers[0]?.resolve("answer");
    await eventually(() => expect(queue.finished).toHaveLength(1));
    expect(worker.active).toBe(1);
    answers[1]?.resolve("answer");
    await drained;
  });

  // Fails when a run that was handed back is still tracked: a renewal would lease it again to a worker that ends.
  test("does not track a run that it handed back, even while its execution has not stopped", async () => {
    const flushed = Promise.withResolvers<void>();
    fakeStore.linkFaults.push({ is: "held", until: flushed.promise });
    const run = claimable();
    queue.offers.push([run.run_id]);
    worker.start();
    await eventually(() => expect(fakeStore.linkFaults).toEqual([]));
    await worker.drain(0);
    expect(queue.released).toMatchObject([{ run: run.run_id, status: "queued", isTracked: false }]);
    flushed.resolve();
  });

  // Fails when only the runs that are executed when the drain begins are handed back: this one would wait for half a minute.
  test("hands back the runs of a claim that is under way", async () => {
    step = silentPeer;
    const run = claimable();
    const reply = claimInPostgres;
    const claiming = Promise.withResolvers<void>();
    const draining = Promise.withResolvers<void>();
    claimInPostgres = async (id) => {
      claiming.resolve();
      await draining.promise;
      return reply(id);
    };
    queue.offers.push([run.run_id]);
    worker.start();
    await claiming.promise;
    const drained = worker.drain(0);
    draining.resolve();
    await drained;
    expect(handedBack).toEqual([run.run_id]);
    expect(worker.active).toBe(0);
  });
});

// Fails when a worker claims from a queue that has no leases yet of the runs that were claimed directly.
test("a queue that was not reached yet, or was unreachable, is announced and gets the leases of running runs before the first claim from it", async () => {
  // As at a real start: the first beat comes before anything is claimed.
  await heartbeat.beat();
  calls.length = 0;
  worker.start();
  await eventually(() => expect(calls).toEqual(SYNCHRONIZED_CLAIM));
  const { claim } = queue;
  queue.claim = async () => Promise.reject(new Error("connection refused"));
  wake();
  await eventually(() => expect(links.allUp).toBe(false));
  queue.claim = claim;
  await eventually(() => expect(calls).toEqual([...SYNCHRONIZED_CLAIM, ...SYNCHRONIZED_CLAIM]));
});
