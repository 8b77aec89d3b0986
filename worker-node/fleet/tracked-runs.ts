import type { RunId } from "../../shared/contracts/ids.ts";
import type { Job } from "../../shared/queue/job.ts";

/** A run that this worker executes and has the right to move, as far as it knows. */
export type TrackedRun = {
  job: Job;
  attempt: number;
  /** `runs.signals` as far as this worker knows it. */
  signals: number;
  /** When it was claimed, by the monotonic clock: a beat that was sent earlier does not name it. */
  sinceMs: number;
  /** Another worker moves the run: its execution must stop at once and write nothing. */
  supersede(): void;
  /** The run has a cancel request, or other `signals` than this worker knows. */
  onSignal(signal: { signals: number; cancel: boolean }): void;
  /** A budget applies to the run, or none does any more. */
  onBudget(hasBudget: boolean): void;
};

/** The runs whose leases this worker renews. Beats and renewals stop or notify their executions through it. */
export class TrackedRuns {
  readonly #runs = new Map<RunId, TrackedRun>();

  track(run: TrackedRun): void {
    this.#runs.set(run.job.run, run);
  }

  /** The run's lease is not renewed any more. */
  untrack(run: RunId): void {
    this.#runs.delete(run);
  }

  /** Stops the run's execution, and untracks it. */
  supersede(run: TrackedRun): void {
    this.untrack(run.job.run);
    run.supersede();
  }

  get(run: RunId): TrackedRun | undefined {
    return this.#runs.get(run);
  }

  [Symbol.iterator](): IterableIterator<TrackedRun> {
    return this.#runs.values();
  }
}
