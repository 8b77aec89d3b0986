import type { Incarnation } from "../../shared/contracts/ids.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { Lane } from "../../shared/contracts/run.ts";
import type { Room } from "../../shared/queue/claim.ts";
import type { Executions } from "./executions.ts";

/** The most runs that one call may claim: see the verb `claimDirectly`. */
const MOST_RUNS = 1_000;
/** The shortest time between two direct claims of a worker, over all its shards. */
const PERIOD_MS = 1_000;

/**
 * Claims runs from Postgres alone while the queue is unreachable. docs/protocol.md 11. A direct claim
 * returns nothing while any worker with a recent beat reports that it reaches the queue (`redis_ok`).
 */
export class DirectClaims {
  readonly #owner: Incarnation;
  readonly #store: Pick<StateStore, "claimDirectly">;
  readonly #executions: Executions;
  #lastMs = -Infinity;

  constructor(deps: {
    owner: Incarnation;
    store: Pick<StateStore, "claimDirectly">;
    executions: Executions;
  }) {
    this.#owner = deps.owner;
    this.#store = deps.store;
    this.#executions = deps.executions;
  }

  /** Claims the runs that there is room for and begins them; does nothing within a second of the last claim. */
  async claim({ slots, lanes }: Room): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - this.#lastMs < PERIOD_MS) return;
    this.#lastMs = nowMs;
    const claimed = await this.#store.claimDirectly(
      this.#owner,
      Math.min(slots, MOST_RUNS),
      Lane.options.filter((lane) => (lanes[lane] ?? 0) > 0),
    );
    // Runs that this worker executes: the reconciler reclaimed them as stuck, and this worker was the next to claim them.
    const stuck = claimed.filter(({ run_id }) => this.#executions.has(run_id));
    await this.#executions.begin(claimed.filter((run) => !stuck.includes(run)));
    for (const run of stuck) this.#executions.replace(run);
  }
}
