/**
 * The queue in Redis: the model of test/shared/queue/model.ts, which is compared with the scripts, and what the core needs
 * besides jobs: the index, and markers. The next tenant is drawn at random.
 */
import type { RunId } from "../../shared/contracts/ids.ts";
import { Lane } from "../../shared/contracts/run.ts";
import type { IndexProgress, KnownScan } from "../../shared/queue/index-progress.ts";
import type { Job, JobName, JobWait } from "../../shared/queue/job.ts";
import type { Limits, NewerLimits } from "../../shared/queue/limits.ts";
import type { LeasesToRestore, RenewRequest, Renewal } from "../../shared/queue/queue.ts";
import type { Claim, ClaimRequest } from "../../shared/queue/claim.ts";
import type { QueueVerdict } from "../../shared/queue/verdict.ts";
import { ColdError } from "../../shared/queue/scripts.ts";
import { Model } from "../shared/queue/model.ts";
import { WorkerRoom } from "../shared/queue/shares.ts";
import type { Markers } from "../../worker-node/fleet/slots.ts";
import { QUOTA_READY_AFTER_MS } from "../../shared/timing.ts";
import type { Entry, Unsharded } from "../shared/queue/model.ts";
import type { Clock } from "./clock.ts";

/** The memory of Redis: it is lost as a whole, and a rollback restores it as a whole. */
type Memory = {
  model: Model;
  scanned: string;
  uptoMs: number;
  firstUptoMs: number;
  limitsUptoMs: number;
  hasLostJobs: boolean;
};

export class RedisModel {
  readonly #clock: Clock;
  readonly #random: () => number;
  #memory: Memory = emptyMemory();
  #epochs = 0;
  /** Workers that wait for a marker. */
  #waiting: { markers: Markers; wake(): void }[] = [];

  constructor(clock: Clock, random: () => number) {
    this.#clock = clock;
    this.#random = random;
  }

  get quotaReadyAfterMs(): number {
    return QUOTA_READY_AFTER_MS;
  }

