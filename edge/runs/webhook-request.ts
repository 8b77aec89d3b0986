import { masterKeysOf } from "../../shared/security/master-keys.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { NewRun } from "../../shared/contracts/run.ts";
import { SECRET_FIELD } from "../../shared/contracts/webhook.ts";
import { isBadPort } from "../../shared/security/egress-policy.ts";
import { invalidField } from "../../shared/errors.ts";
import { sealedPlace, seal } from "../../shared/security/seal.ts";
import type { Config } from "../env.ts";

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
  const url = receiverUrl(webhook_url, "webhook_url", config);
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

/**
 * The URL of a receiver, in the form in which it is requested.
 *
 * Only a literal address can be refused here: the worker that sends the delivery resolves host names, at each try.
 * @param field the name of the request's field
 * @throws AppError `invalid`
 */
export function receiverUrl(text: string, field: string, { EGRESS_ALLOW }: Config): string {
  const url = new URL(text);
  if (url.port === "0") throw invalidField(field, "has the port 0, on which no server listens");
  if (isBadPort(url.port))
    throw invalidField(field, `has the port ${url.port}, which is for another protocol`);
  if (EGRESS_ALLOW.refuses(url.hostname)) {
    throw invalidField(field, "is not a public address, and EGRESS_ALLOW does not name it");
  }
  return url.href;
}
