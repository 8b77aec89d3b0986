import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TenantId, newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { ColdError } from "../../../shared/queue/shard-scripts.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import type { LeasesToRestore, RenewRequest } from "../../../shared/queue/queue.ts";
import type { Job } from "../../../shared/queue/job.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import type { OwnedRun } from "../../../shared/store/workers/workers.ts";
import { Leases } from "../../../worker-node/fleet/leases.ts";
import { QueueLinks } from "../../../worker-node/fleet/queue-links.ts";
import { workerTiming } from "../../../worker-node/fleet/worker-timing.ts";
import type { WorkerTiming } from "../../../worker-node/fleet/worker-timing.ts";
import { refusingStore } from "../fakes.ts";

const owner = newIncarnation("w");

/** A worker's leases on stores whose replies the test sets. Time stands still until the test moves it. */
function openLeases(timing: WorkerTiming = workerTiming) {
  const replies = {
    owned: [] as OwnedRun[],
    lost: [] as RunId[],
    unknown: [] as RunId[],
    isCold: false,
    isPostgresAway: false,
    isRedisAway: false,
  };
  const handedBack: RunId[] = [];
  const restored: RunId[] = [];
  const released: RunId[] = [];
  const coldShards: number[] = [];
  let beats = 0;
  const store: StateStore = {
    ...refusingStore,
    async beat() {
      beats += 1;
      if (replies.isPostgresAway) throw new Error("connection refused");
      return replies.owned;
    },
    async handBack(_owner, runs) {
      handedBack.push(...runs.map(({ run_id }) => run_id));
      return runs.map(({ run_id }) => run_id);
    },
  };
  class FakeQueue extends Queue {
    override async renew({ shard }: RenewRequest) {
      if (replies.isCold) throw new ColdError(shard);
      if (replies.isRedisAway) throw new Error("no answer");
      return { lostLeases: replies.lost, unknownLeases: replies.unknown };
    }
    override async release(jobs: readonly Job[]) {
      released.push(...jobs.map(({ run }) => run));
    }
    override async restoreLeases({ jobs }: LeasesToRestore) {
      restored.push(...jobs.map(({ run }) => run));
    }
  }
  const refuse = async (): Promise<unknown> => Promise.reject(new Error("no Redis here"));
  const links = new QueueLinks(1, timing);
  links.onCold((shard) => coldShards.push(shard));
  const leases = new Leases({
    owner,
    store,
    queue: new FakeQueue({ evalsha: refuse, eval: refuse }, 1),
    links,
    timing,
    report: () => ({
      worker_id: "w",
      hostname: "h",
      address: "",
      status: "online",
      lanes: ["default"],
      slots: 1,
      active: 0,
      loop_lag_ms: 0,
    }),
  });
  const signals: { signals: number; cancel: boolean }[] = [];
  const superseded: RunId[] = [];
  const track = (attempt = 1): RunId => {
    const run = newRunId(Date.now());
    leases.track({
      job: { run, tenant: TenantId.parse("acme"), lane: "default", score: 0 },
      attempt,
      signals: 0,
      sinceMs: performance.now(),
      supersede: () => superseded.push(run),
      onSignal: (signal) => signals.push(signal),
    });
    return run;
  };
  const stores = { replies, handedBack, restored, released, coldShards, beats: () => beats };
  return { ...stores, leases, links, signals, superseded, track };
}

const owned = (run_id: RunId, changes: Partial<OwnedRun> = {}): OwnedRun => ({
  run_id,
  attempt: 1,
  signals: 0,
  cancel: false,
  ...changes,
});

