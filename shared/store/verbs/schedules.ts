import { z } from "zod";
import { NewRun } from "../../contracts/run.ts";
import {
  ClaimedSchedules,
  FiredSchedule,
  TickStart,
  claimSchedules,
  saveFired,
  startTick,
} from "../schedules/fire-schedules.ts";
import type { Bind } from "./verb.ts";

/** The ticks of schedules. */
export function scheduleVerbs(bind: Bind) {
  return {
    claimSchedules: bind({
      name: "claimSchedules",
      args: z.tuple([z.number().int().min(1).max(100)]),
      result: ClaimedSchedules,
      run: claimSchedules,
    }),
    startTick: bind({
      name: "startTick",
      args: z.tuple([NewRun, z.enum(["queue", "postgres"])]),
      result: TickStart,
      run: startTick,
    }),
    saveFired: bind({
      name: "saveFired",
      args: z.tuple([z.array(FiredSchedule).max(100)]),
      result: z.null(),
      run: saveFired,
    }),
  };
}
