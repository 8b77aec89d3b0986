import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TenantId, newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import type { LeasesToRestore, RenewRequest } from "../../../shared/queue/queue.ts";
import { ColdError } from "../../../shared/queue/shard-scripts.ts";
import type { Job } from "../../../shared/queue/job.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import type { OwnedRun } from "../../../shared/store/workers/workers.ts";
import { Leases } from "../../../worker-node/fleet/leases.ts";
import type { HeldRun } from "../../../worker-node/fleet/leases.ts";
import { refusingStore } from "../fakes.ts";

const owner = newIncarnation("w");

/** A worker's leases on stores whose answers the test writes; time stands still until it is moved. */
function world() {
  const said = {
    owned: [] as OwnedRun[],
    lost: [] as RunId[],
    unknown: [] as RunId[],
    cold: false,
    away: false,
    hangs: false,
  };
  const handedBack: RunId[] = [];
  const held: RunId[] = [];
  const released: RunId[] = [];
  const colds: number[] = [];
  const aways: number[] = [];
  let beats = 0;
  const store: StateStore = {
    ...refusingStore,
    async beat() {
      beats += 1;
      if (said.away) throw new Error("connection refused");
      return said.owned;
    },
    async handBack(_owner, runs) {
      handedBack.push(...runs.map(({ run_id }) => run_id));
      return runs.map(({ run_id }) => run_id);
    },
  };
  class Renewing extends Queue {
    override async renew({ shard }: RenewRequest) {
      if (said.cold) throw new ColdError(shard);
      if (said.hangs) throw new Error("no answer");
      return { lostLeases: said.lost, unknownLeases: said.unknown };
    }
    override async release(jobs: readonly Job[]) {
      released.push(...jobs.map(({ run }) => run));
    }
    override async restoreLeases({ jobs }: LeasesToRestore) {
      held.push(...jobs.map(({ run }) => run));
    }
  }
  const none = async (): Promise<unknown> => Promise.reject(new Error("no Redis here"));
  const leases = new Leases({
    owner,
    store,
    queue: new Renewing({ evalsha: none, eval: none }, 1),
    self: () => ({
      worker_id: "w",
      hostname: "h",
      address: "",
      status: "online",
      lanes: ["default"],
      slots: 1,
      active: 0,
      loop_lag_ms: 0,
      redis_ok: true,
    }),
    onCold: (shard) => colds.push(shard),
    onAway: (shard) => aways.push(shard),
  });
  const heard: { signals: number; cancel: boolean }[] = [];
  const lost: RunId[] = [];
  const take = (attempt = 1): RunId => {
    const run = newRunId(Date.now());
    const each: HeldRun = {
      job: { run, tenant: TenantId.parse("acme"), lane: "default", score: 0 },
      attempt,
      signals: 0,
      sinceMs: performance.now(),
      lose: () => {
        leases.held.delete(run);
        lost.push(run);
      },
      hear: (news) => heard.push(news),
    };
    leases.held.set(run, each);
    return run;
  };
  return { leases, said, handedBack, held, released, colds, aways, heard, lost, take, beats: () => beats };
}

const mine = (run_id: RunId, changes: Partial<OwnedRun> = {}): OwnedRun => ({
  run_id,
  attempt: 1,
  signals: 0,
  cancel: false,
  ...changes,
});

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance", "setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a beat", () => {
  // Red when: the list of the beat is not compared with what is executed; or the lease of another's run is kept, or
  // that of an attempt of our own given up.
  test("stops what Postgres does not name as ours, or names under another attempt", async () => {
    const { leases, said, take, lost, released } = world();
    const [kept, gone, other] = [take(), take(), take()];
    await vi.advanceTimersByTimeAsync(1);
    said.owned = [mine(kept), mine(other, { attempt: 2 })];
    await leases.beat();
    expect(lost).toEqual([gone, other]);
    expect(released).toEqual([gone]);
  });

  test("says nothing about a run that was claimed after its question", async () => {
    const { leases, take, lost } = world();
    const asked = leases.beat();
    take();
    await asked;
    expect(lost).toEqual([]);
  });

  test("tells of a cancel and of signals that have moved, and of nothing else", async () => {
    const { leases, said, take, heard } = world();
    const run = take();
    await vi.advanceTimersByTimeAsync(1);
    said.owned = [mine(run)];
    await leases.beat();
    expect(heard).toEqual([]);
    said.owned = [mine(run, { signals: 1, cancel: true })];
    await leases.beat();
    expect(heard).toMatchObject([{ signals: 1, cancel: true }]);
  });

  // Red when: who is told of a cancel while a beat is under way takes its answer for one to his question: the run would
  // go on until the next, for 5 s.
  test("that is asked for while another is under way asks once more after it", async () => {
    const { leases, said, take, heard, beats } = world();
    const run = take();
    await vi.advanceTimersByTimeAsync(1);
    said.owned = [mine(run)];
    const before = leases.beat();
    // It has asked.
    said.owned = [mine(run, { signals: 1, cancel: true })];
    await Promise.all([before, leases.beatAgain(), leases.beatAgain()]);
    expect(heard).toMatchObject([{ signals: 1, cancel: true }]);
    expect(beats()).toBe(2);
  });

  // Red when: one beat is enough (a claim may be on its way), or none is.
  test("hands back what two beats in a row name and nobody here executes", async () => {
    const { leases, said, handedBack } = world();
    const run = newRunId(Date.now());
    said.owned = [mine(run)];
    await leases.beat();
    expect(handedBack).toEqual([]);
    await leases.beat();
    expect(handedBack).toEqual([run]);
  });

  // Red when: strays are told apart by run alone: the second attempt has been seen once.
  test("does not hand back a run that was claimed again between the two", async () => {
    const { leases, said, handedBack } = world();
    const run = newRunId(Date.now());
    said.owned = [mine(run, { attempt: 1 })];
    await leases.beat();
    said.owned = [mine(run, { attempt: 2 })];
    await leases.beat();
    expect(handedBack).toEqual([]);
  });

  test("that Postgres does not answer loses nothing, and is known", async () => {
    const { leases, said, take, lost } = world();
    take();
    said.away = true;
    await leases.beat();
    expect(leases.postgresAway).toBe(true);
    expect(lost).toEqual([]);
    said.away = false;
    said.owned = [];
    await vi.advanceTimersByTimeAsync(1);
    await leases.beat();
    expect(leases.postgresAway).toBe(false);
    expect(lost).toHaveLength(1);
  });
});

