/**
 * The queue in Redis: the model that the scripts are proved against (test/shared/queue/model.ts), with what the core needs
 * besides the jobs: the index, and markers. Whose turn it is among tenants, chance decides.
 */
import type { RunId } from "../../shared/contracts/ids.ts";
import type { Lane } from "../../shared/contracts/run.ts";
import type { IndexProgress, KnownScan } from "../../shared/queue/index-progress.ts";
import type { Job, JobName, JobWait } from "../../shared/queue/job.ts";
import type { Limits } from "../../shared/queue/limits.ts";
import type {
  Claim,
  ClaimRequest,
  LeasesToRestore,
  Renewal,
  RenewRequest,
} from "../../shared/queue/queue.ts";
import type { QueueVerdict } from "../../shared/queue/verdict.ts";
import { ColdError } from "../../shared/queue/shard-scripts.ts";
import { Model } from "../shared/queue/model.ts";
import { QUOTA_READY_AFTER_MS } from "../shared/queue/open-index.ts";
import type { Entry, Unsharded } from "../shared/queue/model.ts";
import type { Clock } from "./clock.ts";

/** All that a Redis holds: what is lost together, and what a rollback brings back together. */
type Memory = {
  model: Model;
  scanned: string;
  uptoMs: number;
  firstUptoMs: number;
  limitsUptoMs: number;
  robbed: boolean;
};

export class RedisModel {
  readonly #clock: Clock;
  readonly #random: () => number;
  #memory: Memory = emptyMemory();
  #epochs = 0;
  /** Those who wait for a marker. */
  #waiting: { lanes: readonly Lane[]; wake(): void }[] = [];

  constructor(clock: Clock, random: () => number) {
    this.#clock = clock;
    this.#random = random;
  }

  get settleMs(): number {
    return QUOTA_READY_AFTER_MS;
  }

  /** What is in it now. */
  get jobs(): Entry[] {
    return [...this.#memory.model.jobs.values()];
  }

  /** Everything is lost. */
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

  /** A key is lost: that of the waiting jobs, so that nobody will ever claim them. */
  rob(): void {
    const { model } = this.#memory;
    for (const { run } of model.list("ready", "due", "timer")) {
      model.jobs.delete(run);
      this.#memory.robbed = true;
    }
  }

  /** Sizes that do not agree any more make the index go. */
  checkSizes(): void {
    if (!this.#memory.robbed) return;
    this.#memory.robbed = false;
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
    this.#mark();
    return unknown;
  }

  claim(request: Unsharded<ClaimRequest>): Claim {
    const { owner, leaseMs, slots, lanes, ended } = request;
    this.#warm();
    this.checkSizes();
    const model = this.#warm();
    model.finish(ended, owner);
    const taken = this.#choose(model, slots, { ...lanes });
    const left = (entry: Entry): boolean =>
      !taken.includes(entry) && (entry.state !== "leased" || entry.atMs > model.nowMs);
    const waiting = model
      .list("reserved", "due", "timer", "leased")
      .filter((entry) => left(entry) && entry.atMs > model.nowMs);
    const times = [60_000, ...waiting.map(({ atMs }) => atMs - model.nowMs)];
    if (taken.length > 0) times.push(leaseMs);
    const claim = { runs: taken.map(({ run, tenant }) => ({ run, tenant })), nextMs: Math.min(...times) };
    // It says whether that was allowed, and does it.
    model.claim(request, claim);
    this.#mark();
    return claim;
  }

  /** Lapsed leases first, then ready jobs, each tenant's in their order, the tenants as chance has it. */
  #choose(model: Model, slots: number, caps: ClaimRequest["lanes"]): Entry[] {
    const { nowMs } = model;
    const taken: Entry[] = [];
    const take = (entry: Entry): void => {
      taken.push(entry);
      caps[entry.lane] = (caps[entry.lane] ?? 0) - 1;
    };
    const byTime = (a: Entry, b: Entry): number => a.atMs - b.atMs || (a.run < b.run ? -1 : 1);
    for (const entry of model.list("leased").toSorted(byTime)) {
      if (entry.atMs <= nowMs && taken.length < slots && (caps[entry.lane] ?? 0) > 0) take(entry);
    }
    const isReady = (entry: Entry): boolean => entry.state === "ready" || entry.atMs <= nowMs;
    const ready = model.list("ready", "due", "timer").filter(isReady);
    ready.sort((a, b) => a.score - b.score || (a.run < b.run ? -1 : 1));
    while (taken.length < slots) {
      const heads = ready.filter((entry, at) => {
        const isFirst =
          ready.findIndex((other) => other.tenant === entry.tenant && other.lane === entry.lane) === at;
        const used =
          model.countOf(entry.tenant, "leased") +
          taken.filter((t) => t.tenant === entry.tenant && t.state !== "leased").length;
        const limit = model.limits.get(entry.tenant)?.maxConcurrentRuns ?? 0;
        return isFirst && used < limit && (caps[entry.lane] ?? 0) > 0;
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
    this.#mark();
  }

  finish(runs: readonly RunId[], owner: string): void {
    this.#warm().finish(runs, owner);
    this.#mark();
  }

  pushLimits(limits: readonly Limits[]): void {
    this.#any().pushLimits(limits);
    this.#mark();
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

  /** Only the last reset's rebuild goes on. */
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
    if (index && uptoMs - memory.firstUptoMs >= this.settleMs) index.quotaReady = true;
    return true;
  }

  advanceLimits(epoch: string, limitsUptoMs: number): void {
    if (epoch !== this.#warm().epoch) return;
    this.#memory.limitsUptoMs = Math.max(this.#memory.limitsUptoMs, limitsUptoMs);
  }

  /** Rings are made anew for each claim here, so none is ever lost. */
  repairRing(): string {
    this.#warm();
    return "";
  }

  list(): JobName[] {
    return [...this.#warm().jobs.values()].map(({ run, tenant }) => ({ run, tenant }));
  }

  /** Calls `wake` once there is something to be claimed in one of the lanes; at once if there is already. */
  waitForMarker(lanes: readonly Lane[], wake: () => void): void {
    this.#waiting.push({ lanes, wake });
    if (this.#memory.model.index) this.#mark();
  }

  #mark(): void {
    const model = this.#any();
    if (this.#waiting.length === 0) return;
    const lanes = new Set(
      model.list("ready").flatMap(({ tenant, lane }) => (model.hasSlot(tenant) ? [lane] : [])),
    );
    const woken = this.#waiting.filter((one) => one.lanes.some((lane) => lanes.has(lane)));
    this.#waiting = this.#waiting.filter((one) => !woken.includes(one));
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
  return { ...never, model: new Model(0), scanned: "", robbed: false };
}
