import type { Incarnation } from "../../shared/contracts/ids.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { Lane, RunLane } from "../../shared/contracts/run.ts";
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
  readonly #store: Pick<StateStore, "claimDirectly" | "takeStarts">;
  readonly #executions: Executions;
  #lastMs = -Infinity;

  constructor(deps: {
    owner: Incarnation;
    store: Pick<StateStore, "claimDirectly" | "takeStarts">;
    executions: Executions;
  }) {
    this.#owner = deps.owner;
    this.#store = deps.store;
    this.#executions = deps.executions;
  }

  /**
   * Claims the runs that there is room for and begins them; does nothing within a second of the last claim. The rates of lanes
   * hold here too, counted in Postgres.
   */
  async claim({ slots, lanes, rules }: Room): Promise<void> {
    const nowMs = performance.now();
    if (nowMs - this.#lastMs < PERIOD_MS) return;
    this.#lastMs = nowMs;
    const served = Lane.options.filter((lane) => (lanes[lane] ?? 0) > 0);
    const rateOf = (lane: Lane): number | null => rules?.[lane]?.starts_per_second ?? null;
    let free = Math.min(slots, MOST_RUNS);
    free -= await this.#claimFrom(
      served.filter((lane) => rateOf(lane) === null),
      free,
    );
    for (const lane of RunLane.options) {
      const perSecond = rateOf(lane);
      const wanted = Math.min(free, lanes[lane] ?? 0);
      if (perSecond === null || wanted <= 0) continue;
      const { granted } = await this.#store.takeStarts({ lane, wanted, perSecond });
      if (granted === 0) continue;
      const taken = await this.#claimFrom([lane], granted);
      if (taken < granted) await this.#store.takeStarts({ lane, wanted: taken - granted, perSecond });
      free -= taken;
    }
  }

  /** @returns how many runs it claimed */
  async #claimFrom(lanes: readonly Lane[], slots: number): Promise<number> {
    if (lanes.length === 0 || slots <= 0) return 0;
    const claimed = await this.#store.claimDirectly(this.#owner, slots, lanes);
    // Runs that this worker executes: the reconciler reclaimed them as stuck, and this worker was the next to claim them.
    const stuck = claimed.filter(({ run_id }) => this.#executions.has(run_id));
    await this.#executions.begin(claimed.filter((run) => !stuck.includes(run)));
    for (const run of stuck) this.#executions.replace(run);
    return claimed.length;
  }
}
