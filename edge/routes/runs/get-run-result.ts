import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { JsonValue } from "../../../shared/contracts/json.ts";
import { TERMINAL } from "../../../shared/contracts/run.ts";
import { AppError } from "../../../shared/errors.ts";
import { fold } from "../../../shared/journal/fold.ts";
import type { Progress } from "../../../shared/journal/fold.ts";
import { readEntries, readStored } from "../../../shared/store/journal/read-journal.ts";
import type { RunRow } from "../../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { RunView, findRun, viewOf } from "../../runs/run-view.ts";

const StepResult = z.object({
  step_id: z.string(),
  step_name: z.string(),
  step_type: z.string(),
  visit: z.number().int(),
  output_key: z.string().nullable(),
  started_at: z.string(),
  duration_seconds: z.number(),
  tries: z.number().int(),
  tokens_used: z.number().int(),
  cost_usd: z.number(),
});

const RunResult = z
  .object({
    ...RunView.shape,
    output: JsonValue,
    /** Large values are references. */
    final_state: z.record(z.string(), JsonValue),
    steps: z.array(StepResult),
  })
  .meta({ id: "RunResult" });

const route = createRoute({
  method: "get",
  path: "/api/v2/orchestrations/runs/{run_id}/result",
  summary: "Read the result of a run",
  description:
    "Values over 32 KiB are references: `{ $ref, size, content_type, preview, url }`, and `url` opens one with the same key.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { params: z.object({ run_id: z.string() }) },
  responses: { 200: json(RunResult, "The result"), ...problems(404, 409) },
});

export function getRunResult(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql } = c.get("services");
    const row = await findRun(sql, c.get("principal"), c.req.valid("param").run_id);
    if (!TERMINAL.has(row.status)) {
      throw new AppError("run_not_finished", `The run is ${row.status}; its stream ends with the run.`);
    }
    const [stored, final_state] = await Promise.all([readStored(sql, [row.run_id]), finalState(sql, row)]);
    const progress = fold({}, stored.get(row.run_id) ?? []);
    const output = progress.end?.response ?? null;
    return c.json({ ...viewOf(row), output, final_state, steps: stepsOf(progress) }, 200);
  });
}

const Complete = z.object({
  type: z.literal("orchestration_complete"),
  final_state: z.record(z.string(), JsonValue),
});

/** The state at the end, from the event of the last entry: only this event also holds the state that the run started with. */
async function finalState(sql: Sql, row: RunRow) {
  const [last] = await readEntries(sql, row.run_id, row.event_seq - 1, 1);
  for (const line of last?.events.split("\n") ?? []) {
    const complete = Complete.safeParse(JSON.parse(line));
    if (complete.success) return complete.data.final_state;
  }
  return {};
}

function stepsOf(progress: Progress): z.infer<typeof StepResult>[] {
  return progress.history.map((step) => ({
    step_id: step.step,
    step_name: step.name,
    step_type: step.type,
    visit: step.visit,
    output_key: step.output_key,
    started_at: step.started_at,
    duration_seconds: step.duration_ms / 1000,
    tries: step.tries,
    tokens_used: step.tokens,
    cost_usd: step.cost_micro_usd / 1_000_000,
  }));
}
