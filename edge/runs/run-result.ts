import { z } from "zod";
import { AnsweredBy } from "../../shared/contracts/approval.ts";
import { Artifact } from "../../shared/contracts/artifact.ts";
import type { Checkpoint } from "../../shared/contracts/journal-entry.ts";
import { JsonRecord, JsonValue } from "../../shared/contracts/json.ts";
import { linesOf } from "../../shared/events/lines.ts";
import { shownName } from "../../shared/journal/ending.ts";
import { countedEntries } from "../../shared/journal/fold.ts";
import type { ReadStored } from "../../shared/journal/fold.ts";
import { recordOf } from "../../shared/journal/records.ts";
import { resultIn } from "../../shared/journal/rewind.ts";
import { listFiles } from "../../shared/store/files/artifacts.ts";
import type { FoundRun, RunRow } from "../../shared/store/runs/read-runs.ts";
import { fileView } from "./file-view.ts";
import { pagesOfRun, readRunEntries } from "./run-journal.ts";
import type { JournalStores } from "./run-journal.ts";
import { RunView, runViewOf } from "./run-view.ts";
import { readRelated } from "./run-waits.ts";

const StepResult = z.object({
  step_id: z.string(),
  step_name: z.string(),
  step_type: z.string(),
  /** Where the step is: `fanout[1].draft` in a branch or a loop, elsewhere its id. */
  path: z.string(),
  visit: z.number().int(),
  output_key: z.string().nullable(),
  started_at: z.string(),
  duration_seconds: z.number(),
  tries: z.number().int(),
  tokens_used: z.number().int(),
  cost_usd: z.number(),
  /** Of a human step: the source of its answer. Null: no answer came in time. */
  answered_by: AnsweredBy.nullable().optional(),
  /** Its tokens and cost are estimated: a provider did not report them. */
  usage_estimated: z.boolean(),
});

/** The result of a run that has ended, however it ended. */
export const RunResult = z
  .object({
    ...RunView.shape,
    output: JsonValue,
    /** Large values are references. */
    final_state: JsonRecord,
    steps: z.array(StepResult),
    artifacts: z.array(Artifact).meta({
      description: "The files that the run's tools have written; `…/artifacts` lists large values too",
    }),
  })
  .meta({ id: "RunResult" });
type RunResult = z.infer<typeof RunResult>;

/** The result of a run. @param row a run that has ended. @throws AppError `artifacts_away` for an archived run */
export async function resultOf(stores: JournalStores, row: FoundRun): Promise<RunResult> {
  const [ended, final_state, related, files] = await Promise.all([
    endOf(pagesOfRun(stores, row.run_id, row.event_seq)),
    finalState(stores, row),
    readRelated(stores.sql, row),
    listFiles(stores.sql, row.run_id),
  ]);
  return { ...runViewOf(row, related), ...ended, final_state, artifacts: files.map(fileView) };
}

/** The run's output and the results of its steps. One page of the journal is in memory at a time, and no state. */
async function endOf(journal: ReadStored): Promise<Pick<RunResult, "output" | "steps">> {
  const ended: Pick<RunResult, "output" | "steps"> = { output: null, steps: [] };
  for await (const entry of countedEntries(journal)) {
    const result = resultIn(entry);
    if (result) ended.steps.push(stepOf(result, entry.step_path ?? result.step));
    const record = entry.kind === "end" ? recordOf(entry) : null;
    if (record?.kind === "end") ended.output = record.record.response;
  }
  return ended;
}

const Complete = z.object({
  type: z.literal("orchestration_complete"),
  final_state: JsonRecord,
});

/** The state at the end, from an event of the last entry: results alone do not have the state with which the run started. */
async function finalState(stores: JournalStores, row: RunRow) {
  const [last] = await readRunEntries(stores, row.run_id, row.event_seq - 1, 1);
  for (const line of last ? linesOf(last.events) : []) {
    const complete = Complete.safeParse(JSON.parse(line));
    if (complete.success) return complete.data.final_state;
  }
  return {};
}

function stepOf(result: Checkpoint, path: string): z.infer<typeof StepResult> {
  return {
    step_id: result.step,
    step_name: shownName(result.step, result.name),
    step_type: result.type,
    path,
    visit: result.visit,
    output_key: result.output_key,
    started_at: result.started_at,
    duration_seconds: result.duration_ms / 1000,
    tries: result.tries,
    tokens_used: result.tokens,
    cost_usd: result.cost_micro_usd / 1_000_000,
    ...(result.answered_by !== undefined && { answered_by: result.answered_by }),
    usage_estimated: result.estimated ?? false,
  };
}