  /** All jobs. */
  get jobs(): Entry[] {
    return [...this.#memory.model.jobs.values()];
  }

  /** Loses everything. */
  empty(): void {
    this.#memory = emptyMemory();
  }

  snapshot(): Memory {
    const { model, ...rest } = this.#memory;
    const copy = new Model(0);
    for (const [run, entry] of model.jobs) copy.jobs.set(run, { ...entry });
    for (const [tenant, limits] of model.limits) copy.limits.set(tenant, limits);
    for (const [tenant, bucket] of model.buckets) copy.buckets.set(tenant, { ...bucket });
    copy.index = model.index && { ...model.index };
    copy.epoch = model.epoch;
    return { ...rest, model: copy };
  }

  restore(memory: Memory): void {
    this.#memory = memory;
  }

  /** Loses all waiting jobs, as when one key is deleted: no worker can claim them any more. */
  loseWaitingJobs(): void {
    const { model } = this.#memory;
    for (const { run } of model.list("ready", "due", "timer")) {
      model.jobs.delete(run);
      this.#memory.hasLostJobs = true;
    }
  }

  /** Deletes the index when the sizes of structures no longer agree. */
  checkSizes(): void {
    if (!this.#memory.hasLostJobs) return;
    this.#memory.hasLostJobs = false;
    this.#memory.model.loseIndex();
  }

  admit(requests: readonly JobName[], maxDepth: number): QueueVerdict[] {
    this.checkSizes();
    return this.#any().admit(requests, maxDepth);
  }

  enqueue(jobs: readonly (Job & JobWait)[]): number {
    const model = this.#warm();
    const unknown = jobs.filter(({ run }) => !model.jobs.has(run)).length;
    model.enqueue(jobs);
    this.#mark(Lane.options);
    return unknown;
  }

  claim(request: Unsharded<ClaimRequest>): Claim {
    const { owner, leaseMs, ended } = request;
    this.#warm();
    this.checkSizes();
    const model = this.#warm();
    model.finish(ended, owner);
    const taken = this.#choose(model, new WorkerRoom(request));
    const remains = (entry: Entry): boolean =>
      !taken.includes(entry) && (entry.state !== "leased" || entry.atMs > model.nowMs);
    const waiting = model
      .list("reserved", "due", "timer", "leased")
      .filter((entry) => remains(entry) && entry.atMs > model.nowMs);
    const times = [60_000, ...waiting.map(({ atMs }) => atMs - model.nowMs)];
    if (taken.length > 0) times.push(leaseMs);
    const isReady = (entry: Entry): boolean =>
      entry.state === "ready" ||
      ((entry.state === "due" || entry.state === "timer") && entry.atMs <= model.nowMs);
    const hasExcess = ({ tenant }: Entry): boolean =>
      model.countOf(tenant, "leased") > (model.limits.get(tenant)?.maxConcurrentRuns ?? 0);
    const claim = {
      excess: taken.filter((entry) => entry.state === "leased" && hasExcess(entry)).map(({ run }) => run),
      runs: taken.map(({ run, tenant }) => ({ run, tenant })),
      roomy: model.roomyOf(
        taken,
        taken.filter(({ state }) => state !== "leased"),
      ),
      nextMs: Math.min(...times),
      stillReady: [...model.jobs.values()].filter((entry) => isReady(entry) && !taken.includes(entry)).length,
    };
    // The model checks that this claim is allowed, and applies it.
    model.claim(request, claim);
    this.#mark([]);
    return claim;
  }

  /** Lapsed leases first, then ready jobs: those of a tenant in order, the tenants at random. */
  #choose(model: Model, room: WorkerRoom): Entry[] {
    const { nowMs } = model;
    const taken: Entry[] = [];
    const take = (entry: Entry): void => {
      taken.push(entry);
      room.take(entry);
    };
    const byTime = (a: Entry, b: Entry): number => a.atMs - b.atMs || (a.run < b.run ? -1 : 1);
    for (const entry of model.list("leased").toSorted(byTime)) {
      if (entry.atMs <= nowMs && room.mayTake(entry)) take(entry);
    }
    const isReady = (entry: Entry): boolean => entry.state === "ready" || entry.atMs <= nowMs;
    const ready = model.list("ready", "due", "timer").filter(isReady);
    ready.sort((a, b) => a.score - b.score || (a.run < b.run ? -1 : 1));
    for (;;) {
      const heads = ready.filter((entry, at) => {
        const isFirst =
          ready.findIndex((other) => other.tenant === entry.tenant && other.lane === entry.lane) === at;
        const used =
          model.countOf(entry.tenant, "leased") +
          taken.filter((t) => t.tenant === entry.tenant && t.state !== "leased").length;
        const limit = model.limits.get(entry.tenant)?.maxConcurrentRuns ?? 0;
        return isFirst && used < limit && room.mayTake(entry);
      });
      const chosen = heads[Math.floor(this.#random() * heads.length)];
      if (!chosen) break;
      ready.splice(ready.indexOf(chosen), 1);
      take(chosen);
    }
    return taken;
  }

  renew(request: Unsharded<RenewRequest>): Renewal {
    return this.#warm().renew(request);
  }

  restoreLeases(request: LeasesToRestore): void {
    const model = this.#any();
    const { epoch = "" } = request;
    if (!model.index || epoch !== "") this.checkEpoch(epoch);
    model.restoreLeases(request);
  }

  release(jobs: readonly (Job & JobWait)[], owner: string): void {
    this.#warm().release(jobs, owner);
    this.#mark(Lane.options);
  }

  finish(runs: readonly RunId[], owner: string): void {
    this.#warm().finish(runs, owner);
    this.#mark(Lane.options);
  }

  giveBack(runs: readonly RunId[]): void {
    this.#warm().giveBack(runs);
  }

  pushLimits(limits: readonly Limits[]): NewerLimits[] {
    const newer = this.#any().pushLimits(limits);
    this.#mark(Lane.options);
    return newer;
  }

  reset(): string | null {
    const model = this.#any();
    if (model.index) return null;
    const epoch = String((this.#epochs += 1));
    model.reset(epoch);
    this.#memory = { ...emptyMemory(), model };
    return epoch;
  }

  beginIndex(epoch: string): void {
    const model = this.#any();
    if (model.index) return;
    this.checkEpoch(epoch);
    model.index = { quotaReady: false };
  }

  /** @throws ColdError unless `epoch` is that of the latest reset */
  checkEpoch(epoch: string): void {
    if (epoch !== this.#memory.model.epoch) throw new ColdError(0);
  }

  invalidateCounts(): void {
    this.#warm().index = { quotaReady: false };
    this.#memory.firstUptoMs = -Infinity;
  }

  readIndex(): IndexProgress {
    const { index, epoch } = this.#warm();
    const { scanned, uptoMs, limitsUptoMs } = this.#memory;
    return { epoch: epoch ?? "", scanned, uptoMs, limitsUptoMs, quotaReady: index?.quotaReady ?? false };
  }

  advanceScan(known: KnownScan, scanned: string, uptoMs?: number): boolean {
    const { index, epoch } = this.#warm();
    const memory = this.#memory;
    if (known.epoch !== epoch || known.scanned !== memory.scanned) return false;
    memory.scanned = scanned;
    if (uptoMs === undefined) return true;
    memory.uptoMs = Math.max(memory.uptoMs, uptoMs);
    if (memory.firstUptoMs === -Infinity) memory.firstUptoMs = uptoMs;
    if (index && uptoMs - memory.firstUptoMs >= this.quotaReadyAfterMs) index.quotaReady = true;
    return true;
  }

  advanceLimits(epoch: string, limitsUptoMs: number): void {
    if (epoch !== this.#warm().epoch) return;
    this.#memory.limitsUptoMs = Math.max(this.#memory.limitsUptoMs, limitsUptoMs);
  }

  /** The model has no rings, so none is ever lost. */
  repairRing(): string {
    this.#warm();
    return "";
  }

  list(): JobName[] {
    return [...this.#warm().jobs.values()].map(({ run, tenant }) => ({ run, tenant }));
  }

  /** Calls `wake` when a job of these lanes can be claimed in an open slot, and for new ready jobs in a spare one. */
  waitForMarker(markers: Markers, wake: () => void): void {
    this.#waiting.push({ markers, wake });
    if (this.#memory.model.index) this.#mark([]);
  }

  /** @param newlyReady the lanes of jobs that have become ready: workers with spare slots look whether these are for them */
  #mark(newlyReady: readonly Lane[]): void {
    const model = this.#any();
    if (this.#waiting.length === 0) return;
    const lanes = new Set(
      model.list("ready").flatMap(({ tenant, lane }) => (model.hasSlot(tenant) ? [lane] : [])),
    );
    const woken = this.#waiting.filter(
      ({ markers: { open, spare } }) =>
        open.some((lane) => lanes.has(lane)) ||
        spare.some((lane) => lanes.has(lane) && newlyReady.includes(lane)),
    );
    this.#waiting = this.#waiting.filter((waiter) => !woken.includes(waiter));
    for (const { wake } of woken) wake();
  }

  #any(): Model {
    const { model } = this.#memory;
    model.nowMs = this.#clock.nowMs;
    return model;
  }

  #warm(): Model {
    const model = this.#any();
    if (!model.index) throw new ColdError(0);
    return model;
  }
}

function emptyMemory(): Memory {
  const never = { uptoMs: -Infinity, firstUptoMs: -Infinity, limitsUptoMs: -Infinity };
  return { ...never, model: new Model(0), scanned: "", hasLostJobs: false };
}
