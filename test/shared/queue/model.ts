/**
 * The queue without Redis: one map of jobs, and every count made by looking at all of them.
 *
 * It defines what each verb replies and leaves behind. It does not define which tenant's turn it is: it only checks that
 * a claimed job was one of those that may be claimed (fairness.test.ts checks the turns).
 */
import type { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { Lane } from "../../../shared/contracts/run.ts";
import type { Job, JobWait } from "../../../shared/queue/job.ts";
import { NO_LIMIT } from "../../../shared/queue/limits.ts";
import type { Limits, NewerLimits } from "../../../shared/queue/limits.ts";
import type { LeasesToRestore, RenewRequest, Renewal } from "../../../shared/queue/queue.ts";
import type { Claim, ClaimRequest } from "../../../shared/queue/claim.ts";
import type { Quota, QueueVerdict } from "../../../shared/queue/verdict.ts";
import { LaneStarts } from "./lane-starts.ts";
import { WorkerRoom } from "./shares.ts";

export type State = "reserved" | "ready" | "due" | "timer" | "leased";

/** `atMs`: when the job is due, or when its lease or reservation lapses; for a ready job, since when it is ready. */
export type Entry = Job & { state: State; atMs: number; owner: string | null; requeueAtMs: number | null };

/** A request to a queue of one shard. */
export type Unsharded<Request> = Omit<Request, "shard">;

export class Model {
  nowMs: number;
  index: { quotaReady: boolean } | null = null;
  /** The epoch of the latest reset. */
  epoch: string | null = null;
  readonly jobs = new Map<RunId, Entry>();
  readonly limits = new Map<TenantId, Limits>();
  readonly buckets = new Map<TenantId, { milliTokens: number; atMs: number }>();
  readonly laneStarts = new LaneStarts();

  /** When runs were admitted, by tenant with a limit of runs a minute: the seconds, one for each run. */
  readonly starts = new Map<TenantId, number[]>();

  constructor(nowMs: number) {
    this.nowMs = nowMs;
  }

  list(...states: State[]): Entry[] {
    return [...this.jobs.values()].filter(({ state }) => states.includes(state));
  }

  countOf(tenant: TenantId, ...states: State[]): number {
    return this.list(...states).filter((entry) => entry.tenant === tenant).length;
  }

  /** The tenants of `runs` that use an eighth of their slots at most, when `newLeases` are leased too. */
  roomyOf(
    runs: readonly { tenant: TenantId }[],
    newLeases: readonly { tenant: TenantId }[] = [],
  ): TenantId[] {
    const used = (tenant: TenantId): number =>
      this.countOf(tenant, "leased") + newLeases.filter((entry) => entry.tenant === tenant).length;
    const slots = (tenant: TenantId): number => this.limits.get(tenant)?.maxConcurrentRuns ?? 0;
    const tenants = new Set(runs.map(({ tenant }) => tenant));
    return [...tenants].filter((tenant) => used(tenant) * 8 <= slots(tenant));
  }

  hasSlot(tenant: TenantId): boolean {
    return this.countOf(tenant, "leased") < (this.limits.get(tenant)?.maxConcurrentRuns ?? 0);
  }

  /** Makes the shard cold. */
  loseIndex(): void {
    this.index = null;
    this.epoch = null;
  }

  reset(epoch: string): void {
    this.epoch = epoch;
    for (const part of [this.jobs, this.limits, this.buckets, this.starts]) part.clear();
  }

  admit(requests: readonly { run: RunId; tenant: TenantId }[], maxDepth: number): QueueVerdict[] {
    if (!this.index) return requests.map(() => ({ ok: false, reason: "cold" }));
    this.#dropLapsedReservations();
    const { quotaReady } = this.index;
    return requests.map(({ run, tenant }) => this.#admit(run, tenant, maxDepth, quotaReady));
  }

  #admit(run: RunId, tenant: TenantId, maxDepth: number, quotaReady: boolean): QueueVerdict {
    const rebuilding: QueueVerdict = { ok: false, reason: "rebuilding" };
    if (this.jobs.has(run)) return quotaReady ? { ok: true, quota: null } : rebuilding;
    const limit = this.limits.get(tenant);
    if (!limit) return { ok: false, reason: "unknown" };
    if (limit.maxConcurrentRuns === 0) return { ok: false, reason: "disabled" };
    const perSecond = limit.requestsPerSecond;
    const bucket = this.buckets.get(tenant) ?? { milliTokens: Infinity, atMs: this.nowMs };
    const refilled = bucket.milliTokens + (this.nowMs - bucket.atMs) * perSecond;
    const milliTokens = Math.min(1000 * perSecond, refilled);
    if (milliTokens < 1000) {
      const retryMs = Math.ceil((1000 - milliTokens) / perSecond);
      return { ok: false, reason: "rate", limit: perSecond, retryMs };
    }
    if (quotaReady && this.list("reserved", "ready", "due").length >= maxDepth)
      return { ok: false, reason: "depth" };
    if (quotaReady && this.countOf(tenant, "reserved", "ready", "due") >= limit.maxQueuedRuns) {
      return { ok: false, reason: "queued", limit: limit.maxQueuedRuns };
    }
    const { runsPerMinute } = limit;
    const forgottenMs = (second = 0) => (second + 61) * 1000 - this.nowMs;
    const before = this.startsOf(tenant);
    if (before.length >= runsPerMinute) {
      const retryMs = runsPerMinute === 0 ? 60_000 : forgottenMs(before.at(-runsPerMinute));
      return { ok: false, reason: "minute", limit: runsPerMinute, retryMs };
    }
    this.buckets.set(tenant, { milliTokens: milliTokens - 1000, atMs: this.nowMs });
    const starts = runsPerMinute < NO_LIMIT ? [...before, Math.floor(this.nowMs / 1000)] : before;
    this.starts.set(tenant, starts);
    const reserved = { run, tenant, lane: "default", score: this.nowMs } as const;
    this.#put(reserved, "reserved", this.nowMs + 30_000);
    if (!quotaReady) return rebuilding;
    const places = limit.maxQueuedRuns - this.countOf(tenant, "reserved", "ready", "due");
    const left = runsPerMinute - starts.length;
    const quota: Quota = {
      requests: { perSecond, left: Math.floor((milliTokens - 1000) / 1000) },
      queued: { limit: limit.maxQueuedRuns, left: places },
      runs:
        runsPerMinute < NO_LIMIT ? { perMinute: runsPerMinute, left, resetMs: forgottenMs(starts[0]) } : null,
    };
    return { ok: true, quota };
  }

  /** The seconds in which runs of the tenant were admitted and that its minute still counts. */
  startsOf(tenant: TenantId): number[] {
    const first = Math.floor(this.nowMs / 1000) - 60;
    return (this.starts.get(tenant) ?? []).filter((second) => second >= first);
  }

  giveBack(runs: readonly RunId[]): void {
    for (const run of runs) {
      const entry = this.jobs.get(run);
      if (entry?.state !== "reserved") continue;
      this.jobs.delete(run);
      const starts = this.startsOf(entry.tenant);
      const place = starts.indexOf(Math.floor(entry.score / 1000));
      this.starts.set(entry.tenant, place < 0 ? starts : starts.toSpliced(place, 1));
    }
  }

  enqueue(jobs: readonly (Job & JobWait)[]): void {
    for (const job of jobs) {
      const entry = this.jobs.get(job.run);
      if (entry?.state === "leased") {
        entry.requeueAtMs = Math.min(entry.requeueAtMs ?? Infinity, this.nowMs + job.delayMs);
      } else {
        this.#bringForward(job);
      }
    }
  }

  #bringForward(job: Job & JobWait): void {
    const atMs = this.nowMs + job.delayMs;
    const entry = this.jobs.get(job.run);
    const waitsUntil = { reserved: Infinity, ready: -Infinity, due: entry?.atMs, timer: entry?.atMs };
    if (entry && entry.state !== "leased" && atMs >= (waitsUntil[entry.state] ?? Infinity)) return;
    this.#schedule(job, job.status, atMs);
  }

  renew({ owner, leaseMs, runs }: Unsharded<RenewRequest>): Renewal {
    const lostLeases: RunId[] = [];
    const unknownLeases: RunId[] = [];
    for (const run of runs) {
      const entry = this.jobs.get(run);
      if (entry?.state !== "leased") unknownLeases.push(run);
      else if (entry.owner !== owner) lostLeases.push(run);
      else entry.atMs = this.nowMs + leaseMs;
    }
    return { lostLeases, unknownLeases };
  }

  restoreLeases({ jobs, owner, leaseMs, holder = owner }: LeasesToRestore): void {
    for (const job of jobs) {
      const entry = this.jobs.get(job.run);
      const atMs = this.nowMs + leaseMs;
      if (entry?.state !== "leased") this.#put(entry ?? job, "leased", atMs, owner);
      else if (entry.owner === owner) entry.atMs = atMs;
      else if (entry.owner === holder) this.#put(entry, "leased", atMs, owner);
    }
  }

  release(jobs: readonly (Job & JobWait)[], owner: string): void {
    for (const job of jobs) {
      const entry = this.jobs.get(job.run);
      if (entry?.state !== "leased") this.#bringForward(job);
      else if (entry.owner === owner) {
        this.#schedule(entry, job.status, Math.min(this.nowMs + job.delayMs, entry.requeueAtMs ?? Infinity));
      }
    }
  }

  finish(runs: readonly RunId[], owner: string): void {
    for (const run of runs) {
      const entry = this.jobs.get(run);
      if (!entry) continue;
      const isAllowed = entry.state === "leased" ? entry.owner === owner : owner === "";
      if (isAllowed && entry.requeueAtMs !== null) this.#schedule(entry, "queued", entry.requeueAtMs);
      else if (isAllowed) this.jobs.delete(run);
    }
  }

  pushLimits(limits: readonly Limits[]): NewerLimits[] {
    const newer: NewerLimits[] = [];
    for (const limit of limits) {
      const version = this.limits.get(limit.tenant)?.version ?? 0;
      if (limit.version >= version) this.limits.set(limit.tenant, limit);
      else newer.push({ tenant: limit.tenant, version });
    }
    return newer;
  }

  /** Applies a claim that replied with `reply`. @throws Error when the reply was not allowed */
  claim({ owner, leaseMs, ended, ...room }: Unsharded<ClaimRequest>, reply: Claim): void {
    this.finish(ended, owner);
    this.#dropLapsedReservations();
    for (const entry of this.list("due", "timer")) {
      if (entry.atMs <= this.nowMs) this.#put(entry, "ready", this.nowMs);
    }
    const left = new WorkerRoom(room, (tenant) => this.limits.get(tenant)?.weight ?? 1);
    const starts = this.laneStarts.claim(this.nowMs, room.rules ?? {});
    const lanesBetween = this.#lanesBetween();
    const lapsedLeases = this.list("leased").filter(({ atMs }) => atMs <= this.nowMs);
    const taken = reply.runs.map(({ run, tenant }) => {
      const entry = this.jobs.get(run);
      if (!entry || entry.tenant !== tenant) throw new Error(`claimed ${run} of ${tenant}, which is unknown`);
      return entry;
    });
    const take = (entry: Entry): void => {
      if (!left.mayTake(entry))
        throw new Error(`claimed ${entry.run} beyond the slots, the cap of its lane or its tenant's share`);
      left.take(entry);
      this.#put(entry, "leased", this.nowMs + leaseMs, owner);
    };
    for (const oldest of lapsedLeases.toSorted(byTime)) {
      const next = taken[0];
      if (!left.mayTake(oldest)) continue;
      if (next !== oldest) throw new Error(`the lapsed lease of ${oldest.run} did not come first`);
      take(oldest);
      taken.shift();
    }
    for (const lane of lanesBetween) if (left.hasRoom(lane)) starts.mayStart(lane);
    for (const entry of taken) {
      if (this.#firstReady(entry.tenant, entry.lane) !== entry)
        throw new Error(`${entry.run} is not the first of its tenant and lane`);
      if (!this.hasSlot(entry.tenant)) throw new Error(`${entry.tenant} has no slot for ${entry.run}`);
      if (!starts.mayStart(entry.lane)) throw new Error(`${entry.run} passes the rate of ${entry.lane}`);
      starts.take(entry.lane);
      take(entry);
    }
    const hasExcess = ({ tenant }: Entry): boolean =>
      this.countOf(tenant, "leased") > (this.limits.get(tenant)?.maxConcurrentRuns ?? 0);
    const excess = lapsedLeases.filter(
      (entry) => entry.owner === owner && entry.atMs > this.nowMs && hasExcess(entry),
    );
    const joined = (runs: RunId[]): string => runs.toSorted().join();
    if (joined(reply.excess) !== joined(excess.map(({ run }) => run)))
      throw new Error(
        `the excess leases are ${joined(reply.excess)}, not ${joined(excess.map(({ run }) => run))}`,
      );
    const roomy = this.roomyOf(reply.runs);
    if (reply.roomy.toSorted().join() !== roomy.toSorted().join())
      throw new Error(`the roomy tenants are ${reply.roomy.join()}, not ${roomy.join()}`);
    // The model does not know the turns, so what remains may come after each of the tenants that wait in its lane.
    const waitingIn = (lane: Lane): TenantId[] =>
      this.list("ready").flatMap((entry) =>
        entry.lane === lane && this.hasSlot(entry.tenant) ? [entry.tenant] : [],
      );
    const unclaimed = this.list("ready").find(
      (entry) =>
        left.mayTake(entry, waitingIn(entry.lane)) &&
        this.hasSlot(entry.tenant) &&
        starts.mayStart(entry.lane),
    );
    if (unclaimed) throw new Error(`${unclaimed.run} was not claimed, although a slot is free`);
    const stillReady = this.list("ready").length;
    if (reply.stillReady !== stillReady) throw new Error(`${reply.stillReady} are ready, not ${stillReady}`);
    const waiting = lanesBetween.filter((lane) =>
      this.list("ready").some((entry) => entry.lane === lane && this.hasSlot(entry.tenant)),
    );
    const nextMs = Math.min(
      this.#nextMs(),
      ...waiting.map((lane) => starts.comeBack(lane, left.hasRoom(lane))),
    );
    if (reply.nextMs !== nextMs) throw new Error(`next_ms is ${reply.nextMs}, not ${nextMs}`);
  }

  /** The lanes, in the order of their names, from the first with a ready job to the last. */
  #lanesBetween(): Lane[] {
    const ready = this.list("ready").map(({ lane }) => lane);
    const [first, last] = [ready.toSorted().at(0), ready.toSorted().at(-1)];
    if (first === undefined || last === undefined) return [];
    return Lane.options.filter((lane) => first <= lane && lane <= last);
  }

  #firstReady(tenant: TenantId, lane: Lane): Entry | undefined {
    const ready = this.list("ready").filter((entry) => entry.tenant === tenant && entry.lane === lane);
    return ready.toSorted((a, b) => a.score - b.score || compare(a.run, b.run))[0];
  }

  #nextMs(): number {
    const waiting = this.list("reserved", "due", "timer", "leased");
    const lapsed = (entry: Entry): boolean => entry.state === "leased" && entry.atMs <= this.nowMs;
    return Math.min(
      60_000,
      ...waiting.filter((entry) => !lapsed(entry)).map(({ atMs }) => atMs - this.nowMs),
    );
  }

  #dropLapsedReservations(): void {
    for (const { run, atMs } of this.list("reserved")) if (atMs <= this.nowMs) this.jobs.delete(run);
  }

  #schedule(job: Job, status: JobWait["status"], atMs: number): void {
    if (atMs <= this.nowMs) this.#put(job, "ready", this.nowMs);
    else this.#put(job, status === "queued" ? "due" : "timer", atMs);
  }

  #put(job: Job, state: State, atMs: number, owner: string | null = null): void {
    const { run, tenant, lane, score } = job;
    const entry = this.jobs.get(run) ?? { run, tenant, lane, score, state, atMs, owner, requeueAtMs: null };
    this.jobs.set(run, Object.assign(entry, { lane, score, state, atMs, owner, requeueAtMs: null }));
  }
}

function byTime(a: Entry, b: Entry): number {
  return a.atMs - b.atMs || compare(a.run, b.run);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
