import { z } from "zod";
import { newRunId, plainName } from "../../shared/contracts/ids.ts";
import { JsonRecord } from "../../shared/contracts/json.ts";
import type { RunTemplate } from "../../shared/contracts/schedule.ts";
import { WebhookUrl } from "../../shared/contracts/webhook.ts";
import type { Config } from "../env.ts";
import { invalidFields } from "../http/problem.ts";
import { RunRequest, checkRequest } from "../runs/run-request.ts";
import { webhookOf } from "../runs/webhook-request.ts";

/** The most bytes of a template: they are copied into every run of the schedule or trigger. */
const MAX_TEMPLATE_BYTES = 64 * 1024;

/** The fields of a schedule or a trigger with which its runs start. The webhooks of these runs are sent unsigned. */
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
 * The template of the runs of a schedule or trigger, as it is stored.
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
  const tooLarge = `has more than ${MAX_TEMPLATE_BYTES / 1024} KiB together with message and metadata`;
  throw invalidFields([{ path: "state", message: tooLarge }]);
}
