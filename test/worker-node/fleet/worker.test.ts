import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TenantId, newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import type { Lane } from "../../../shared/contracts/run.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import type { Job, JobName, JobWait } from "../../../shared/queue/job.ts";
import type { Claim, ClaimRequest, LeasesToRestore } from "../../../shared/queue/queue.ts";
import type { ClaimedRun, RunLook } from "../../../shared/store/runs/claim.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import { Definitions } from "../../../worker-node/execution/definitions.ts";
import { RetryableError } from "../../../worker-node/engine/errors.ts";
import { Journal } from "../../../worker-node/journal/journal.ts";
import { Leases } from "../../../worker-node/fleet/leases.ts";
import { Worker } from "../../../worker-node/fleet/worker.ts";
import { FakeStore } from "../fake-store.ts";

const owner = newIncarnation("w");
const acme = TenantId.parse("acme");

/** What the worker has told the queue, and what the queue gives it. */
class Told extends Queue {
  readonly offers: RunId[][] = [];
  readonly ended: RunId[] = [];
  readonly finished: RunId[] = [];
  readonly released: { run: RunId; status: string; delayMs: number; stillHeld: boolean }[] = [];
  readonly heldFor: { run: RunId; owner: string; ms: number }[] = [];
  isHeld: (run: RunId) => boolean = () => false;

  constructor() {
    const none = async (): Promise<unknown> => Promise.reject(new Error("no Redis here"));
    super({ evalsha: none, eval: none }, 1);
  }
  override async claim({ ended }: ClaimRequest): Promise<Claim> {
    await sleep(1);
    told.push("claims");
    this.ended.push(...ended);
    return { runs: (this.offers.shift() ?? []).map((run) => ({ run, tenant: acme })), nextMs: 60_000 };
  }
  override async readIndex() {
    return { epoch: "1", scanned: "", uptoMs: 0, quotaReady: true, limitsUptoMs: 0 };
  }
  override async finish(jobs: readonly JobName[]) {
    this.finished.push(...jobs.map(({ run }) => run));
  }
  override async release(jobs: readonly (Job & JobWait)[]) {
    for (const { run, status, delayMs } of jobs) {
      told.push("releases");
      this.released.push({ run, status, delayMs, stillHeld: this.isHeld(run) });
    }
  }
  override async restoreLeases({ jobs, owner: holder, leaseMs }: LeasesToRestore) {
    this.heldFor.push(...jobs.map(({ run }) => ({ run, owner: holder, ms: leaseMs })));
  }
}

let truth: FakeStore;
let queue: Told;
let worker: Worker;
let claims: ((run: RunId) => Promise<ClaimedRun | null>) | null;
let looks: Map<RunId, Partial<RunLook>>;
let handedBack: RunId[];
/** What is given out without the queue, once. */
let direct: ClaimedRun[];
let wake: () => void;
let waitedFor: (readonly Lane[])[];
/** What the store heard before runs were claimed, in order. */
let told: string[];
/** How the one step of every run goes. */
let step: (signal: AbortSignal) => Promise<string>;

beforeEach(() => open(["default"]));

