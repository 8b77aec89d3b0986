import { masterKeysOf } from "../../shared/security/master-keys.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { NewRun } from "../../shared/contracts/run.ts";
import { SECRET_FIELD } from "../../shared/contracts/webhook.ts";
import { invalidField } from "../../shared/errors.ts";
import { sealedPlace, seal } from "../../shared/security/seal.ts";
import type { Config } from "../env.ts";
import { outboundUrl } from "../http/outbound-url.ts";

type WebhookFields = { webhook_url?: string | null | undefined; webhook_secret?: string | null | undefined };

/**
 * The webhook of a request as it is stored with its run. The secret is sealed for this run alone.
 * @throws AppError `invalid`
 */
export async function webhookOf(
  { webhook_url, webhook_secret }: WebhookFields,
  run: RunId,
  config: Config,
): Promise<Pick<NewRun, "webhook_url" | "webhook_secret">> {
  const secret = webhook_secret ?? null;
  if (webhook_url === undefined || webhook_url === null) {
    if (secret !== null) throw invalidField("webhook_secret", "is of no use without a webhook_url");
    return { webhook_url: null, webhook_secret: null };
  }
  const url = outboundUrl(webhook_url, "webhook_url", config);
  if (secret === null) return { webhook_url: url, webhook_secret: null };
  const keys = masterKeysOf(config);
  if (!keys) {
    throw invalidField(
      "webhook_secret",
      "cannot be stored: this installation has no MASTER_KEY. Without a secret the webhook is sent unsigned",
    );
  }
  return {
    webhook_url: url,
    webhook_secret: await seal(keys, secret, sealedPlace(run, SECRET_FIELD)),
  };
}
