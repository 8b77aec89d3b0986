import { z } from "zod";
import { deleteExpired } from "../delete-expired.ts";
import { NewerLimits } from "../../queue/limits.ts";
import { DueRun, ScanBounds, ScanPosition, listDueRuns, readScanBounds } from "../runs/due-runs.ts";
import { OverdueRun, listOverdueRuns, reclaimFromSilent, reclaimOverdue } from "../runs/reclaim-runs.ts";
import { RunningRun, RunningRunPosition, listOwners, listRunningRuns } from "../runs/running-runs.ts";
import { SingletonRepairs, repairSingletons } from "../runs/singletons.ts";
import { countWithoutWakeup } from "../runs/stuck-counts.ts";
import {
  KeyUse,
  ResealedRow,
  SealedColumn,
  SealedPage,
  SealedPosition,
  readSealed,
  replaceSealed,
  saveKeyUses,
} from "../sealed/sealed-values.ts";
import {
  ChangedLimits,
  LimitsPosition,
  listChangedLimits,
  raiseLimitVersions,
} from "../tenants/tenant-limits.ts";
import { takeLock } from "../workers/locks.ts";
import type { Bind } from "./verb.ts";

const pageSize = z.number().int().min(1).max(1_000);

/** What the reconciler reads and repairs. */
export function repairVerbs(bind: Bind) {
  return {
    takeLock: bind({
      name: "takeLock",
      args: z.tuple([z.string(), z.string(), z.number()]),
      result: z.boolean(),
      run: takeLock,
    }),
    readScanBounds: bind({
      name: "readScanBounds",
      args: z.tuple([z.number().nullable()]),
      result: ScanBounds,
      run: readScanBounds,
    }),
    listDueRuns: bind({
      name: "listDueRuns",
      args: z.tuple([ScanPosition, z.string(), pageSize]),
      result: z.array(DueRun),
      run: listDueRuns,
    }),
    listRunningRuns: bind({
      name: "listRunningRuns",
      args: z.tuple([RunningRunPosition, pageSize]),
      result: z.array(RunningRun),
      run: listRunningRuns,
    }),
    listOwners: bind({
      name: "listOwners",
      args: z.tuple([]),
      result: z.array(z.object({ owner: z.string(), beat_at: z.string().nullable() })),
      run: listOwners,
    }),
    reclaimFromSilent: bind({
      name: "reclaimFromSilent",
      args: z.tuple([z.string(), z.string().nullable()]),
      result: z.array(DueRun),
      run: reclaimFromSilent,
    }),
    listOverdueRuns: bind({
      name: "listOverdueRuns",
      args: z.tuple([]),
      result: z.array(OverdueRun),
      run: listOverdueRuns,
    }),
    reclaimOverdue: bind({
      name: "reclaimOverdue",
      args: z.tuple([z.array(OverdueRun).max(1_000)]),
      result: z.array(DueRun),
      run: reclaimOverdue,
    }),
    repairSingletons: bind({
      name: "repairSingletons",
      args: z.tuple([]),
      result: SingletonRepairs,
      run: repairSingletons,
    }),
    countWithoutWakeup: bind({
      name: "countWithoutWakeup",
      args: z.tuple([]),
      result: z.number(),
      run: countWithoutWakeup,
    }),
    listChangedLimits: bind({
      name: "listChangedLimits",
      args: z.tuple([LimitsPosition, pageSize]),
      result: z.array(ChangedLimits),
      run: listChangedLimits,
    }),
    raiseLimitVersions: bind({
      name: "raiseLimitVersions",
      args: z.tuple([z.array(NewerLimits).max(1_000)]),
      result: z.number(),
      run: raiseLimitVersions,
    }),
    readSealed: bind({
      name: "readSealed",
      args: z.tuple([SealedPosition]),
      result: SealedPage,
      run: readSealed,
    }),
    replaceSealed: bind({
      name: "replaceSealed",
      args: z.tuple([SealedColumn, z.array(ResealedRow).max(1_000)]),
      result: z.number().int(),
      run: replaceSealed,
    }),
    saveKeyUses: bind({
      name: "saveKeyUses",
      args: z.tuple([z.array(KeyUse).max(1_000), z.number()]),
      result: z.null(),
      run: saveKeyUses,
    }),
    deleteExpired: bind({
      name: "deleteExpired",
      args: z.tuple([]),
      result: z.boolean(),
      run: deleteExpired,
    }),
  };
}
