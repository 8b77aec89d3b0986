import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { DefinitionId, RunId, plainName } from "../../../shared/contracts/ids.ts";
import { JsonValue, isObject } from "../../../shared/contracts/json.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { answer } from "../../runs/resume.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";
import { acceptedOf } from "../../runs/run-view.ts";

const ResumeRequest = z
  .object({
    /** A text is short for `{ "response": text }`. */
    response: JsonValue.refine(
      (value): value is string | JsonObject => typeof value === "string" || isObject(value),
      "must be an object or text",
    ),
    /** The id from the status of the run, or from its event `human_input_required`. */
    question_id: plainName(500).nullish(),
    step_id: DefinitionId.nullish(),
    /** The person who answers, for the record. Required for a question with approvers: one of them. */
    answered_by: plainName(200).nullish(),
  })
  .meta({ id: "ResumeRequest" });

const Resuming = z
  .object({
    run_id: RunId,
    /** `waiting`: the answer is stored, and the question needs more approvals. */
    status: z.enum(["resuming", "waiting"]),
    stream_url: z.string(),
  })
  .meta({ id: "Resuming" });

const route = createRoute({
  method: "post",
  path: "/api/v2/orchestrations/runs/{run_id}/resume",
  operationId: "resumeRun",
  tags: ["Runs"],
  summary: "Answer the question that a run has asked a person",
  description:
    "`response` is validated against the fields of the question (422). The first of several answers wins; the others " +
    "get 409. `question_id` names the question: then a late answer never goes to the next question, and the same " +
    "answer may be sent again (`Idempotent-Replayed: true`). Without it, the open question is answered, or that of `step_id`; when several " +
    "are open, the answer is a 409 (`several_questions`) that lists them. A question with `approvals_needed` takes one answer " +
    "of each of its approvers, whom `answered_by` names, with the `decision` `approve` or `reject`; a second answer of " +
    "the same person is a 409. It is closed as soon as the approvals are reached or can no longer be reached.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write"), jsonBody({ schema: ResumeRequest })] as const,
  request: {
    params: z.object({ run_id: RunId }),
    body: { required: true, content: { "application/json": { schema: ResumeRequest } } },
  },
  responses: { 202: json(Resuming, "Answered"), ...problems(400, 404, 409, 413, 415) },
});

export function resumeRun(api: Api): void {
  api.openapi(route, async (c) => {
    const { run_id } = c.req.valid("param");
    const { response, question_id = null, step_id = null, answered_by = null } = c.req.valid("json");
    const { replayed, waits } = await answer(c.get("services"), c.get("principal"), {
      runId: run_id,
      to: { questionId: question_id, stepId: step_id },
      response: typeof response === "string" ? { response } : response,
      person: answered_by,
    });
    if (replayed) c.header("Idempotent-Replayed", "true");
    const status = waits ? ("waiting" as const) : ("resuming" as const);
    return c.json({ run_id, status, stream_url: acceptedOf(run_id).stream_url }, 202);
  });
}