function open(lanes: readonly Lane[]): void {
  waitedFor = [];
  told = [];
  truth = new FakeStore();
  queue = new Told();
  looks = new Map();
  handedBack = [];
  claims = null;
  direct = [];
  wake = () => {};
  step = async () => "answer";
  const llm = { id: "a", type: "llm", model: "demo/fast", prompt_template: "Write" };
  const definition = JSON.stringify({ id: "orch", name: "Orch", entry_step_id: "a", steps: [llm] });
  const store: StateStore = {
    ...truth.store,
    beat: async ({ redis_ok }) => {
      told.push(redis_ok ? "the queue answers" : "the queue is away");
      return [];
    },
    takeLock: async (name) => {
      told.push(`waits for ${name}`);
      return true;
    },
    runningRuns: async () => {
      told.push("asks what runs");
      return [];
    },
    orchestration: async () => definition,
    claim: async (_owner, runs) => {
      const got = await Promise.all(runs.map(async (run) => (await claims?.(run)) ?? null));
      return got.filter((run) => run !== null);
    },
    claimDirectly: async () => direct.splice(0),
    lookUp: async (runs) => runs.flatMap((run) => (looks.has(run) ? [lookOf(run)] : [])),
    handBack: async (_owner, runs) => {
      const mine = runs.filter(({ run_id }) => truth.row(run_id).status === "running");
      for (const { run_id } of mine) Object.assign(truth.row(run_id), { status: "queued", owner: null });
      handedBack.push(...mine.map(({ run_id }) => run_id));
      return mine.map(({ run_id }) => run_id);
    },
  };
  const self = {
    worker_id: "w",
    hostname: "h",
    address: "",
    status: "online" as const,
    lanes: [...lanes],
    slots: 5,
    active: 0,
    loop_lag_ms: 0,
  };
  const leases = new Leases({
    owner,
    store,
    queue,
    self: () => ({ ...self, redis_ok: worker.queueReachable }),
    onCold: () => {},
    onAway: (shard) => worker.loseQueue(shard),
  });
  queue.isHeld = (run) => leases.held.has(run);
  const refuse = async (): Promise<never> => Promise.reject(new Error("not in this test"));
  worker = new Worker({
    owner,
    slots: 5,
    lanes,
    queue,
    store,
    leases,
    onCold: () => {},
    waitForWork: (_shard, waited, ms) =>
      new Promise((resolve) => {
        waitedFor.push(waited);
        const timer = setTimeout(resolve, ms);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      }),
    world: {
      owner,
      journal: new Journal(owner, store, () => {}),
      definitions: new Definitions(store),
      models: {
        async generate({ signal }) {
          const usage = { provider: "d", model: "d", input_tokens: 1, output_tokens: 1, cost_micro_usd: 1 };
          return { text: await step(signal), tool_calls: [], usage };
        },
      },
      tools: { call: refuse },
      sandbox: { evaluate: refuse, transform: refuse },
      artifacts: null,
      readWaits: store.readWaits,
      confirm: async () => {},
    },
  });
}
afterEach(async () => {
  wake();
  await worker.drain(0);
});

function lookOf(run: RunId): RunLook {
  return {
    run_id: run,
    tenant_id: acme,
    status: "queued",
    lane: "default",
    priority: 0,
    queued_at_ms: 0,
    owner: null,
    owner_silent: false,
    attempt: 1,
    signals: 0,
    cancel: false,
    due_in_ms: 0,
    ...looks.get(run),
  };
}

/** A run that Postgres gives to this worker. */
function claimable(): ClaimedRun {
  const opened = truth.open(owner);
  const run: ClaimedRun = {
    ...opened,
    tenant_id: acme,
    orchestration_id: "orch",
    definition_tenant: "acme",
    definition_version: 1,
    crash_count: 0,
    cancel: false,
    lane: "default",
    priority: 0,
    input: JSON.stringify({ message: "hello", state: {} }),
    queued_at_ms: 0,
    running_for_ms: 0,
    cost_micro_usd: 0,
    journal: [],
  };
  const before = claims;
  claims = async (asked) => (asked === run.run_id ? run : (before?.(asked) ?? null));
  return run;
}

const settled = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 5_000, interval: 5 });

