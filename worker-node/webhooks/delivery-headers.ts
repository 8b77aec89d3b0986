import { createHmac } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { utf8 } from "../../shared/text/bytes.ts";
import { signingKey } from "../../shared/contracts/webhook.ts";

/**
 * The headers of a webhook request: the id and the time of Standard Webhooks (standardwebhooks.com). With a secret they
 * also hold the signature of Standard Webhooks and `X-Synapse-Signature: sha256=<hex HMAC-SHA256(secret, body)>`. The
 * key of the second is the UTF-8 text of the secret as the client sent it; that of the first is the same, or what a `whsec_…`
 * secret stands for.
 *
 * After a rotation there are two secrets. Standard Webhooks have a signature of each, separated by a space, so that a receiver
 * verifies with either. `X-Synapse-Signature` holds one: that of the previous secret, which receivers have had for longer.
 * @param secrets the current one, then the previous one while it signs too
 */
export function headersOf(
  id: string,
  body: string,
  secrets: readonly string[],
  now: Date,
): Record<string, string> {
  const headers = {
    "content-type": "application/json",
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(now.getTime() / 1_000)),
  };
  const oldest = secrets.at(-1);
  if (oldest === undefined) return headers;
  return {
    ...headers,
    "webhook-signature": secrets.map((secret) => standardWebhook(secret).sign(id, now, body)).join(" "),
    "x-synapse-signature": `sha256=${createHmac("sha256", oldest).update(body).digest("hex")}`,
  };
}

/**
 * The key is passed as bytes: from a string the library would take only the low byte of each character. What does not decode was
 * refused when the secret was stored; a secret of an earlier version signs as it did then.
 */
function standardWebhook(secret: string): Webhook {
  return new Webhook(signingKey(secret) ?? utf8(secret), { format: "raw" });
}
