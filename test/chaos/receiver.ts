/** A receiver of webhooks. It records its requests, and sometimes refuses, responds late, or hangs up without a response. */
import { createHmac } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Webhook } from "standardwebhooks";
import { serveCounted } from "./counted-server.ts";
import type { Counted } from "./counted-server.ts";
import type { Random } from "./random.ts";

/** One request under the id of a delivery. `signed`: both of its signatures are good. */
export type WebhookRequest = { id: string; body: string; signed: boolean };

export type Receiver = Counted & { secret: string; requests: WebhookRequest[] };

export async function startReceiver(random: Random): Promise<Receiver> {
  const secret = "the secret of the receiver";
  const webhook = new Webhook(new TextEncoder().encode(secret), { format: "raw" });
  const requests: WebhookRequest[] = [];
  const isSigned = (body: string, headers: Record<string, string>): boolean => {
    try {
      webhook.verify(body, headers);
      const expected = createHmac("sha256", secret).update(body).digest("hex");
      return headers["x-synapse-signature"] === `sha256=${expected}`;
    } catch {
      return false;
    }
  };
  const server = await serveCounted(async ({ key, calm, headers }, body, response) => {
    const flat = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
    requests.push({ id: key, body, signed: isSigned(body, flat) });
    if (!calm && random.chance(0.12)) {
      response.writeHead(503).end();
      return "refused";
    }
    if (!calm && random.chance(0.04)) {
      await sleep(2_000);
      response.destroy();
      return "cut";
    }
    await sleep(calm ? 2 : random.between(2, 150));
    response.writeHead(204).end();
    return "answered";
  }, "webhook-id");
  return { ...server, secret, requests };
}