/** Renews once, a beat period from now. */
async function renewOnce(leases: Leases): Promise<void> {
  leases.start();
  await vi.advanceTimersByTimeAsync(5_001);
  leases.stop();
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance", "setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a beat", () => {
  // Fails when the reply is not compared with what is executed, when the lease of a run that is gone is kept, or when the
  // lease of another attempt of this worker is released.
  test("supersedes executions that Postgres does not name, or names under another attempt", async () => {
    const { leases, replies, track, superseded, released } = openLeases();
    const [same, gone, otherAttempt] = [track(), track(), track()];
    await vi.advanceTimersByTimeAsync(1);
    replies.owned = [owned(same), owned(otherAttempt, { attempt: 2 })];
    await leases.beat();
    expect(superseded).toEqual([gone, otherAttempt]);
    expect(released).toEqual([gone]);
  });

  test("says nothing about a run that was claimed after it was sent", async () => {
    const { leases, track, superseded } = openLeases();
    const beating = leases.beat();
    track();
    await beating;
    expect(superseded).toEqual([]);
  });

  test("passes on a cancel and signals that changed, and nothing else", async () => {
    const { leases, replies, track, signals } = openLeases();
    const run = track();
    await vi.advanceTimersByTimeAsync(1);
    replies.owned = [owned(run)];
    await leases.beat();
    expect(signals).toEqual([]);
    replies.owned = [owned(run, { signals: 1, cancel: true })];
    await leases.beat();
    expect(signals).toMatchObject([{ signals: 1, cancel: true }]);
  });

  // Fails when a cancel hint during a beat joins that beat, which may have read before the cancel: the run would go on
  // until the next beat, 5 s later.
  test("that is requested during another one is sent after it, once for all requests", async () => {
    const { leases, replies, track, signals, beats } = openLeases();
    const run = track();
    await vi.advanceTimersByTimeAsync(1);
    replies.owned = [owned(run)];
    const before = leases.beat();
    // The first beat has been sent.
    replies.owned = [owned(run, { signals: 1, cancel: true })];
    await Promise.all([before, leases.beatAgain(), leases.beatAgain()]);
    expect(signals).toMatchObject([{ signals: 1, cancel: true }]);
    expect(beats()).toBe(2);
  });

  // Fails when one beat is enough (the reply of a claim may be on its way), or when no beat is.
  test("hands back a run that two beats in a row name and that is not executed here", async () => {
    const { leases, replies, handedBack } = openLeases();
    const run = newRunId(Date.now());
    replies.owned = [owned(run)];
    await leases.beat();
    expect(handedBack).toEqual([]);
    await leases.beat();
    expect(handedBack).toEqual([run]);
  });

  // Fails when strays are compared by run alone: the second attempt was named once.
  test("does not hand back a run that was claimed again between two beats", async () => {
    const { leases, replies, handedBack } = openLeases();
    const run = newRunId(Date.now());
    replies.owned = [owned(run, { attempt: 1 })];
    await leases.beat();
    replies.owned = [owned(run, { attempt: 2 })];
    await leases.beat();
    expect(handedBack).toEqual([]);
  });

  test("that fails supersedes nothing, and marks Postgres as unreachable until one succeeds", async () => {
    const { leases, links, replies, track, superseded } = openLeases();
    track();
    replies.isPostgresAway = true;
    await leases.beat();
    expect(links.isPostgresReachable).toBe(false);
    expect(superseded).toEqual([]);
    replies.isPostgresAway = false;
    replies.owned = [];
    await vi.advanceTimersByTimeAsync(1);
    await leases.beat();
    expect(links.isPostgresReachable).toBe(true);
    expect(superseded).toHaveLength(1);
  });
});

