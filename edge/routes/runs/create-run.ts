import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { z } from "zod";
import { digestOf } from "../../../shared/bytes.ts";
import { DefinitionId, TenantId, newRunId, plainName } from "../../../shared/contracts/ids.ts";
import { JsonRecord } from "../../../shared/contracts/json.ts";
import type { NewRun, RunInput, SubmitResult } from "../../../shared/contracts/run.ts";
import { MAX_WAITING_BYTES } from "../../../shared/contracts/run.ts";
import { WebhookSecret, WebhookUrl } from "../../../shared/contracts/webhook.ts";
import { AppError } from "../../../shared/errors.ts";
import type { Config } from "../../env.ts";
import { json, problems } from "../../http/api.ts";
import type { Api, ApiEnv } from "../../http/api.ts";
import { sign } from "../../http/hmac.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs, tenantOf } from "../../http/middleware/principal.ts";
import { invalidFields, refusedError } from "../../http/problem.ts";
import { MAX_WAIT_SECONDS } from "../../http/prefer.ts";
import { Attachments, attach } from "../../uploads/attach.ts";
import { RunResult } from "../../runs/run-result.ts";
import { RunAccepted, acceptedOf } from "../../runs/run-view.ts";
import { waitForEnd } from "../../runs/wait-for-end.ts";
import { webhookOf } from "../../runs/webhook-request.ts";
import type { Services } from "../../services.ts";

/** Fields of the API that are not built yet: they are refused, never accepted and ignored. */
const NOT_YET = ["delay_seconds", "run_at", "singleton_key"] as const;

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
    /** Uploads. State has a reference to each, in this order, as `attachments`. */
    attachments: Attachments.nullish(),
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
    const run = await toRun(request, tenant, c.get("services"));
    const submitted = () => submitUntilRoom(submit, run);
    const result = await (principal.tenant === null ? whileHeld(c, tenant, submitted) : submitted());
    if (result.is === "refused") throw refusedError(result);
    if (result.replayed) c.header("Idempotent-Replayed", "true");
    return c.json(acceptedOf(result.run_id), 202);
  });
}

/** The pauses after which a refused request with a key is submitted again. A commit takes some 10 ms. */
const FULL_PAUSES_MS = [100, 300];

/**
 * Submits a run, and again when the queue is full. Another edge may be serving the same request at this moment: it has
 * reserved the last place and not committed the run yet, so a 429 would be wrong a moment later. The pause is here and not
 * in the batch, where other requests would wait for it.
 */
async function submitUntilRoom(submit: Services["submit"], run: NewRun): Promise<SubmitResult> {
  let result = await submit(run);
  for (const pauseMs of run.idempotency_key === null ? [] : FULL_PAUSES_MS) {
    if (result.is !== "refused" || result.code !== "queue_full") break;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    result = await submit(run);
  }
  return result;
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

/** Whether a value of a field that is not built yet asks for what happens without it. */
function asksForNothing(value: unknown): boolean {
  return value === undefined || value === null || value === "" || value === 0 || isEmptyList(value);
}

const isEmptyList = (value: unknown): boolean => Array.isArray(value) && value.length === 0;

function refuseUnbuilt(body: RunRequest): void {
  const unbuilt = NOT_YET.filter((field) => !asksForNothing(body[field]));
  if (unbuilt.length === 0) return;
  throw new AppError("not_yet", `Not available yet: ${unbuilt.join(", ")}.`, {
    fields: unbuilt.map((path) => ({ path, message: "is not available yet" })),
  });
}

async function toRun(
  { id, key, body }: ParsedRequest,
  tenant: TenantId,
  { config, sql }: Pick<Services, "config" | "sql">,
): Promise<NewRun> {
  // The millisecond in the id is from the edge's clock. It is the base of the run's event ids; no time is compared with it.
  const run = newRunId(Date.now());
  const input: RunInput = {
    message: body.message,
    state: { ...body.state, ...(await attach(sql, tenant, run, body)) },
  };
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
    idempotency_key: key,
    request_hash: key === null ? null : await fingerprintOf(meaning, body.webhook_secret ?? null, config),
    ...webhook,
  };
}

/**
 * The fingerprint of the run that a request describes, not of its text: the order of keys, defaults that are written out and
 * ignored fields do not change it. It has an HMAC in place of the secret: without MASTER_KEY, guesses of the secret cannot
 * be tested with it.
 */
async function fingerprintOf(
  meaning: object,
  secret: string | null,
  { MASTER_KEY }: Config,
): Promise<string> {
  const sealed = MASTER_KEY && secret !== null ? await sign(MASTER_KEY, secret) : secret;
  return digestOf("SHA-256", JSON.stringify({ ...meaning, secret: sealed }, sortedKeys));
}

/** For JSON.stringify: writes the fields of every object in one order. */
function sortedKeys(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** Bodies of all tenants that are held at once. Only large ones are refused for it: small ones are not what fills an isolate. */
const MAX_HELD_BYTES = 64 * 1024 * 1024;
const LARGE_BYTES = 64 * 1024;

/** The bytes of the bodies that this isolate holds while their runs are accepted, by tenant. */
const held = new Map<TenantId, number>();

/**
 * Counts a request's body as held for the tenant of its key, before the body is read. A platform key names the tenant in
 * its body: the handler counts that one with `whileHeld`.
 */
const holdBody = createMiddleware<ApiEnv>(async (c, next) => {
  const { tenant } = c.get("principal");
  return tenant === null ? next() : whileHeld(c, tenant, next);
});

/**
 * Counts a request's body as held for a tenant while `accept` runs.
 * @throws AppError `rate_limited` when the tenant's requests hold 16 MiB, `capacity` when those of all tenants hold 64 MiB
 */
export async function whileHeld<Result>(
  c: Context<ApiEnv>,
  tenant: TenantId,
  accept: () => Promise<Result>,
): Promise<Result> {
  // A body without a length has been read already, to count it.
  const bytes = Number(c.req.header("content-length") ?? (await c.req.text()).length);
  const before = held.get(tenant) ?? 0;
  if (before > 0 && before + bytes > MAX_WAITING_BYTES) {
    throw new AppError(
      "rate_limited",
      `The requests of tenant ${tenant} that are being accepted hold 16 MiB; try again in a moment.`,
      { retryAfterSeconds: 1 },
    );
  }
  if (bytes > LARGE_BYTES && allHeld() + bytes > MAX_HELD_BYTES) {
    const detail = "The requests that are being accepted hold 64 MiB; try again in a moment.";
    throw new AppError("capacity", detail, { retryAfterSeconds: 1 });
  }
  held.set(tenant, before + bytes);
  try {
    return await accept();
  } finally {
    const after = (held.get(tenant) ?? 0) - bytes;
    if (after > 0) held.set(tenant, after);
    else held.delete(tenant);
  }
}

function allHeld(): number {
  return Array.from(held.values()).reduce((sum, bytes) => sum + bytes, 0);
}
