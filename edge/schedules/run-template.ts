import { z } from "zod";
import { newRunId, plainName } from "../../shared/contracts/ids.ts";
import { JsonRecord } from "../../shared/contracts/json.ts";
import type { RunTemplate } from "../../shared/contracts/schedule.ts";
import { WebhookUrl } from "../../shared/contracts/webhook.ts";
import { AppError } from "../../shared/errors.ts";
import type { Config } from "../env.ts";
import { RunRequest, checkRequest } from "../runs/run-request.ts";
import { webhookOf } from "../runs/webhook-request.ts";

/** The most bytes of what each run of a schedule or a trigger starts with: it is copied into every run. */
const MAX_TEMPLATE_BYTES = 64 * 1024;

/** The fields of a schedule or a trigger that its runs start with. Their webhooks are sent unsigned. */
export const TemplateFields = {
  message: z.string().nullish(),
  state: JsonRecord.nullish(),
  metadata: JsonRecord.nullish(),
  priority: z.number().int().min(0).max(10).nullish(),
  session_id: plainName(200).nullish(),
  webhook_url: WebhookUrl.nullish(),
};
type Fields = z.infer<z.ZodObject<typeof TemplateFields>>;

/**
 * What the runs start with, as it is stored.
 * @throws AppError `invalid` as for a run with these fields, or when they are too large
 */
export async function templateOf(fields: Fields, config: Config): Promise<RunTemplate> {
  const { message, state, metadata, priority, session_id, webhook_url } = fields;
  checkRequest(RunRequest.parse({ message: message ?? "", state }));
  const template: RunTemplate = {
    message: message ?? "",
    state: state ?? {},
    metadata: metadata ?? {},
    priority: priority ?? 0,
    session_id: session_id ?? null,
    webhook_url: (await webhookOf({ webhook_url }, newRunId(Date.now()), config)).webhook_url,
  };
  if (JSON.stringify(template).length <= MAX_TEMPLATE_BYTES) return template;
  const sentence = `has more than ${MAX_TEMPLATE_BYTES / 1024} KiB together with message and metadata`;
  throw new AppError("invalid", "Not valid: state.", { fields: [{ path: "state", message: sentence }] });
}
