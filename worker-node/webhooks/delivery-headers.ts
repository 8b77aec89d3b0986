import { createHmac } from "node:crypto";
import { Webhook } from "standardwebhooks";

/**
 * The headers of a webhook request: the id and the time of Standard Webhooks (standardwebhooks.com). With a secret they
 * also hold the signature of Standard Webhooks and `X-Synapse-Signature: sha256=<hex HMAC-SHA256(secret, body)>`. The
 * key of both is the UTF-8 text of the secret.
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
  // The secret is passed as bytes: of a string the library would use only the low byte of each character.
  const standard = new Webhook(new TextEncoder().encode(secret), { format: "raw" });
  return {
    ...headers,
    "webhook-signature": standard.sign(id, now, body),
    "x-synapse-signature": `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`,
  };
}
