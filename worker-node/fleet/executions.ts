import { setTimeout as sleep } from "node:timers/promises";
import type { Incarnation, RunId, TenantId } from "../../shared/contracts/ids.ts";
import { backoffOf } from "../../shared/contracts/lane-settings.ts";
import { queueShardOf } from "../../shared/keys.ts";
import { aboutRun, log, messageOf } from "../../shared/log.ts";
import type { LogFields } from "../../shared/log.ts";
import { enqueueDue } from "../../shared/queue/due-jobs.ts";
import type { Claim } from "../../shared/queue/claim.ts";
import { jobOf } from "../../shared/queue/job.ts";
import type { Job, JobName } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { execute } from "../execution/execute.ts";
import type { Ending, ExecutionDeps } from "../execution/execution-state.ts";
import { Stop } from "../execution/stop.ts";
import type { Slots } from "./slots.ts";
import type { TrackedRuns } from "./tracked-runs.ts";

/** In a drain, the time between the stop of an execution and the return of its run. */
const STOP_MS = 2_000;
/** The most runs that one claim or one `finish` carries. */
const MAX_RUNS_PER_CALL = 1_000;
/** The most runs that are kept for a shard. More than one call's worth gather only while the queue is unreachable. */
const MAX_RUNS_PER_SHARD = 20_000;

/** An idle worker finishes the ended runs of roomy tenants after this time, unless a claim does so before. */
const ROOMY_DELAY_MS = 500;
/** The most tenants that are known to be roomy. */
const MAX_ROOMY = 10_000;

type Execution = { about: LogFields; job: Job; attempt: number; stop: AbortController; done: Promise<void> };

export type ExecutionsDeps = {
  owner: Incarnation;
  store: StateStore;
  queue: Queue;
  tracked: TrackedRuns;
  slots: Slots;
  execution: ExecutionDeps;
  ended: EndedRuns;
};

/** The runs that this worker executes now. Each takes a slot and has its lease tracked until its execution ends. */
export class Executions {
  readonly #deps: ExecutionsDeps;
  readonly #executions = new Map<RunId, Execution>();
  #isDraining = false;

  constructor(deps: ExecutionsDeps) {
    this.#deps = deps;
  }

  has(run: RunId): boolean {
    return this.#executions.has(run);
  }

