import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { DefinitionId, RunId } from "../../shared/contracts/ids.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import { answer } from "../answer.ts";
import { json, problems } from "../api.ts";
import type { Api } from "../api.ts";
import { optionalBody } from "../middleware/optional-body.ts";
import { needs } from "../middleware/principal.ts";
import { acceptedOf } from "../run-accepted.ts";

const ResumeRequest = z
  .object({
    /** Text alone is `{ "response": text }`. */
    response: z.union([z.string(), z.record(z.string(), JsonValue)]).nullish(),
    step_id: DefinitionId.nullish(),
  })
  .meta({ id: "ResumeRequest" });

const Resuming = z
  .object({ run_id: RunId, status: z.literal("resuming"), stream_url: z.string() })
  .meta({ id: "Resuming" });

const route = createRoute({
  method: "post",
  path: "/api/v2/orchestrations/runs/{run_id}/resume",
  summary: "Answer the question that a run has asked a person",
  description:
    "`response` is checked against the fields of the question (422). Of several answers one wins, the others get 409. " +
    "`step_id` names the step that asks, where there are several.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write"), optionalBody] as const,
  request: {
    params: z.object({ run_id: RunId }),
    body: { content: { "application/json": { schema: ResumeRequest } } },
  },
  responses: { 202: json(Resuming, "Answered"), ...problems(400, 404, 409, 413, 415, 422) },
});

export function resumeRun(api: Api): void {
  api.openapi(route, async (c) => {
    const { run_id } = c.req.valid("param");
    const { response, step_id = null } = c.req.valid("json");
    const given = typeof response === "string" ? { response } : (response ?? {});
    await answer(c.get("services"), c.get("principal"), run_id, step_id, given);
    return c.json({ run_id, status: "resuming" as const, stream_url: acceptedOf(run_id).stream_url }, 202);
  });
}
