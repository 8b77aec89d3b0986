import { createHmac } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { utf8 } from "../../shared/bytes.ts";
import { signingKey } from "../../shared/contracts/webhook.ts";

/**
 * The headers of a webhook request: the id and the time of Standard Webhooks (standardwebhooks.com). With a secret they
 * also hold the signature of Standard Webhooks and `X-Synapse-Signature: sha256=<hex HMAC-SHA256(secret, body)>`. The
 * key of the second is the UTF-8 text of the secret as it was given; that of the first is the same, or what a `whsec_…`
 * secret stands for.
 */
export function headersOf(
  id: string,
  body: string,
  secret: string | null,
  now: Date,
): Record<string, string> {
  const headers = {
    "content-type": "application/json",
    "user-agent": "synapse-edge",
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(now.getTime() / 1_000)),
  };
  if (secret === null) return headers;
  // As bytes: from a string the library would take only the low byte of each character. What does not decode was refused
  // when the run was started; a secret of an earlier version signs as it did then.
  const standard = new Webhook(signingKey(secret) ?? utf8(secret), { format: "raw" });
  return {
    ...headers,
    "webhook-signature": standard.sign(id, now, body),
    "x-synapse-signature": `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`,
  };
}