  /**
   * Executes runs that were just claimed. While the worker drains, hands them back at once. A run whose worker has died waits first,
   * if its lane has a backoff.
   */
  async begin(claimed: readonly ClaimedRun[]): Promise<void> {
    const returned: HandedBack[] = [];
    for (const run of claimed) {
      const delayMs = this.#isDraining ? 0 : this.#backoffMs(run);
      if (this.#isDraining)
        returned.push({
          about: aboutRun(run),
          job: jobOf(run),
          attempt: run.attempt,
          delayMs,
          reason: "drain",
        });
      else if (delayMs > 0)
        returned.push({
          about: aboutRun(run),
          job: jobOf(run),
          attempt: run.attempt,
          delayMs,
          reason: "crash",
        });
      else this.#begin(run);
    }
    if (returned.length > 0) await handBack(this.#deps, returned);
  }

  /** 0 also for a run that is to end now: it was cancelled, or has no further try. */
  #backoffMs({ lane, takeover, crash_count, cancel }: ClaimedRun): number {
    const { attempts, first_backoff_seconds } = this.#deps.execution.laneSettings(lane);
    if (!takeover || cancel || (attempts !== null && crash_count >= attempts)) return 0;
    return backoffOf(first_backoff_seconds, crash_count);
  }

  /**
   * Executes a run that this worker still executes under an earlier attempt: stops that execution and begins when it has ended.
   * The caller does not wait. If the old execution never ends, two beats name the run as this worker's while its new attempt
   * is not executed, and it is handed back.
   */
  replace(claimed: ClaimedRun): void {
    const old = this.#executions.get(claimed.run_id);
    if (!old || old.attempt === claimed.attempt) return;
    old.stop.abort(new Stop("superseded", "the run was reclaimed, and claimed again by this worker"));
    void old.done.then(() => this.begin([claimed]));
  }

  /** Lets runs go on for `graceMs`, then stops and hands back the rest. Runs that are claimed from now on go back at once. */
  async drain(graceMs: number): Promise<void> {
    this.#isDraining = true;
    await Promise.race([this.#allDone(), sleep(graceMs)]);
    const unfinished = [...this.#executions.values()];
    for (const { stop } of unfinished) stop.abort(new Stop("drain", "the worker is shutting down"));
    await Promise.race([this.#allDone(), sleep(STOP_MS)]);
    const returned = unfinished.map((each) => ({ ...each, delayMs: 0, reason: "drain" as const }));
    if (returned.length > 0) await handBack(this.#deps, returned);
  }

  async #allDone(): Promise<void> {
    await Promise.all(Array.from(this.#executions.values(), ({ done }) => done));
  }

  #begin(claimed: ClaimedRun): void {
    const { tracked, slots, execution } = this.#deps;
    const { run_id: run, attempt } = claimed;
    const stop = new AbortController();
    const runLog = execution.journal.open(claimed, stop);
    const job = jobOf(claimed);
    const about = aboutRun(claimed);
    log.info("run.claimed", { ...about, attempt });
    tracked.track({
      job,
      attempt,
      signals: claimed.signals,
      sinceMs: performance.now(),
      supersede: () => stop.abort(new Stop("superseded", "another worker moves the run now")),
      onSignal: ({ signals, cancel }) => {
        runLog.signals = signals;
        if (cancel) stop.abort(new Stop("cancel", "the run was cancelled"));
      },
      onBudget: (has) => {
        runLog.hasBudget = has;
      },
    });
    slots.take(run, claimed.tenant_id, claimed.lane);
    const holdState = (bytes: number): void => slots.holdState(run, bytes);
    const done = execute(claimed, execution, runLog, stop.signal, holdState)
      .then((ending) => {
        log.info("run.execution_ended", { ...about, attempt, ending: ending.is });
        // Untracked before the queue is updated: a renewal in between would take the lease again.
        tracked.untrack(run);
        return this.#deps.ended.onEnd(job, ending, about);
      })
      .then(() => this.#wakeNextTurn(claimed))
      .catch((error: unknown) => log.error("run.ending_failed", { ...about, message: messageOf(error) }))
      .finally(() => {
        tracked.untrack(run);
        this.#executions.delete(run);
        slots.release(run);
      });
    this.#executions.set(run, { about, job, attempt, stop, done });
  }

  /** After a chat turn: the next turn of its session is ready at once. The reconciler finds what this leaves (protocol 7.10). */
  async #wakeNextTurn(claimed: ClaimedRun): Promise<void> {
    const { chat_session: session } = claimed;
    if (session === null || session === undefined) return;
    const { store, queue } = this.#deps;
    try {
      await enqueueDue(queue, await store.wakeTurns(session));
    } catch (error) {
      log.warn("chat.turn_not_woken", { ...aboutRun(claimed), message: messageOf(error) });
    }
  }
}

/** A run that goes back to the queue. `delayMs`: when it is due again. */
type HandedBack = { about: LogFields; job: Job; attempt: number; delayMs: number; reason: "drain" | "crash" };

/**
 * Returns runs that this worker will not finish: Postgres queues them again, then the queue ends their leases. Another
 * worker can claim them when they are due, and no crash is counted. Never throws: the beats of this process end soon, and then
 * other workers take over what could not be handed back.
 */
async function handBack(
  { owner, store, queue, tracked }: ExecutionsDeps,
  runs: readonly HandedBack[],
): Promise<void> {
  try {
    const fences = runs.map(({ job, attempt, delayMs }) => ({ run_id: job.run, attempt, delay_ms: delayMs }));
    const returned = new Set(await store.handBack(owner, fences));
    // From here on another worker may have their leases. The lease of a run whose step is slow to stop must not be renewed.
    for (const run of returned) tracked.untrack(run);
    const released = runs.filter(({ job }) => returned.has(job.run));
    const waiting = released.map(({ job, delayMs }) => ({ ...job, status: "queued" as const, delayMs }));
    await queue.release(waiting, owner);
    for (const { about, reason } of released) log.info("run.handed_back", { ...about, reason });
  } catch (error) {
    for (const { about } of runs) log.warn("run.hand_back_failed", { ...about, message: messageOf(error) });
  }
}

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

  /** Finishes or releases the job of a run after its execution. The run's lease is not renewed any more. `about`: the run, for log lines. */
  async onEnd(job: Job, ending: Ending, about: LogFields): Promise<void> {
    const { owner, queue } = this.#deps;
    const shard = queueShardOf(job.tenant, queue.shards);
    if (ending.is === "ended") {
      this.add(shard, [job]);
      this.finishSoon(shard);
    } else if (ending.is === "parked") {
      const parked = { ...job, status: ending.status, delayMs: ending.delayMs };
      await queue.release([parked], owner).catch((error: unknown) => {
        // Its lease lapses, and the reconciler enqueues the run when it is due.
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
    return this.#of(shard).splice(0, MAX_RUNS_PER_CALL);
  }

  /**
   * Finishes the shard's runs in one call, unless a claim does so before. While each of them is of a roomy tenant the call may wait
   * longer, so that a run alone costs no call of its own: until then such a tenant lacks at most an eighth of its slots.
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
    clearTimeout(planned?.timer);
    const timer = setTimeout(() => {
      this.#timers.delete(shard);
      void this.#finish(shard);
    }, delayMs);
    this.#timers.set(shard, { timer, atMs });
  }

  async finishAll(): Promise<void> {
    // A call that is planned must not keep a worker alive that has stopped.
    for (const { timer } of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    await Promise.all(Array.from(this.#byShard.keys(), (shard) => this.#finish(shard)));
  }

  async #finish(shard: number): Promise<void> {
    const runs = this.take(shard);
    if (runs.length === 0) return;
    try {
      await this.#deps.queue.finish(runs, this.#deps.owner);
    } catch (error) {
      // Their leases lapse, and the next worker that claims them reads in Postgres that they ended.
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
