import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import { z } from "zod";
import { asksForSomething } from "../../../shared/contracts/definition/field-classes.ts";
import { endUserOf } from "../../../shared/contracts/budget.ts";
import { DefinitionId, TenantId, newRunId, plainName } from "../../../shared/contracts/ids.ts";
import { JsonRecord } from "../../../shared/contracts/json.ts";
import type { NewRun, RunInput } from "../../../shared/contracts/run.ts";
import { WebhookSecret, WebhookUrl } from "../../../shared/contracts/webhook.ts";
import { AppError } from "../../../shared/errors.ts";
import type { Config } from "../../env.ts";
import { json, problems } from "../../http/api.ts";
import type { Api, ApiEnv } from "../../http/api.ts";
import { holdBody, whileHeld } from "../../http/held-bodies.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs, tenantOf } from "../../http/middleware/principal.ts";
import { invalidFields, refusedError } from "../../http/problem.ts";
import { MAX_WAIT_SECONDS } from "../../http/prefer.ts";
import { fingerprintOf } from "../../runs/request-fingerprint.ts";
import { RunResult } from "../../runs/run-result.ts";
import { RunAccepted, acceptedOf } from "../../runs/run-view.ts";
import { submitUntilRoom } from "../../runs/submit-until-room.ts";
import { waitForEnd } from "../../runs/wait-for-end.ts";
import { webhookOf } from "../../runs/webhook-request.ts";

/** Fields of the API that are not built yet: they are refused, never accepted and ignored. */
const NOT_YET = ["delay_seconds", "run_at", "singleton_key", "attachments"] as const;
/** Their values, besides null and empty ones, that ask for what happens anyway. */
const NO_EFFECT = [0];

const RunRequest = z
  .looseObject({
    message: z.string().default(""),
    tenant_id: TenantId.nullish(),
    session_id: plainName(200).nullish(),
    priority: z.number().int().min(0).max(10).nullish(),
    metadata: JsonRecord.nullish(),
    state: JsonRecord.nullish(),
    correlation_id: plainName(200).nullish(),
    webhook_url: WebhookUrl.nullish(),
    webhook_secret: WebhookSecret.nullish(),
  })
  .meta({ id: "RunRequest" });
type RunRequest = z.infer<typeof RunRequest>;

const Params = z.object({ id: DefinitionId });
const Headers = z.object({ "idempotency-key": plainName(255).optional() });

const route = createRoute({
  method: "post",
  path: "/api/v2/orchestrations/{id}/run",
  operationId: "createRun",
  tags: ["Runs"],
  summary: "Start a run",
  description:
    "After a 202 the run is committed and will reach an end. With `Prefer: wait=N` the answer comes when the run has ended, " +
    `with 200 and its result, or after N seconds (at most ${MAX_WAIT_SECONDS}) with the 202; \`Preference-Applied\` has the ` +
    "preferences that were honoured. A request that waits takes a seat of the run's viewers; without a free seat the 202 " +
    "comes at once, without that header.",
  security: [{ key: ["runs:write"] }],
  request: {
    params: Params,
    headers: Headers.extend({
      prefer: z.string().optional().meta({ description: "`wait=N`, `handling=lenient`, or both" }),
    }),
    body: { required: true, content: { "application/json": { schema: RunRequest } } },
  },
  responses: {
    200: json(RunResult, "The run has ended while the request waited"),
    202: json(RunAccepted, "Accepted"),
    ...problems(400, 404, 409, 413, 415, 422, 429),
  },
});

/** Documented like every route, but parsed here: the validators of `api.openapi` cost 50 us, and this is the busiest route. */
export function createRun(api: Api): void {
  api.openAPIRegistry.registerPath(route);
  const checks = [
    needs("runs:write"),
    waitForEnd,
    holdBody,
    jsonBody({ schema: RunRequest, notYet: NOT_YET }),
  ] as const;
  api.post(route.getRoutingPath(), ...checks, async (c) => {
    const request = await readRequest(c);
    refuseUnbuilt(request.body);
    refuseOtherMessage(request.body);
    const { config, submit } = c.get("services");
    const principal = c.get("principal");
    const named = request.body.tenant_id ?? undefined;
    const tenant = tenantOf(principal, named, config.DEFAULT_TENANT_ID);
    const run = await toRun(request, tenant, config);
    const submitted = () => submitUntilRoom(submit, run);
    const result = await (principal.tenant === null ? whileHeld(c, tenant, submitted) : submitted());
    if (result.is === "refused") throw refusedError(result);
    if (result.replayed) c.header("Idempotent-Replayed", "true");
    return c.json(acceptedOf(result.run_id), 202);
  });
}

type ParsedRequest = { id: string; key: string | null; body: RunRequest };

/** @throws AppError `not_found` for an id that no orchestration can have, `malformed_json`, `invalid` */
async function readRequest(c: Context<ApiEnv>): Promise<ParsedRequest> {
  const params = Params.safeParse(c.req.param());
  if (!params.success) throw new AppError("not_found", "The resource does not exist.");
  const headers = Headers.safeParse({ "idempotency-key": c.req.header("idempotency-key") });
  if (!headers.success) throw invalidFields(headers.error);
  const body = RunRequest.safeParse(await c.req.json());
  if (!body.success) throw invalidFields(body.error);
  return { id: params.data.id, key: headers.data["idempotency-key"] ?? null, body: body.data };
}

/** These keys of a run's state are its message, so another value in `state` would be lost. */
function refuseOtherMessage({ message, state }: RunRequest): void {
  const fields = ["user_input", "user_query"]
    .filter((key) => state && Object.hasOwn(state, key) && state[key] !== message)
    .map((key) => ({ path: `state.${key}`, message: "is the run's message: send it as message" }));
  if (fields.length > 0) throw new AppError("invalid", `Not valid: ${fields[0]?.path}.`, { fields });
}

function refuseUnbuilt(body: RunRequest): void {
  const unbuilt = NOT_YET.filter((field) => asksForSomething(body[field], NO_EFFECT));
  if (unbuilt.length === 0) return;
  throw new AppError("not_yet", `Not available yet: ${unbuilt.join(", ")}.`, {
    fields: unbuilt.map((path) => ({ path, message: "is not available yet" })),
  });
}

async function toRun({ id, key, body }: ParsedRequest, tenant: TenantId, config: Config): Promise<NewRun> {
  // The millisecond in the id is from the edge's clock. It is the base of the run's event ids; no time is compared with it.
  const run = newRunId(Date.now());
  const input: RunInput = { message: body.message, state: body.state ?? {} };
  const metadata = body.metadata ?? {};
  const routing = {
    tenant_id: tenant,
    orchestration_id: id,
    lane: "default" as const,
    priority: body.priority ?? 0,
    session_id: body.session_id ?? null,
    delay_ms: 0,
  };
  const webhook = await webhookOf(body, run, config);
  const meaning = {
    ...routing,
    input,
    metadata,
    correlation_id: body.correlation_id,
    url: webhook.webhook_url,
  };
  return {
    ...routing,
    run_id: run,
    correlation_id: body.correlation_id ?? run,
    triggered_by: "api",
    input: JSON.stringify(input),
    metadata: JSON.stringify(metadata),
    end_user: endUserOf(metadata),
    idempotency_key: key,
    request_hash: key === null ? null : await fingerprintOf(meaning, body.webhook_secret ?? null, config),
    ...webhook,
  };
}
