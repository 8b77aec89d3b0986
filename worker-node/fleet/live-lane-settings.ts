import { laneSettings } from "../../shared/contracts/lane-settings.ts";
import type { ChangedLanes, LaneSettingsOf } from "../../shared/contracts/lane-settings.ts";
import { log } from "../../shared/log.ts";

/**
 * The settings of lanes as they hold now. Each reply to a beat brings them, and a worker without a recent beat claims nothing: so
 * a change acts within 5 s, without a read of its own. docs/protocol.md 5.23.
 */
export class LiveLaneSettings {
  #changed: ChangedLanes = {};
  readonly #listeners: (() => void)[] = [];

  readonly of: LaneSettingsOf = (lane) => laneSettings(lane, this.#changed);

  /** Calls `listener` after each change. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  replace(changed: ChangedLanes): void {
    if (JSON.stringify(changed) === JSON.stringify(this.#changed)) return;
    this.#changed = changed;
    log.info("lanes.changed", { settings: JSON.stringify(changed) });
    for (const listener of this.#listeners) listener();
  }
}