describe("a renewal", () => {
  test("stops what another holds in Redis", async () => {
    const { leases, said, take, lost } = world();
    const run = take();
    said.owned = [mine(run)];
    leases.start();
    said.lost = [run];
    await vi.advanceTimersByTimeAsync(5_001);
    leases.stop();
    expect(lost).toEqual([run]);
  });

  test("takes the lease again that Redis has forgotten, if Postgres says the run is ours", async () => {
    const { leases, said, take, held, lost } = world();
    const [ours, notOurs] = [take(), take()];
    said.owned = [mine(ours), mine(notOurs)];
    await leases.beat();
    said.owned = [mine(ours)];
    said.unknown = [ours, notOurs];
    await vi.advanceTimersByTimeAsync(1);
    await leases.beat();
    leases.start();
    await vi.advanceTimersByTimeAsync(5_001);
    leases.stop();
    expect(held).toEqual([ours]);
    expect(lost).toEqual([notOurs]);
  });

  // Red when: what has ended meanwhile is held: a slot of its tenant would be taken for 15 s by nobody.
  test("does not take a lease for a run that has left while it asked", async () => {
    const { leases, said, take, held } = world();
    const run = take();
    said.owned = [mine(run)];
    await leases.beat();
    said.unknown = [run];
    leases.start();
    vi.advanceTimersByTime(5_000);
    leases.held.delete(run);
    await vi.advanceTimersByTimeAsync(1);
    leases.stop();
    expect(held).toEqual([]);
  });

  test("on a cold shard asks for a pass of the reconciler", async () => {
    const { leases, said, take, colds } = world();
    said.owned = [mine(take())];
    said.cold = true;
    leases.start();
    await vi.advanceTimersByTimeAsync(5_001);
    leases.stop();
    expect(colds).toEqual([0]);
  });

  // Red when: only who claims finds out that the queue is away: a full worker would tell others that it is reached, so
  // that nobody claims without it.
  test("that fails says that the queue is away", async () => {
    const { leases, said, take, aways, colds } = world();
    said.owned = [mine(take())];
    said.hangs = true;
    leases.start();
    await vi.advanceTimersByTimeAsync(5_001);
    leases.stop();
    expect([aways, colds]).toEqual([[0], []]);
  });
});

describe("before a call to the outside", () => {
  const signal = new AbortController().signal;

  test("a worker that was heard of a moment ago does not ask", async () => {
    const { leases, said, take, beats } = world();
    const run = take();
    said.owned = [mine(run)];
    await leases.beat();
    await vi.advanceTimersByTimeAsync(11_000);
    await leases.confirm(run, signal);
    expect(beats()).toBe(1);
  });

  // Red when: `confirm` only looks at what it holds.
  test("a worker that was stopped for a minute asks first, and starts nothing of what it lost", async () => {
    const { leases, said, take, beats } = world();
    const run = take();
    said.owned = [mine(run)];
    await leases.beat();
    await vi.advanceTimersByTimeAsync(60_000);
    said.owned = [];
    await expect(leases.confirm(run, signal)).rejects.toThrow("lost");
    expect(beats()).toBe(2);
  });

  // Red when: a renewal that nobody answered for counts. The run may have been taken over, and finished, meanwhile.
  test("a renewal that Redis knows nothing of is no confirmation", async () => {
    const { leases, said, take } = world();
    const run = take();
    said.owned = [mine(run)];
    await leases.beat();
    said.unknown = [run];
    said.away = true;
    leases.start();
    await vi.advanceTimersByTimeAsync(60_000);
    leases.stop();
    said.away = false;
    said.owned = [];
    await expect(leases.confirm(run, signal)).rejects.toThrow("lost");
  });

  test("while nobody can be asked it waits, until it is told to stop", async () => {
    const { leases, said, take } = world();
    const run = take();
    said.away = true;
    const stop = new AbortController();
    const confirmed = leases.confirm(run, stop.signal);
    confirmed.catch(() => {});
    await vi.advanceTimersByTimeAsync(10_000);
    stop.abort(new Error("enough"));
    await expect(confirmed).rejects.toThrow();
  });
});
