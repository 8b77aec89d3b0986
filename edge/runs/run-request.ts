import { endUserOf } from "../../shared/contracts/budget.ts";
import { z } from "zod";
import { TenantId, newRunId, plainName, plainText } from "../../shared/contracts/ids.ts";
import { JsonRecord } from "../../shared/contracts/json.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { RunLane, SingletonPolicy } from "../../shared/contracts/run.ts";
import { ClientTime } from "../../shared/contracts/time.ts";
import type { NewRun, RunInput } from "../../shared/contracts/run.ts";
import { clientSingleton } from "../../shared/contracts/singleton-key.ts";
import { WebhookSecret, WebhookUrl } from "../../shared/contracts/webhook.ts";
import { AppError } from "../../shared/errors.ts";
import type { FieldError } from "../../shared/errors.ts";
import type { Services } from "../services.ts";
import { Attachments, attach } from "../uploads/attach.ts";
import { fingerprintOf } from "./request-fingerprint.ts";
import { webhookOf } from "./webhook-request.ts";

/** The latest start of a run that is accepted now. */
const MAX_DELAY_DAYS = 366;

/** The request of a run, without what the path and the headers say. */
export const RunRequest = z
  .looseObject({
    message: z.string().default(""),
    tenant_id: TenantId.nullish(),
    session_id: plainName(200).nullish(),
    priority: z.number().int().min(0).max(10).nullish(),
    lane: RunLane.nullish().meta({
      description:
        "`interactive` for a run that a person waits for, `bulk` for one that may take long; default: `default`, and `bulk` in " +
        "a batch. Runs of different lanes do not wait for each other; `GET /scale/queue` has their settings",
    }),
    metadata: JsonRecord.nullish(),
    state: JsonRecord.nullish(),
    correlation_id: plainName(200).nullish(),
    webhook_url: WebhookUrl.nullish(),
    webhook_secret: WebhookSecret.nullish(),
    attachments: Attachments.nullish().meta({
      description: "Uploads. State has a reference to each, in this order, as `attachments`",
    }),
    delay_seconds: z
      .number()
      .min(0)
      .max(MAX_DELAY_DAYS * 86_400)
      .nullish()
      .meta({
        description: "The run starts this long after it was accepted, and counts as queued until then",
      }),
    run_at: ClientTime.nullish().meta({
      description: "The run starts at this time; a time that has passed means at once",
    }),
    singleton_key: plainText(200)
      .nullish()
      .meta({ description: "Of the tenant's runs with the same key at most one is started at a time" }),
    singleton_policy: SingletonPolicy.nullish().meta({
      description:
        "When another run has the key: `skip` (default) starts none and answers with that run and `skipped: true`, `queue` " +
        "starts this run when that one has ended, `cancel_previous` does so too and cancels the runs before it",
    }),
  })
  .meta({ id: "RunRequest" });
export type RunRequest = z.infer<typeof RunRequest>;

/** A run that a client describes. `id`: the orchestration; `key`: the Idempotency-Key. */
export type ParsedRequest = { id: string; key: string | null; body: RunRequest };

/** Checks what the schema alone cannot refuse: fields that contradict each other, and a second message. @throws AppError `invalid` */
export function checkRequest(body: RunRequest): void {
  refuseOtherMessage(body);
  const fields = contradictionsOf(body);
  if (fields.length > 0) throw new AppError("invalid", `Not valid: ${fields[0]?.path}.`, { fields });
}

function contradictionsOf({
  delay_seconds,
  run_at,
  singleton_key,
  singleton_policy,
}: RunRequest): FieldError[] {
  const fields: FieldError[] = [];
  if (delay_seconds && run_at) {
    fields.push({ path: "run_at", message: "cannot be sent with delay_seconds: send one of them" });
  }
  if (run_at && Date.parse(run_at) - Date.now() > MAX_DELAY_DAYS * 86_400_000) {
    fields.push({ path: "run_at", message: `must be at most ${MAX_DELAY_DAYS} days from now` });
  }
  if (singleton_policy && !singleton_key) {
    fields.push({ path: "singleton_policy", message: "is of no use without a singleton_key" });
  }
  return fields;
}

/** The keys of state that hold the run's message. */
const MESSAGE_KEYS = ["user_input", "user_query"];

/** The state that a request brings, without the message: the run has it in any case, so it makes no other request. */
function withoutMessage(state: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(state).filter(([key]) => !MESSAGE_KEYS.includes(key)));
}

/** Refuses another value under the keys of state that hold the run's message: it would be lost. */
function refuseOtherMessage({ message, state }: RunRequest): void {
  const fields = MESSAGE_KEYS.filter(
    (key) => state && Object.hasOwn(state, key) && state[key] !== message,
  ).map((key) => ({ path: `state.${key}`, message: "is the run's message: send it as message" }));
  if (fields.length > 0) throw new AppError("invalid", `Not valid: ${fields[0]?.path}.`, { fields });
}

/** The origin of a run that no POST /orchestrations/{id}/run has started. */
export type RunOrigin = Partial<Pick<NewRun, "triggered_by" | "batch">>;

/**
 * The run that a request describes, as it is submitted.
 * @throws AppError `invalid` for a webhook that cannot be used, `not_found` for an attachment that does not exist
 */
export async function toRun(
  { id, key, body }: ParsedRequest,
  tenant: TenantId,
  services: Pick<Services, "config" | "sql">,
  origin: RunOrigin = {},
): Promise<NewRun> {
  const { config } = services;
  // The milliseconds in the id are from the edge's clock. They are the base of the run's event ids, and are compared with no other time.
  const run = newRunId(Date.now());
  const input: RunInput = {
    message: body.message,
    state: { ...withoutMessage(body.state ?? {}), ...(await attach(services, tenant, run, body)) },
  };
  const metadata = body.metadata ?? {};
  const routing = {
    tenant_id: tenant,
    orchestration_id: id,
    lane: body.lane ?? (origin.batch ? "bulk" : "default"),
    priority: body.priority ?? 0,
    session_id: body.session_id ?? null,
    delay_ms: Math.round((body.delay_seconds ?? 0) * 1_000),
    ...(body.run_at && { starts_at: new Date(body.run_at).toISOString() }),
    ...(body.singleton_key && {
      singleton: { key: clientSingleton(body.singleton_key), policy: body.singleton_policy ?? "skip" },
    }),
  };
  const webhook = await webhookOf(body, run, config);
  const meaning = {
    ...routing,
    input,
    metadata,
    correlation_id: body.correlation_id ?? undefined,
    url: webhook.webhook_url,
  };
  return {
    ...routing,
    run_id: run,
    correlation_id: body.correlation_id ?? run,
    triggered_by: "api",
    ...origin,
    input: JSON.stringify(input),
    metadata: JSON.stringify(metadata),
    end_user: endUserOf(metadata),
    idempotency_key: key,
    request_hash: key === null ? null : await fingerprintOf(meaning, body.webhook_secret ?? null, config),
    ...webhook,
  };
}