describe("a run that the queue offers and Postgres does not give", () => {
  const offered = async (look: Partial<RunLook> | null): Promise<RunId> => {
    const run = newRunId(Date.now());
    if (look) looks.set(run, look);
    queue.offers.push([run]);
    worker.start();
    await settled(() =>
      expect(queue.finished.length + queue.released.length + queue.heldFor.length).toBeGreaterThan(0),
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

  test("is released until its time when it is due later, queued or paused as it is", async () => {
    const run = await offered({ status: "paused", due_in_ms: 40_000 });
    expect(queue.released).toMatchObject([{ run, status: "paused", delayMs: 40_000 }]);
  });

  test("is held for the worker that executes it", async () => {
    const run = await offered({ status: "running", owner: "other#00000000" });
    expect(queue.heldFor).toEqual([{ run, owner: "other#00000000", ms: 5_000 }]);
  });

  test("is released for a second when somebody has it locked", async () => {
    const run = await offered({
      status: "running",
      owner: "other#00000000",
      owner_silent: true,
      due_in_ms: -500,
    });
    expect(queue.released).toMatchObject([{ run, status: "queued", delayMs: 1_000 }]);
  });
});

test("a run that ends while the worker is idle is finished at once", async () => {
  const run = claimable();
  queue.offers.push([run.run_id]);
  worker.start();
  await settled(() => expect(queue.finished).toEqual([run.run_id]));
  expect(truth.row(run.run_id).status).toBe("completed");
});

// Red when: the lease is let go of before the run is: a renewal in between would take it again.
test("a run that parks is not held any more when its lease is released", async () => {
  step = () => Promise.reject(new RetryableError("busy", "busy", { retryAfterMs: 60_000 }));
  const run = claimable();
  queue.offers.push([run.run_id]);
  worker.start();
  await settled(() => expect(queue.released).toHaveLength(1));
  expect(queue.released).toEqual([{ run: run.run_id, status: "queued", delayMs: 60_000, stillHeld: false }]);
});

test("what is offered again while it is executed is not begun a second time", async () => {
  let begun = 0;
  step = async () => {
    begun += 1;
    await sleep(50);
    return "answer";
  };
  const run = claimable();
  queue.offers.push([run.run_id], [run.run_id]);
  worker.start();
  await settled(() => expect(truth.row(run.run_id).status).toBe("completed"));
  expect(begun).toBe(1);
});

// Red when: what the queue has leased to a worker is forgotten when Postgres does not say whose it is: 15 s of slots, and
// of as many more for each claim until it does.
test("runs whose claim Postgres refused for a moment are given back before others are claimed", async () => {
  const runs = [newRunId(Date.now()), newRunId(Date.now())];
  claims = async () => {
    throw new Error("deadlock detected");
  };
  for (const run of runs) looks.set(run, {});
  queue.offers.push(runs);
  worker.start();
  await settled(() => expect(queue.released.map(({ run }) => run)).toEqual(runs));
  expect(told.slice(told.indexOf("claims")).slice(0, 3)).toEqual(["claims", "releases", "releases"]);
});

// Red when: what is to be given back to the queue comes before the question whether it is there.
test("a worker that cannot give back what it leased, as the queue is away, claims without it", async () => {
  const lost = newRunId(Date.now());
  const answer = claims;
  claims = async () => {
    claims = answer;
    throw new Error("connection refused");
  };
  looks.set(lost, {});
  queue.offers.push([lost]);
  const gone = async (): Promise<never> => Promise.reject(new Error("connection refused"));
  Object.assign(queue, { release: gone, readIndex: gone });
  queue.readIndex = async () => {
    queue.readIndex = gone;
    return { epoch: "1", scanned: "", uptoMs: 0, quotaReady: true, limitsUptoMs: 0 };
  };
  const run = claimable();
  direct = [run];
  worker.start();
  await vi.waitFor(() => expect(truth.row(run.run_id).status).toBe("completed"), { timeout: 12_000 });
});

// Red when: a worker that claims nothing, being full, does not hear that the queue is away, or claims from it again
// without saying so.
test("a worker that was told that the queue is away says so, and announces it before its next claim", async () => {
  worker.start();
  await settled(() => expect(told).toContain("claims"));
  expect(worker.queueReachable).toBe(true);
  worker.loseQueue(0);
  expect(worker.queueReachable).toBe(false);
  told.length = 0;
  wake();
  await settled(() =>
    expect(told).toEqual(["the queue answers", "waits for direct", "asks what runs", "claims"]),
  );
});

describe("a run that this worker executes, and claims anew without the queue", () => {
  const offer = async (old: ClaimedRun, ...others: ClaimedRun[]): Promise<void> => {
    queue.offers.push([old.run_id]);
    worker.start();
    await settled(() => expect(worker.active).toBe(1));
    const again = { ...old, attempt: 2 };
    Object.assign(truth.row(old.run_id), { attempt: 2 });
    direct = [again, ...others];
    const gone = async (): Promise<never> => Promise.reject(new Error("connection refused"));
    Object.assign(queue, { claim: gone, readIndex: gone });
    wake();
  };

  // Red when: others wait until the old execution has stopped, which may be never.
  test("keeps no other waiting", async () => {
    truth.weather.push({ is: "slow", ms: 9_000 });
    const [old, other] = [claimable(), claimable()];
    await offer(old, other);
    await vi.waitFor(() => expect(truth.row(other.run_id).status).toBe("completed"), { timeout: 8_500 });
    expect(truth.row(old.run_id).status).toBe("running");
  });

  test("begins again when its old execution has gone", async () => {
    let begun = 0;
    step = async (signal) => (begun++ === 0 ? sleep(60_000, "never", { signal }) : "answer");
    const old = claimable();
    await offer(old);
    await vi.waitFor(() => expect(truth.row(old.run_id).status).toBe("completed"), { timeout: 9_000 });
    expect(begun).toBe(2);
  });
});

// Red when: a worker without room in any lane waits for markers of none, which Redis refuses.
test("a worker whose lanes are all full waits for a slot, not for work", async () => {
  open(["bulk", "mail"]);
  step = (signal) => sleep(60_000, "never", { signal });
  const runs = (["bulk", "bulk", "mail", "mail"] as const).map((lane) =>
    Object.assign(claimable(), { lane }),
  );
  queue.offers.push(runs.map(({ run_id }) => run_id));
  worker.start();
  await settled(() => expect(worker.active).toBe(4));
  await sleep(30);
  expect(waitedFor).toEqual([]);
});

describe("a worker that drains", () => {
  const never = (signal: AbortSignal) => sleep(60_000, "never", { signal });

  test("lets runs go on for the time it was given", async () => {
    step = () => sleep(100, "answer");
    const run = claimable();
    queue.offers.push([run.run_id]);
    worker.start();
    await settled(() => expect(worker.active).toBe(1));
    await worker.drain(5_000);
    expect(truth.row(run.run_id).status).toBe("completed");
    expect(handedBack).toEqual([]);
  });

  test("hands back what still runs then, and says so to the queue", async () => {
    step = never;
    const run = claimable();
    queue.offers.push([run.run_id]);
    worker.start();
    await settled(() => expect(worker.active).toBe(1));
    await worker.drain(20);
    expect(handedBack).toEqual([run.run_id]);
    expect(queue.released).toMatchObject([{ run: run.run_id, status: "queued", delayMs: 0 }]);
  });

  // Red when: only the loop tells the queue what has ended: there is none in a drain, and each end costs 15 s of a slot.
  test("tells the queue at once what ends meanwhile", async () => {
    let begun = 0;
    step = (signal) => sleep(begun++ === 0 ? 300 : 60_000, "answer", { signal });
    const [short, long] = [claimable(), claimable()];
    queue.offers.push([short.run_id, long.run_id]);
    worker.start();
    await settled(() => expect(begun).toBe(2));
    const drained = worker.drain(1_500);
    wake();
    await settled(() => expect(queue.finished).toHaveLength(1));
    expect(worker.active).toBe(1);
    await drained;
  });

  // Red when: a run that was handed back is still renewed, and so leased again by whom nobody hears any more.
  test("does not hold any more what it has handed back, also when that has not stopped yet", async () => {
    truth.weather.push({ is: "slow", ms: 2_500 });
    const run = claimable();
    queue.offers.push([run.run_id]);
    worker.start();
    await settled(() => expect(truth.weather).toEqual([]));
    await worker.drain(0);
    expect(queue.released).toMatchObject([{ run: run.run_id, status: "queued", stillHeld: false }]);
  });

  // Red when: runs are counted before the last claim has answered: this one would be lost for half a minute.
  test("hands back what a claim brings that was on its way", async () => {
    step = never;
    const run = claimable();
    const inner = claims;
    const asked = Promise.withResolvers<void>();
    claims = async (id) => {
      asked.resolve();
      await sleep(200);
      return (await inner?.(id)) ?? null;
    };
    queue.offers.push([run.run_id]);
    worker.start();
    await asked.promise;
    await worker.drain(0);
    expect(handedBack).toEqual([run.run_id]);
    expect(worker.active).toBe(0);
  });
});

// Red when: a queue that answers again is claimed from before it knows of what was claimed without it.
test("nothing is claimed from a queue that was away, or not seen yet, before nobody claims without it, and it knows what runs", async () => {
  const found = ["the queue answers", "waits for direct", "asks what runs", "claims"];
  worker.start();
  await settled(() => expect(told).toEqual(found));
  const { claim } = queue;
  queue.claim = async () => Promise.reject(new Error("connection refused"));
  wake();
  await settled(() => expect(worker.queueReachable).toBe(false));
  queue.claim = claim;
  await settled(() => expect(told).toEqual([...found, ...found]));
});
