import { masterKeysOf } from "../../../shared/security/master-keys.ts";
import { endUserOf } from "../../../shared/contracts/budget.ts";
import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { digestOfBytes } from "../../../shared/text/bytes.ts";
import { newRunId } from "../../../shared/contracts/ids.ts";
import { JsonValue } from "../../../shared/contracts/json.ts";
import type { NewRun } from "../../../shared/contracts/run.ts";
import { RunTemplate } from "../../../shared/contracts/schedule.ts";
import { AppError } from "../../../shared/errors.ts";
import { unseal } from "../../../shared/security/seal.ts";
import { forgetOlderKey, triggerPlace } from "../../../shared/store/triggers/trigger-rows.ts";
import type { Trigger } from "../../../shared/store/triggers/trigger-rows.ts";
import { json, problemsAlone } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { schemaError, refusedError } from "../../http/problem.ts";
import { readBody } from "../../http/read-body.ts";
import { idempotencyKeyOf } from "../../runs/idempotency-key.ts";
import { RunAccepted, acceptedOf } from "../../runs/run-view.ts";
import { verifySignedRequest } from "../../triggers/trigger-signature.ts";
import type { SignedRequest } from "../../triggers/trigger-signature.ts";
import { findTrigger } from "../../triggers/trigger-view.ts";

/** A second request with the same body within this time starts no second run, where the sender signs neither an id nor a time. */
const REPLAY_SECONDS = 600;

const route = createRoute({
  method: "post",
  path: "/api/v2/triggers/{id}/fire",
  operationId: "fireTrigger",
  tags: ["Schedules"],
  summary: "Start a run by a signed request",
  description:
    "No API key: the body is signed with the trigger's secret, as GitHub does it (`X-Hub-Signature-256`, or `X-Hub-Signature: sha256=…` as Bitbucket names it) or by Standard " +
    "Webhooks (`webhook-…`, or `svix-…` as senders that use Svix name the headers). The body, or the JSON in the field `payload` of a form, as GitHub sends it by default, becomes `state.trigger`, with integers beyond 2^53 as texts of their digits. A request that comes again starts no second run and is answered with " +
    "`Idempotent-Replayed: true`: by its `webhook-id` for 24 hours, else by its body for 10 minutes.",
  security: [],
  request: {
    params: z.object({ id: z.string() }),
    body: {
      required: true,
      content: {
        "application/json": { schema: JsonValue },
        "application/x-www-form-urlencoded": { schema: z.object({ payload: z.string() }) },
      },
    },
  },
  responses: {
    202: json(RunAccepted, "Accepted"),
    ...problemsAlone(400, 401, 404, 409, 413, 415, 422, 429, 500, 503),
  },
});

/** Adds the route. It is documented like every route, but parses its body itself, after the check of the signature. */
export function fireTrigger(api: Api): void {
  api.openAPIRegistry.registerPath(route);
  api.post(route.getRoutingPath(), async (c) => {
    const services = c.get("services");
    const { sql, config } = services;
    const trigger = await findTrigger(sql, null, c.req.param("id") ?? "");
    services.takeTurnsOf(trigger.tenant_id);
    const keys = masterKeysOf(config);
    if (!keys) throw new AppError("internal", "This installation has no MASTER_KEY.");
    const secret = await unseal(keys, trigger.secret, triggerPlace(trigger.trigger_id));
    const bytes = new Uint8Array(await readBody(c, true));
    const signed = await verifySignedRequest(c.req.raw.headers, bytes, secret);
    if (trigger.disabled) throw new AppError("conflict", "This trigger is disabled.");
    let body: unknown = null;
    await jsonBody({ isForeign: true })(c, async () => {
      body = await c.req.json();
    });
    const read = JsonValue.safeParse(body);
    if (!read.success) throw schemaError(read.error);
    const run = await runOf(trigger, signed, bytes, body);
    if (!signed.isIdSigned && run.idempotency_key !== null)
      await forgetOlderKey(sql, trigger.tenant_id, run.idempotency_key, REPLAY_SECONDS);
    const result = await services.submit(run);
    if (result.is === "refused") throw refusedError(result);
    if (result.quota) c.set("quota", result.quota);
    if (result.replayed) c.header("Idempotent-Replayed", "true");
    return c.json(acceptedOf(result.run_id), 202);
  });
}

async function runOf(
  trigger: Trigger,
  signed: SignedRequest,
  bytes: Uint8Array<ArrayBuffer>,
  body: unknown,
): Promise<NewRun> {
  const { tenant_id, orchestration_id, request, message_path } = trigger;
  const run_id = newRunId(Date.now());
  const template = RunTemplate.parse(JSON.parse(request));
  const message = message_path === null ? template.message : messageAt(body, message_path);
  return {
    run_id,
    tenant_id,
    orchestration_id,
    lane: "default",
    priority: template.priority,
    correlation_id: run_id,
    session_id: template.session_id,
    triggered_by: "webhook",
    input: JSON.stringify({ message, state: { ...template.state, trigger: body } }),
    metadata: JSON.stringify(template.metadata),
    end_user: endUserOf(template.metadata),
    delay_ms: 0,
    idempotency_key: idempotencyKeyOf("trigger", trigger.trigger_id, signed.id),
    request_hash: await digestOfBytes("SHA-256", bytes),
    webhook_url: template.webhook_url,
    webhook_secret: null,
  };
}

/** The text at a path of the body, null as the empty text that it is in templates; of any other value its JSON. @throws AppError `invalid` when nothing is there */
function messageAt(body: unknown, path: string): string {
  let value = body;
  for (const part of path.split(".")) {
    const isRecord = typeof value === "object" && value !== null && Object.hasOwn(value, part);
    value = isRecord ? Reflect.get(Object(value), part) : undefined;
  }
  if (typeof value === "string") return value;
  if (value === null) return "";
  if (value !== undefined) return JSON.stringify(value);
  const message = "is not in the body, and the trigger takes the run's message from it";
  throw new AppError("invalid", `Not valid: ${path} ${message}.`, { fields: [{ path, message }] });
}
