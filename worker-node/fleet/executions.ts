import { setTimeout as sleep } from "node:timers/promises";
import type { Incarnation, RunId } from "../../shared/contracts/ids.ts";
import { backoffOf } from "../../shared/contracts/lane-settings.ts";
import { aboutRun, log, messageOf } from "../../shared/log.ts";
import type { LogFields } from "../../shared/log.ts";
import { enqueueDue } from "../../shared/queue/due-jobs.ts";
import { jobOf } from "../../shared/queue/job.ts";
import type { Job } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { execute } from "../execution/execute.ts";
import type { ExecutionDeps } from "../execution/execution-state.ts";
import { Stop } from "../execution/stop.ts";
import type { EndedRuns } from "./ended-runs.ts";
import { handBack } from "./hand-back.ts";
import type { HandedBack } from "./hand-back.ts";
import type { Slots } from "./slots.ts";
import type { TrackedRuns } from "./tracked-runs.ts";

/** In a drain, the time between the stop of an execution and the return of its run. */
const STOP_MS = 2_000;

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
      const reason = this.#isDraining ? "drain" : delayMs > 0 ? "crash" : null;
      if (reason === null) this.#begin(run);
      else returned.push({ about: aboutRun(run), job: jobOf(run), attempt: run.attempt, delayMs, reason });
    }
    if (returned.length > 0) await handBack(this.#deps, returned);
  }

  /**
   * How long a run waits whose worker has died, in milliseconds. 0 also for a run that ends now: it was cancelled, or has no further try.
   */
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
      onBudget: (hasBudget) => {
        runLog.hasBudget = hasBudget;
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
