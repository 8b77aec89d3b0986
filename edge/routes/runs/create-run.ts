import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import { z } from "zod";
import { DefinitionId, plainName } from "../../../shared/contracts/ids.ts";
import { json, malformedId, problems } from "../../http/api.ts";
import type { Api, ApiEnv } from "../../http/api.ts";
import { limitBodyMemory, withinBodyMemory } from "../../http/body-memory.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs, tenantOf } from "../../http/middleware/principal.ts";
import { schemaError, refusedError } from "../../http/problem.ts";
import { MAX_WAIT_SECONDS } from "../../http/prefer.ts";
import { cancelSuperseded } from "../../runs/cancel-superseded.ts";
import { RunRequest, checkRequest, toRun } from "../../runs/run-request.ts";
import type { ParsedRequest } from "../../runs/run-request.ts";
import { HeldResult, requireWorker } from "../../runs/hold-until-end.ts";
import { RunResult } from "../../runs/run-result.ts";
import { RunAccepted, acceptedOf } from "../../runs/run-view.ts";
import { submitUntilRoom } from "../../runs/submit-until-room.ts";
import { waitForEnd } from "../../runs/wait-for-end.ts";

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
    `with 200 and its result, or after N seconds (at most ${MAX_WAIT_SECONDS}, which ends after 59) with the 202; \`Preference-Applied\` has the ` +
    "preferences that were honoured. A request that waits takes a seat of the run's viewers; without a free seat the 202 " +
    "comes at once, without that header. With scale mode off (`PATCH /scale/config`) the answer is always the 200, however " +
    "long the run takes: white space comes every 15 s before the JSON, which then has the `events` too, and the key needs `runs:read`.",
  security: [{ key: ["runs:write"] }],
  request: {
    params: Params,
    headers: Headers.extend({
      prefer: z.string().optional().meta({ description: "`wait=N`, `handling=lenient`, or both" }),
    }),
    body: { required: true, content: { "application/json": { schema: RunRequest } } },
  },
  responses: {
    200: json(z.union([RunResult, HeldResult]), "The run has ended while the request waited"),
    202: json(RunAccepted, "Accepted"),
    ...problems(400, 404, 409, 413, 415, 429),
  },
});

/**
 * Adds the route. It is documented like every route, but parses its request itself: the validators of `api.openapi` cost 50 us, and
 * this is the busiest route.
 */
export function createRun(api: Api): void {
  api.openAPIRegistry.registerPath(route);
  const checks = [
    needs("runs:write"),
    waitForEnd,
    limitBodyMemory,
    jsonBody({ schema: RunRequest }),
  ] as const;
  api.post(route.getRoutingPath(), ...checks, async (c) => {
    const request = await readRequest(c);
    checkRequest(request.body);
    const { config, submit } = c.get("services");
    const principal = c.get("principal");
    const named = request.body.tenant_id ?? undefined;
    const tenant = tenantOf(principal, named, config.DEFAULT_TENANT_ID);
    const run = await toRun(request, tenant, c.get("services"));
    await requireWorker(c.get("services"), run.lane);
    const acceptRun = () => submitUntilRoom(submit, run);
    const result = await (principal.tenant === null ? withinBodyMemory(c, tenant, acceptRun) : acceptRun());
    if (result.is === "refused") throw refusedError(result);
    if (result.quota) c.set("quota", result.quota);
    if (result.replayed) c.header("Idempotent-Replayed", "true");
    else if (!result.skipped) cancelSuperseded(c.get("services"), run);
    return c.json(acceptedOf(result.run_id, result.skipped), 202);
  });
}

/** The request, parsed. @throws AppError `not_found` for an id that no orchestration can have; `malformed_json`; `invalid` */
async function readRequest(c: Context<ApiEnv>): Promise<ParsedRequest> {
  const params = Params.safeParse(c.req.param());
  if (!params.success) throw malformedId(params.error);
  const headers = Headers.safeParse({ "idempotency-key": c.req.header("idempotency-key") });
  if (!headers.success) throw schemaError(headers.error);
  const body = RunRequest.safeParse(await c.req.json());
  if (!body.success) throw schemaError(body.error);
  return { id: params.data.id, key: headers.data["idempotency-key"] ?? null, body: body.data };
}
