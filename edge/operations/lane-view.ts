import { z } from "zod";
import { LANE_DEFAULTS, laneSettings, settingsOf } from "../../shared/contracts/lane-settings.ts";
import type { ChangedLanes } from "../../shared/contracts/lane-settings.ts";
import type { Lane } from "../../shared/contracts/run.ts";

/** A setting of a lane, as operators see it. `value` null: the lane has no such bound. */
const SettingView = z
  .object({
    value: z.number().nullable(),
    default: z.number().nullable(),
    origin: z.enum(["default", "set"]),
  })
  .meta({ id: "LaneSetting" });

/** The settings that a lane has, by name. */
export const LaneSettingsView = z.record(z.string(), SettingView).meta({
  id: "LaneSettings",
  description: "The settings of a lane, by name. A `value` of null sets no bound.",
});

/** The effective settings of a lane, each with its default and where it comes from. */
export function viewOfLane(lane: Lane, changed: ChangedLanes): z.infer<typeof LaneSettingsView> {
  const effective = laneSettings(lane, changed);
  const changedNames = new Set(Object.keys(changed[lane] ?? {}));
  return Object.fromEntries(
    settingsOf(lane).map((name) => [
      name,
      {
        value: effective[name],
        default: LANE_DEFAULTS[lane][name],
        origin: changedNames.has(name) ? ("set" as const) : ("default" as const),
      },
    ]),
  );
}
