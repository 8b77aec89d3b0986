import { z } from "zod";
import { Incarnation } from "../../contracts/ids.ts";
import { LaneToStart, StartsTaken, takeStarts } from "../lanes/lane-starts.ts";
import { countRuns } from "../metrics/count-runs.ts";
import { CounterValue, MAX_VALUES, saveCounters } from "../metrics/counters.ts";
import { Beat, BeatReply, OwnedRun, beat } from "../workers/beats.ts";
import type { Bind } from "./verb.ts";

/** What a worker tells and asks as a member of the fleet. */
export function fleetVerbs(bind: Bind) {
  return {
    beat: bind({
      name: "beat",
      args: z.tuple([Beat]),
      // An edge of a version that does not count silences sends the runs alone.
      result: z.union([
        BeatReply,
        z.array(OwnedRun).transform((owned) => ({ silences: null, drain: false, owned })),
      ]),
      run: beat,
    }),
    takeStarts: bind({
      name: "takeStarts",
      args: z.tuple([LaneToStart]),
      result: StartsTaken,
      run: takeStarts,
    }),
    countRuns: bind({
      name: "countRuns",
      args: z.tuple([]),
      result: z.boolean(),
      run: (sql) => countRuns(sql),
    }),
    saveCounters: bind({
      name: "saveCounters",
      args: z.tuple([Incarnation, z.array(CounterValue).max(MAX_VALUES)]),
      result: z.null(),
      run: saveCounters,
    }),
  };
}
