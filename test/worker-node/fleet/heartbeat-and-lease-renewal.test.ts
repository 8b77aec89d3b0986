import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TenantId, newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { ColdError } from "../../../shared/queue/scripts.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import type { LeasesToRestore, RenewRequest } from "../../../shared/queue/queue.ts";
import type { Job } from "../../../shared/queue/job.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import type { Beat, OwnedRun } from "../../../shared/store/workers/beats.ts";
import { LiveLaneSettings } from "../../../worker-node/fleet/live-lane-settings.ts";
import { Heartbeat } from "../../../worker-node/fleet/heartbeat.ts";
import { LeaseRenewal } from "../../../worker-node/fleet/lease-renewal.ts";
import { QueueLinks } from "../../../worker-node/fleet/queue-links.ts";
import { TrackedRuns } from "../../../worker-node/fleet/tracked-runs.ts";
import { workerTiming } from "../../../worker-node/fleet/worker-timing.ts";
import type { WorkerTiming } from "../../../worker-node/fleet/worker-timing.ts";
import { refusingStore } from "../fakes.ts";

const owner = newIncarnation("w");

/** A worker's heartbeat and lease renewal on stores whose replies the test sets. The clock moves only when the test moves it. */
function openLeaseRenewal(timing: WorkerTiming = workerTiming) {
  const replies = {
    owned: [] as OwnedRun[],
    lost: [] as RunId[],
    unknown: [] as RunId[],
    isCold: false,
    isPostgresUnreachable: false,
    isRedisUnreachable: false,
    silences: 0,
    drain: false,
  };
  const handedBack: RunId[] = [];
  const restored: RunId[] = [];
  const released: RunId[] = [];
  const coldShards: number[] = [];
  let beats = 0;
  let lastBeat: Beat | undefined;
  let drains = 0;
  const store: StateStore = {
    ...refusingStore,
    async beat(beat) {
      beats += 1;
      lastBeat = beat;
      if (replies.isPostgresUnreachable) throw new Error("connection refused");
      return { silences: replies.silences, drain: replies.drain, owned: replies.owned };
    },
    async handBack(_owner, runs) {
      handedBack.push(...runs.map(({ run_id }) => run_id));
      return runs.map(({ run_id }) => run_id);
    },
  };
  class FakeQueue extends Queue {
    override async renew({ shard }: RenewRequest) {
      if (replies.isCold) throw new ColdError(shard);
      if (replies.isRedisUnreachable) throw new Error("no answer");
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
  const queue = new FakeQueue({ evalsha: refuse, eval: refuse }, 1);
  const tracked = new TrackedRuns();
  const laneSettings = new LiveLaneSettings();
  const heartbeat = new Heartbeat({
    owner,
    store,
    queue,
    links,
    timing,
    tracked,
    laneSettings,
    onDrain: () => {
      drains += 1;
    },
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
  const leaseRenewal = new LeaseRenewal({ owner, queue, links, timing, tracked, heartbeat });
  const signals: { signals: number; cancel: boolean }[] = [];
  /** Whether a budget applies, as each beat has reported. */
  const budgets: boolean[] = [];
  const superseded: RunId[] = [];
  const track = (attempt = 1): RunId => {
    const run = newRunId(Date.now());
    tracked.track({
      job: { run, tenant: TenantId.parse("acme"), lane: "default", score: 0 },
      attempt,
      signals: 0,
      sinceMs: performance.now(),
      supersede: () => superseded.push(run),
      onSignal: (signal) => signals.push(signal),
      onBudget: (has) => budgets.push(has),
    });
    return run;
  };
  const stores = {
    replies,
    handedBack,
    restored,
    released,
    coldShards,
    beats: () => beats,
    lastBeat: () => lastBeat,
    drains: () => drains,
  };
  return { ...stores, leaseRenewal, heartbeat, tracked, links, signals, budgets, superseded, track };
}

test("a worker that ends reports itself offline and not using the queue, and ends also while Postgres is away", async () => {
  const { replies, heartbeat, lastBeat, beats } = openLeaseRenewal();
  await heartbeat.leave();
  expect(lastBeat()).toMatchObject({ incarnation: owner, status: "offline", redis_ok: false });
  replies.isPostgresUnreachable = true;
  await heartbeat.leave();
  expect(beats()).toBe(2);
});

test("a beat whose reply asks the worker to drain calls its listener once", async () => {
  const { replies, heartbeat, drains } = openLeaseRenewal();
  await heartbeat.beat();
  expect(drains()).toBe(0);
  replies.drain = true;
  await heartbeat.beat();
  expect(drains()).toBe(1);
});

const owned = (run_id: RunId, changes: Partial<OwnedRun> = {}): OwnedRun => ({
  run_id,
  attempt: 1,
  signals: 0,
  cancel: false,
  has_budget: false,
  ...changes,
});

/** Renews once, a period from now, and beats meanwhile. */
async function renewOnce({
  leaseRenewal,
  heartbeat,
}: Pick<ReturnType<typeof openLeaseRenewal>, "leaseRenewal" | "heartbeat">): Promise<void> {
  heartbeat.start();
  leaseRenewal.start();
  await vi.advanceTimersByTimeAsync(workerTiming.renewMs + 1);
  heartbeat.stop();
  leaseRenewal.stop();
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
    const { heartbeat, replies, track, superseded, released } = openLeaseRenewal();
    const [named, notNamed, otherAttempt] = [track(), track(), track()];
    await vi.advanceTimersByTimeAsync(1);
    replies.owned = [owned(named), owned(otherAttempt, { attempt: 2 })];
    await heartbeat.beat();
    expect(superseded).toEqual([notNamed, otherAttempt]);
    expect(released).toEqual([notNamed]);
  });

  test("does not supersede a run that was claimed after the beat was sent", async () => {
    const { heartbeat, track, superseded } = openLeaseRenewal();
    const beating = heartbeat.beat();
    track();
    await beating;
    expect(superseded).toEqual([]);
  });

  test("passes on a cancel and signals that changed, and nothing else", async () => {
    const { heartbeat, replies, track, signals } = openLeaseRenewal();
    const run = track();
    await vi.advanceTimersByTimeAsync(1);
    replies.owned = [owned(run)];
    await heartbeat.beat();
    expect(signals).toEqual([]);
    replies.owned = [owned(run, { signals: 1, cancel: true })];
    await heartbeat.beat();
    expect(signals).toMatchObject([{ signals: 1, cancel: true }]);
  });

  // Fails when a cancel hint during a beat joins that beat, which may have read before the cancel: the run would go on
  // until the next beat.
  test("that is requested during another one is sent after it, once for all requests", async () => {
    const { heartbeat, replies, track, signals, beats } = openLeaseRenewal();
    const run = track();
    await vi.advanceTimersByTimeAsync(1);
    replies.owned = [owned(run)];
    const before = heartbeat.beat();
    // The first beat has been sent.
    replies.owned = [owned(run, { signals: 1, cancel: true })];
    await Promise.all([before, heartbeat.beatAgain(), heartbeat.beatAgain()]);
    expect(signals).toMatchObject([{ signals: 1, cancel: true }]);
    expect(beats()).toBe(2);
  });

  // Fails when a worker counts its silences by its own clock alone: Postgres may have counted a silence that the worker did not
  // notice.
  test("returns the silences that Postgres has counted", async () => {
    const { heartbeat, replies } = openLeaseRenewal();
    await heartbeat.beat();
    replies.silences = 2;
    await heartbeat.beat();
    expect([heartbeat.silences, heartbeat.areSilencesCounted]).toEqual([2, true]);
  });

  // Fails when such a run is handed back while the reply to its claim may be on its way, or when it is never handed back.
  test("hands back a run that all beats of `strayMs` name and that is not executed here", async () => {
    const { heartbeat, replies, handedBack } = openLeaseRenewal();
    const run = newRunId(Date.now());
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    replies.owned = [owned(run, { tenant_id: "acme", traceparent })];
    const logged = vi.spyOn(console, "error").mockImplementation(() => {});
    await heartbeat.beat();
    await vi.advanceTimersByTimeAsync(workerTiming.strayMs - 1);
    await heartbeat.beat();
    expect(handedBack).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    await heartbeat.beat();
    expect(handedBack).toEqual([run]);
    const about = `"run":"${run}","tenant":"acme","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"`;
    expect(logged).toHaveBeenCalledWith(expect.stringMatching(`"event":"run.handed_back",${about}`));
    logged.mockRestore();
  });

  // Fails when strays are compared by run alone: the second attempt was named once.
  test("does not hand back a run that was claimed again between two beats", async () => {
    const { heartbeat, replies, handedBack } = openLeaseRenewal();
    const run = newRunId(Date.now());
    replies.owned = [owned(run, { attempt: 1 })];
    await heartbeat.beat();
    replies.owned = [owned(run, { attempt: 2 })];
    await vi.advanceTimersByTimeAsync(workerTiming.strayMs);
    await heartbeat.beat();
    expect(handedBack).toEqual([]);
  });

  test("that fails supersedes nothing, and marks Postgres as unreachable until one succeeds", async () => {
    const { heartbeat, links, replies, track, superseded } = openLeaseRenewal();
    track();
    replies.isPostgresUnreachable = true;
    await heartbeat.beat();
    expect(links.isPostgresReachable).toBe(false);
    expect(superseded).toEqual([]);
    replies.isPostgresUnreachable = false;
    replies.owned = [];
    await vi.advanceTimersByTimeAsync(1);
    await heartbeat.beat();
    expect(links.isPostgresReachable).toBe(true);
    expect(superseded).toHaveLength(1);
  });
});

describe("a renewal", () => {
  // Fails when a lost lease stops the execution by itself: another worker that claims the job in Redis does not get the run
  // from Postgres while this worker beats. Fails also when the worker asks Postgres only with its next beat.
  test("whose reply has lost leases makes the worker beat at once, and stops the runs that Postgres does not name", async () => {
    const { leaseRenewal, replies, track, superseded, beats } = openLeaseRenewal();
    const [kept, taken] = [track(), track()];
    replies.owned = [owned(kept)];
    replies.lost = [kept, taken];
    leaseRenewal.start();
    await vi.advanceTimersByTimeAsync(workerTiming.renewMs);
    leaseRenewal.stop();
    expect([beats(), superseded]).toEqual([1, [taken]]);
  });

  test("restores a lease that Redis lost, if Postgres says that the run is this worker's", async () => {
    const opened = openLeaseRenewal();
    const { heartbeat, replies, track, restored, superseded } = opened;
    const [ownRun, otherRun] = [track(), track()];
    replies.owned = [owned(ownRun), owned(otherRun)];
    await heartbeat.beat();
    replies.owned = [owned(ownRun)];
    replies.unknown = [ownRun, otherRun];
    await vi.advanceTimersByTimeAsync(1);
    await heartbeat.beat();
    await renewOnce(opened);
    expect(restored).toEqual([ownRun]);
    expect(superseded).toEqual([otherRun]);
  });

  // Fails when the lease of a run that ended meanwhile is restored: a slot of its tenant would be taken for a whole lease.
  test("does not restore the lease of a run that ended here while the renewal was under way", async () => {
    const { leaseRenewal, tracked, heartbeat, replies, track, restored } = openLeaseRenewal();
    const run = track();
    replies.owned = [owned(run)];
    await heartbeat.beat();
    replies.unknown = [run];
    heartbeat.start();
    leaseRenewal.start();
    vi.advanceTimersByTime(workerTiming.renewMs);
    tracked.untrack(run);
    await vi.advanceTimersByTimeAsync(1);
    heartbeat.stop();
    leaseRenewal.stop();
    expect(restored).toEqual([]);
  });

  test("of a cold shard reports it, so that the reconciler starts a pass", async () => {
    const opened = openLeaseRenewal();
    const { replies, track, coldShards } = opened;
    replies.owned = [owned(track())];
    replies.isCold = true;
    await renewOnce(opened);
    expect(coldShards).toEqual([0]);
  });

  // Fails when only a claim marks the queue as unreachable: a worker without a free slot would beat with `redis_ok`, so that
  // no worker claims directly.
  test("that fails marks the shard as unreachable", async () => {
    const opened = openLeaseRenewal();
    const { links, replies, track, coldShards } = opened;
    replies.owned = [owned(track())];
    replies.isRedisUnreachable = true;
    links.reportClaimed(0);
    await renewOnce(opened);
    expect([links.of(0), links.redisOk, coldShards]).toEqual(["down", false, []]);
  });
});

describe("before a call to the outside", () => {
  const { signal } = new AbortController();

  test("a worker with a recent confirmation does not beat", async () => {
    const { leaseRenewal, heartbeat, replies, track, beats } = openLeaseRenewal();
    const run = track();
    replies.owned = [owned(run)];
    await heartbeat.beat();
    await vi.advanceTimersByTimeAsync(workerTiming.freshConfirmationMs);
    await leaseRenewal.confirm(run, signal);
    expect(beats()).toBe(1);
  });

  // Fails when `confirm` looks only at what this worker tracks.
  test("a worker that was stopped for a minute beats first, and does not go on with a run that was taken over", async () => {
    const { leaseRenewal, heartbeat, replies, track, beats } = openLeaseRenewal();
    const run = track();
    replies.owned = [owned(run)];
    await heartbeat.beat();
    await vi.advanceTimersByTimeAsync(60_000);
    replies.owned = [];
    await expect(leaseRenewal.confirm(run, signal)).rejects.toThrow("superseded");
    expect(beats()).toBe(2);
  });

  // Fails when a renewal with unknown leases confirms: another worker may have taken the run over and ended it since.
  test("a renewal whose leases Redis does not know is no confirmation", async () => {
    const { leaseRenewal, heartbeat, replies, track } = openLeaseRenewal();
    const run = track();
    replies.owned = [owned(run)];
    await heartbeat.beat();
    replies.unknown = [run];
    replies.isPostgresUnreachable = true;
    heartbeat.start();
    leaseRenewal.start();
    await vi.advanceTimersByTimeAsync(60_000);
    heartbeat.stop();
    leaseRenewal.stop();
    replies.isPostgresUnreachable = false;
    replies.owned = [];
    await expect(leaseRenewal.confirm(run, signal)).rejects.toThrow("superseded");
  });

  test("a worker that reaches no store waits until its execution is stopped", async () => {
    const { leaseRenewal, replies, track } = openLeaseRenewal();
    const run = track();
    replies.isPostgresUnreachable = true;
    const stop = new AbortController();
    const confirmed = leaseRenewal.confirm(run, stop.signal);
    confirmed.catch(() => {});
    await vi.advanceTimersByTimeAsync(10_000);
    stop.abort(new Error("enough"));
    await expect(confirmed).rejects.toThrow("enough");
  });

  test("the period of beats and the age limit of a confirmation are those of WorkerTiming", async () => {
    const { leaseRenewal, heartbeat, beats } = openLeaseRenewal({
      ...workerTiming,
      beatMs: 100,
      freshConfirmationMs: 240,
    });
    heartbeat.start();
    leaseRenewal.start();
    await vi.advanceTimersByTimeAsync(350);
    heartbeat.stop();
    leaseRenewal.stop();
    expect(beats()).toBe(3);
    await vi.advanceTimersByTimeAsync(241);
    await expect(leaseRenewal.confirm(newRunId(Date.now()), signal)).rejects.toThrow("superseded");
    expect(beats()).toBe(4);
  });
});
