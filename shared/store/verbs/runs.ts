import { z } from "zod";
import { Incarnation, RunId } from "../../contracts/ids.ts";
import { Lane } from "../../contracts/run.ts";
import { abandonTrack } from "../runs/abandon-track.ts";
import {
  ClaimedRun,
  RunToHandBack,
  claimDirectly,
  claimRuns,
  handBack,
  readInput,
} from "../runs/claim-runs.ts";
import { DueRun } from "../runs/due-runs.ts";
import { RunSnapshot, readRunSnapshots } from "../runs/run-snapshots.ts";
import { SignalledRun } from "../runs/family.ts";
import { NewChild, ParentFence, StartedChild, cancelChild, startChild } from "../runs/start-child.ts";
import { listSuccessors } from "../runs/singletons.ts";
import { Wait, readWaits } from "../runs/waits.ts";
import { runIds } from "./verb.ts";
import type { Bind } from "./verb.ts";

const slots = z.number().int().min(1).max(1_000);

/** What workers do with runs: claim them, hand them back, start children. */
export function runVerbs(bind: Bind) {
  return {
    claim: bind({
      name: "claim",
      args: z.tuple([Incarnation, runIds, z.number().int().optional()]),
      result: z.array(ClaimedRun),
      run: claimRuns,
    }),
    claimDirectly: bind({
      name: "claimDirectly",
      args: z.tuple([Incarnation, slots, z.array(Lane)]),
      result: z.array(ClaimedRun),
      run: claimDirectly,
    }),
    readInput: bind({
      name: "readInput",
      args: z.tuple([RunId]),
      result: z.string().nullable(),
      run: readInput,
    }),
    readRunSnapshots: bind({
      name: "readRunSnapshots",
      args: z.tuple([runIds]),
      result: z.array(RunSnapshot),
      run: readRunSnapshots,
    }),
    handBack: bind({
      name: "handBack",
      args: z.tuple([Incarnation, z.array(RunToHandBack)]),
      result: runIds,
      run: handBack,
    }),
    readWaits: bind({
      name: "readWaits",
      args: z.tuple([RunId, z.array(z.string()).max(100)]),
      result: z.array(Wait),
      run: readWaits,
    }),
    startChild: bind({
      name: "startChild",
      args: z.tuple([ParentFence, NewChild]),
      result: StartedChild,
      run: startChild,
    }),
    cancelChild: bind({
      name: "cancelChild",
      args: z.tuple([RunId, RunId]),
      result: SignalledRun.nullable(),
      run: cancelChild,
    }),
    abandonTrack: bind({
      name: "abandonTrack",
      args: z.tuple([RunId, z.string()]),
      result: z.array(SignalledRun),
      run: abandonTrack,
    }),
    listSuccessors: bind({
      name: "listSuccessors",
      args: z.tuple([runIds]),
      result: z.array(DueRun),
      run: listSuccessors,
    }),
  };
}
