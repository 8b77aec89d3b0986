import type { Incarnation, TenantId } from "../../shared/contracts/ids.ts";
import { queueShardOf } from "../../shared/keys.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { LogFields } from "../../shared/log.ts";
import type { Claim } from "../../shared/queue/claim.ts";
import type { Job, JobName } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { Ending } from "../execution/execution-state.ts";

/** The most runs that one claim or one `finish` carries. */
const MAX_RUNS_PER_CALL = 1_000;
/** The most runs that are kept for a shard. More than one call's worth gather only while the queue is unreachable. */
const MAX_RUNS_PER_SHARD = 20_000;

/** An idle worker finishes the ended runs of roomy tenants after this time, unless a claim does so before. */
const ROOMY_DELAY_MS = 500;
/** The most tenants that are known to be roomy. */
const MAX_ROOMY = 10_000;

type EndedRunsDeps = {
  owner: Incarnation;
  queue: Queue;
  /** How long the shard's ended runs may wait to be finished. Null: a claim that finishes them follows immediately. */
  delayMs(shard: number): number | null;
};

/**
 * Decides what the queue receives when the execution of a run has ended. A run that ended keeps its lease until the next claim
 * of its shard, or a `finish`, removes its job.
 */
export class EndedRuns {
  readonly #deps: EndedRunsDeps;
  readonly #byShard = new Map<number, JobName[]>();
  readonly #timers = new Map<number, { timer: NodeJS.Timeout; atMs: number }>();
  /** Tenants that used few of their slots at the latest claim of a run of theirs. */
  readonly #roomy = new Set<TenantId>();

  constructor(deps: EndedRunsDeps) {
    this.#deps = deps;
  }

  /**
   * Finishes or releases the job of a run after its execution. The run's lease is not renewed any more. `about`: the run, for log lines.
   */
  async onEnd(job: Job, ending: Ending, about: LogFields): Promise<void> {
    const { owner, queue } = this.#deps;
    const shard = queueShardOf(job.tenant, queue.shards);
    if (ending.is === "ended") {
      this.add(shard, [job]);
      this.finishSoon(shard);
    } else if (ending.is === "parked") {
      const parked = { ...job, status: ending.status, delayMs: ending.delayMs };
      await queue.release([parked], owner).catch((error: unknown) => {
        // The lease of the run lapses, and the reconciler enqueues the run when it is due.
        log.warn("run.release_failed", { ...about, message: messageOf(error) });
      });
    }
  }

  /** The latest claim decides whether ended runs of its tenants may take their slots a little longer. */
  noteRoomy({ runs, roomy }: Claim): void {
    for (const { tenant } of runs) this.#roomy.delete(tenant);
    if (this.#roomy.size + roomy.length > MAX_ROOMY) this.#roomy.clear();
    for (const tenant of roomy) this.#roomy.add(tenant);
  }

  add(shard: number, runs: readonly JobName[]): void {
    const pending = this.#of(shard);
    pending.push(...runs);
    // The oldest are dropped: in a queue that was unreachable for that long their leases have lapsed, or it has lost them.
    pending.splice(0, pending.length - MAX_RUNS_PER_SHARD);
  }

  /** Removes and returns the runs for one call. The caller adds them again when the call fails. */
  take(shard: number): JobName[] {
    const pending = this.#of(shard);
    const taken = pending.splice(0, MAX_RUNS_PER_CALL);
    // The call that was planned for these runs would finish the next ones too soon.
    if (pending.length === 0) this.#unplan(shard);
    return taken;
  }

  /**
   * Finishes the shard's runs in one call, unless a claim does so before. While all of them are of roomy tenants the call waits for
   * up to `ROOMY_DELAY_MS`, so that a single run costs no call of its own. Until then such a tenant lacks at most an eighth of its
   * slots.
   */
  finishSoon(shard: number): void {
    const delayMs = this.#deps.delayMs(shard);
    const pending = this.#of(shard);
    if (delayMs === null || pending.length === 0) return;
    if (delayMs === 0) {
      // Together with the runs that end in the same turn of the event loop.
      setImmediate(() => void this.#finish(shard));
    } else {
      const isRoomy = pending.every(({ tenant }) => this.#roomy.has(tenant));
      this.#finishIn(shard, isRoomy ? Math.max(delayMs, ROOMY_DELAY_MS) : delayMs);
    }
  }

  /** A call that is planned for an earlier time stays as it is. */
  #finishIn(shard: number, delayMs: number): void {
    const planned = this.#timers.get(shard);
    const atMs = performance.now() + delayMs;
    if (planned && planned.atMs <= atMs) return;
    this.#unplan(shard);
    const timer = setTimeout(() => {
      this.#timers.delete(shard);
      void this.#finish(shard);
    }, delayMs);
    this.#timers.set(shard, { timer, atMs });
  }

  #unplan(shard: number): void {
    clearTimeout(this.#timers.get(shard)?.timer);
    this.#timers.delete(shard);
  }

  async finishAll(): Promise<void> {
    // A call that is planned must not keep a worker alive that has stopped.
    for (const shard of this.#timers.keys()) this.#unplan(shard);
    await Promise.all(Array.from(this.#byShard.keys(), (shard) => this.#finish(shard)));
  }

  async #finish(shard: number): Promise<void> {
    const runs = this.take(shard);
    if (runs.length === 0) return;
    try {
      await this.#deps.queue.finish(runs, this.#deps.owner);
    } catch (error) {
      // The leases of the runs lapse, and the next worker that claims the runs reads in Postgres that they ended.
      log.warn("worker.finish_failed", { shard, message: messageOf(error) });
    }
  }

  #of(shard: number): JobName[] {
    const known = this.#byShard.get(shard);
    if (known) return known;
    const fresh: JobName[] = [];
    this.#byShard.set(shard, fresh);
    return fresh;
  }
}
