import type { LaneSettingsOf } from "../../shared/contracts/lane-settings.ts";
import type { Lane } from "../../shared/contracts/run.ts";
import type { StateStore } from "../../shared/store/state.ts";

/**
 * The starts of a lane whose work Postgres hands out. All workers together never pass the lane's `starts_per_second`: docs/protocol.md
 * 5.23. For a lane without a rate Postgres is not asked.
 */
export class LaneStarts {
  readonly #lane: Lane;
  readonly #store: Pick<StateStore, "takeStarts">;
  readonly #settings: LaneSettingsOf;

  constructor(lane: Lane, store: Pick<StateStore, "takeStarts">, settings: LaneSettingsOf) {
    this.#lane = lane;
    this.#store = store;
    this.#settings = settings;
  }

  /**
   * Takes up to `wanted` starts.
   * @returns the number of starts that it got, and the milliseconds until the next one
   */
  async take(wanted: number): Promise<{ granted: number; nextMs: number }> {
    const perSecond = this.#settings(this.#lane).starts_per_second;
    if (perSecond === null) return { granted: wanted, nextMs: 0 };
    const { granted, next_ms } = await this.#store.takeStarts({ lane: this.#lane, wanted, perSecond });
    return { granted, nextMs: next_ms };
  }

  /** Gives starts back for which there was no work. */
  async giveBack(count: number): Promise<void> {
    if (count > 0) await this.take(-count);
  }
}
