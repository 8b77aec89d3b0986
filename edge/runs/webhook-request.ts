import type { RunId } from "../../shared/contracts/ids.ts";
import type { NewRun } from "../../shared/contracts/run.ts";
import { SECRET_FIELD } from "../../shared/contracts/webhook.ts";
import { isBadPort } from "../../shared/security/egress-policy.ts";
import { AppError } from "../../shared/errors.ts";
import { sealedPlace, seal } from "../../shared/security/seal.ts";
import type { Config } from "../env.ts";

type WebhookFields = { webhook_url?: string | null | undefined; webhook_secret?: string | null | undefined };

/**
 * The webhook of a request as it is stored with its run. The secret is sealed for this run alone.
 *
 * Only a literal address can be refused here: the worker that sends the delivery resolves host names, at each try.
 * @throws AppError `invalid`
 */
export async function webhookOf(
  { webhook_url, webhook_secret }: WebhookFields,
  run: RunId,
  { MASTER_KEY, EGRESS_ALLOW }: Config,
): Promise<Pick<NewRun, "webhook_url" | "webhook_secret">> {
  const secret = webhook_secret ?? null;
  if (webhook_url === undefined || webhook_url === null) {
    if (secret !== null) throw invalidField("webhook_secret", "is of no use without a webhook_url");
    return { webhook_url: null, webhook_secret: null };
  }
  const url = new URL(webhook_url);
  if (url.port === "0") throw invalidField("webhook_url", "has the port 0, on which no server listens");
  if (isBadPort(url.port))
    throw invalidField("webhook_url", `has the port ${url.port}, which is for another protocol`);
  if (EGRESS_ALLOW.refuses(url.hostname)) {
    throw invalidField("webhook_url", "is not a public address, and EGRESS_ALLOW does not name it");
  }
  if (secret === null) return { webhook_url: url.href, webhook_secret: null };
  if (!MASTER_KEY) {
    throw invalidField(
      "webhook_secret",
      "cannot be stored: this installation has no MASTER_KEY. Without a secret the webhook is sent unsigned",
    );
  }
  return {
    webhook_url: url.href,
    webhook_secret: await seal(MASTER_KEY, secret, sealedPlace(run, SECRET_FIELD)),
  };
}

function invalidField(path: string, message: string): AppError {
  return new AppError("invalid", `${path} ${message}.`, { fields: [{ path, message }] });
}
