import { setTimeout as sleep } from "node:timers/promises";
import type { ExecutionDeps } from "../execution/execution-state.ts";
import { ClaimLoop, MAX_WAIT_MS } from "./claim-loop.ts";
import type { ClaimLoopDeps } from "./claim-loop.ts";
import { DirectClaims } from "./direct-claim.ts";
import { EndedRuns } from "./ended-runs.ts";
import { Executions } from "./executions.ts";
import { UnresolvedLeases } from "./unresolved-leases.ts";
import type { TrackedRuns } from "./tracked-runs.ts";

export type WorkerDeps = Omit<ClaimLoopDeps, "executions" | "ended" | "unresolved" | "directClaims"> & {
  tracked: TrackedRuns;
  execution: ExecutionDeps;
};

/**
 * A worker: one claim loop per queue shard, and the runs that they claimed. docs/protocol.md 5.2, 5.9. A run goes from a
 * ClaimLoop (or DirectClaims) to Executions, and when its execution ends to EndedRuns or back to the queue.
 */
export class Worker {
  readonly #deps: WorkerDeps;
  readonly #executions: Executions;
  readonly #ended: EndedRuns;
  readonly #loops: readonly ClaimLoop[];

  constructor(deps: WorkerDeps) {
    const { owner, queue } = deps;
    this.#deps = deps;
    this.#ended = new EndedRuns({
      owner,
      queue,
      delayMs: (shard) => this.#loops[shard]?.finishDelayMs ?? null,
    });
    this.#executions = new Executions({ ...deps, ended: this.#ended });
    const shared = {
      ...deps,
      ended: this.#ended,
      executions: this.#executions,
      unresolved: new UnresolvedLeases(deps, owner),
      directClaims: new DirectClaims({ ...deps, executions: this.#executions }),
    };
    this.#loops = Array.from({ length: queue.shards }, (_, shard) => new ClaimLoop(shard, shared));
  }

  /** How many runs this worker executes now. */
  get active(): number {
    return this.#deps.slots.active;
  }

  start(): void {
    for (const loop of this.#loops) loop.start();
  }

  /**
   * Stops claiming, lets runs go on for `graceMs` and hands the rest back: another worker can claim them at once, and no
   * crash is counted.
   */
  async drain(graceMs: number): Promise<void> {
    for (const loop of this.#loops) loop.stop();
    this.#deps.slots.wakeWaiting();
    // A marker for a run that is handed back must reach another worker, and not a wait of this one.
    this.#deps.endWaits();
    await this.#executions.drain(graceMs);
    const stopped = Promise.all(this.#loops.map((loop) => loop.stopped()));
    await Promise.race([stopped, sleep(MAX_WAIT_MS + 1_000)]);
    await this.#ended.finishAll();
  }
}
