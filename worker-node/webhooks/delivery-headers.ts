import { createHmac } from "node:crypto";
import { Webhook } from "standardwebhooks";

/**
 * The headers of a webhook's request: the id and the time of Standard Webhooks (standardwebhooks.com), and with a
 * secret its signature and our own, `X-Synapse-Signature: sha256=<hex HMAC-SHA256(secret, body)>`. For both the secret
 * is used as it is, as UTF-8.
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
  // As bytes: of a string the library would take the lower half of each character.
  const standard = new Webhook(new TextEncoder().encode(secret), { format: "raw" });
  return {
    ...headers,
    "webhook-signature": standard.sign(id, now, body),
    "x-synapse-signature": `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`,
  };
}