describe("a renewal", () => {
  test("supersedes executions whose lease another worker has", async () => {
    const { leases, replies, track, superseded } = openLeases();
    const run = track();
    replies.owned = [owned(run)];
    replies.lost = [run];
    await renewOnce(leases);
    expect(superseded).toEqual([run]);
  });

  test("restores a lease that Redis lost, if Postgres says that the run is this worker's", async () => {
    const { leases, replies, track, restored, superseded } = openLeases();
    const [mine, notMine] = [track(), track()];
    replies.owned = [owned(mine), owned(notMine)];
    await leases.beat();
    replies.owned = [owned(mine)];
    replies.unknown = [mine, notMine];
    await vi.advanceTimersByTimeAsync(1);
    await leases.beat();
    await renewOnce(leases);
    expect(restored).toEqual([mine]);
    expect(superseded).toEqual([notMine]);
  });

  // Fails when the lease of a run that ended meanwhile is restored: a slot of its tenant would be taken for 15 s.
  test("does not restore the lease of a run that ended here while the renewal was under way", async () => {
    const { leases, replies, track, restored } = openLeases();
    const run = track();
    replies.owned = [owned(run)];
    await leases.beat();
    replies.unknown = [run];
    leases.start();
    vi.advanceTimersByTime(5_000);
    leases.untrack(run);
    await vi.advanceTimersByTimeAsync(1);
    leases.stop();
    expect(restored).toEqual([]);
  });

  test("of a cold shard reports it, so that the reconciler starts a pass", async () => {
    const { leases, replies, track, coldShards } = openLeases();
    replies.owned = [owned(track())];
    replies.isCold = true;
    await renewOnce(leases);
    expect(coldShards).toEqual([0]);
  });

  // Fails when only a claim finds out that the queue is unreachable: a worker without a free slot would say in its beats
  // that it reaches the queue, so that no worker claims directly.
  test("that fails marks the shard as unreachable", async () => {
    const { leases, links, replies, track, coldShards } = openLeases();
    replies.owned = [owned(track())];
    replies.isRedisAway = true;
    links.reportClaimed(0);
    await renewOnce(leases);
    expect([links.of(0), links.redisOk, coldShards]).toEqual(["down", false, []]);
  });
});

describe("before a call to the outside", () => {
  const { signal } = new AbortController();

  test("a worker with a recent confirmation does not beat", async () => {
    const { leases, replies, track, beats } = openLeases();
    const run = track();
    replies.owned = [owned(run)];
    await leases.beat();
    await vi.advanceTimersByTimeAsync(11_000);
    await leases.confirm(run, signal);
    expect(beats()).toBe(1);
  });

  // Fails when `confirm` looks only at what this worker tracks.
  test("a worker that was stopped for a minute beats first, and does not go on with a run that was taken over", async () => {
    const { leases, replies, track, beats } = openLeases();
    const run = track();
    replies.owned = [owned(run)];
    await leases.beat();
    await vi.advanceTimersByTimeAsync(60_000);
    replies.owned = [];
    await expect(leases.confirm(run, signal)).rejects.toThrow("superseded");
    expect(beats()).toBe(2);
  });

  // Fails when a renewal of leases that Redis does not know counts: the run may have been taken over, and have ended, since.
  test("a renewal that Redis knows nothing of is no confirmation", async () => {
    const { leases, replies, track } = openLeases();
    const run = track();
    replies.owned = [owned(run)];
    await leases.beat();
    replies.unknown = [run];
    replies.isPostgresAway = true;
    leases.start();
    await vi.advanceTimersByTimeAsync(60_000);
    leases.stop();
    replies.isPostgresAway = false;
    replies.owned = [];
    await expect(leases.confirm(run, signal)).rejects.toThrow("superseded");
  });

  test("a worker that reaches no store waits until its execution is stopped", async () => {
    const { leases, replies, track } = openLeases();
    const run = track();
    replies.isPostgresAway = true;
    const stop = new AbortController();
    const confirmed = leases.confirm(run, stop.signal);
    confirmed.catch(() => {});
    await vi.advanceTimersByTimeAsync(10_000);
    stop.abort(new Error("enough"));
    await expect(confirmed).rejects.toThrow();
  });

  test("the lengths of beat and silence are the given ones", async () => {
    const { leases, beats } = openLeases({ ...workerTiming, beatMs: 100, silentMs: 240 });
    leases.start();
    await vi.advanceTimersByTimeAsync(350);
    leases.stop();
    expect(beats()).toBe(3);
    await vi.advanceTimersByTimeAsync(241);
    await expect(leases.confirm(newRunId(Date.now()), signal)).rejects.toThrow("superseded");
    expect(beats()).toBe(4);
  });
});
