import { masterKeysOf } from "../../shared/security/master-keys.ts";
import { z } from "zod";
import { DefinitionId, TenantId, plainName, plainText, randomHex } from "../../shared/contracts/ids.ts";
import { JsonRecord } from "../../shared/contracts/json.ts";
import { RunTemplate } from "../../shared/contracts/schedule.ts";
import { WebhookSecret } from "../../shared/contracts/webhook.ts";
import { AppError, invalidField } from "../../shared/errors.ts";
import { seal } from "../../shared/security/seal.ts";
import { readOrchestration } from "../../shared/store/definitions/orchestrations.ts";
import { TriggerId, readTrigger, triggerPlace } from "../../shared/store/triggers/trigger-rows.ts";
import type { SavedTrigger, Trigger } from "../../shared/store/triggers/trigger-rows.ts";
import type { Sql } from "../../shared/store/sql.ts";
import type { Config } from "../env.ts";
import { isoTime } from "../../shared/text/iso-time.ts";
import { TemplateFields, templateOf } from "../schedules/run-template.ts";

export const TriggerRequest = z
  .object({
    tenant_id: TenantId.nullish(),
    orchestration_id: DefinitionId,
    name: plainText(200).default(""),
    // A short secret can be guessed, and the secret is all that it takes to start runs.
    secret: WebhookSecret.min(8).nullish().meta({
      description: "Signs the requests. Absent: a new trigger gets one, an existing one keeps its own",
    }),
    message_path: plainName(500)
      .refine(
        (path) => !/^\$\.|^\.|\.\.|\.$|\[[^\]]*\]/.test(path),
        "must be names with dots between them, such as head_commit.message or items.0.text",
      )
      .nullish()
      .meta({
        description: "Where in the body the run's message is, as `head_commit.message`; absent: `message`",
      }),
    disabled: z.boolean().default(false),
    ...TemplateFields,
  })
  .meta({ id: "TriggerRequest" });
type TriggerRequest = z.infer<typeof TriggerRequest>;

export const TriggerView = z
  .object({
    id: TriggerId,
    tenant_id: z.string(),
    orchestration_id: z.string(),
    name: z.string(),
    /** The path that takes the signed requests. */
    url: z.string(),
    message_path: z.string().nullable(),
    disabled: z.boolean(),
    message: z.string(),
    state: JsonRecord,
    metadata: JsonRecord,
    priority: z.number().int(),
    session_id: z.string().nullable(),
    webhook_url: z.string().nullable(),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: "Trigger" });

/** The response to the creation of a trigger: the only one that shows its secret. */
export const TriggerCreated = z
  .object({ ...TriggerView.shape, secret: z.string() })
  .meta({ id: "TriggerCreated" });

export function viewOfTrigger(trigger: Trigger): z.infer<typeof TriggerView> {
  const { trigger_id, request, secret: _secret, created_at_ms, updated_at_ms, ...shown } = trigger;
  return {
    id: trigger_id,
    ...shown,
    url: `/api/v2/triggers/${trigger_id}/fire`,
    ...RunTemplate.parse(JSON.parse(request)),
    created_at: isoTime(created_at_ms),
    updated_at: isoTime(updated_at_ms),
  };
}

export function newTriggerId(): TriggerId {
  return TriggerId.parse(`trg_${randomHex(16)}`);
}

/** A new secret of 32 random bytes, as Standard Webhooks write it. */
export function newSecret(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return `whsec_${btoa(String.fromCharCode(...bytes))}`;
}

/**
 * The trigger that a request describes, as it is stored, without its secret.
 * @throws AppError `not_found` for an unknown orchestration, `invalid`
 */
export async function triggerOf(
  { sql, config }: { sql: Sql; config: Config },
  { trigger_id, tenant_id }: Pick<SavedTrigger, "trigger_id" | "tenant_id">,
  body: TriggerRequest,
): Promise<SavedTrigger> {
  const {
    orchestration_id,
    name,
    message_path,
    disabled,
    secret: _secret,
    tenant_id: _named,
    ...fields
  } = body;
  if ((await readOrchestration(sql, tenant_id, orchestration_id)) === null) {
    throw new AppError("not_found", `There is no orchestration ${orchestration_id}.`);
  }
  if (fields.state && Object.hasOwn(fields.state, "trigger"))
    throw invalidField("state.trigger", "is where each run has the body of its request: use another key");
  const request = JSON.stringify(await templateOf(fields, config));
  const path = message_path ?? null;
  return {
    trigger_id,
    tenant_id,
    orchestration_id,
    name,
    request,
    message_path: path,
    disabled,
  };
}

/** The secret of a trigger as it is stored. @throws AppError `invalid` where there is no MASTER_KEY */
export function sealTriggerSecret(trigger: TriggerId, secret: string, config: Config): Promise<string> {
  const keys = masterKeysOf(config);
  if (keys) return seal(keys, secret, triggerPlace(trigger));
  const message = "cannot be stored: this installation has no MASTER_KEY";
  throw new AppError("invalid", `Not valid: secret ${message}.`, { fields: [{ path: "secret", message }] });
}

/** The trigger that a path names. @param tenant null: of any tenant @throws AppError `not_found` */
export async function findTrigger(sql: Sql, tenant: TenantId | null, id: string): Promise<Trigger> {
  const known = TriggerId.safeParse(id);
  const trigger = known.success ? await readTrigger(sql, tenant, known.data) : null;
  if (!trigger) throw noTrigger(tenant);
  return trigger;
}

/** @param tenant the tenant in which the trigger was looked for; null: the request names no tenant */
export function noTrigger(tenant: TenantId | null): AppError {
  const detail = tenant === null ? "There is no such trigger." : `The tenant ${tenant} has no such trigger.`;
  return new AppError("not_found", detail);
}
