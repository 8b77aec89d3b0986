import { SECRET_FIELD } from "../../shared/contracts/webhook.ts";
import { SealError, sealedPlace, unseal } from "../../shared/security/seal.ts";
import type { MasterKey } from "../../shared/security/seal.ts";
import type { DueDelivery } from "../../shared/store/webhooks/claim-deliveries.ts";
import { WEBHOOK_REQUEST_MS } from "../../shared/timing.ts";
import type { Egress } from "../outbound/egress-guard.ts";
import { send } from "../outbound/request.ts";
import { bodyOf } from "./delivery-body.ts";
import { headersOf } from "./delivery-headers.ts";
import { judgeFailure, judgeResponse } from "./try-verdict.ts";
import type { Verdict } from "./try-verdict.ts";

/** `masterKey` opens the secrets of webhooks. Null: this worker has none, and cannot send a delivery with a secret. */
export type WebhookDeps = { egress: Egress; masterKey: MasterKey | null };

/**
 * Sends a delivery once. Every failure is a verdict; only an abort of `signal` throws, with its reason.
 * @param events the event lines of the delivery's journal entry; null when they are too long, or the entry is deleted
 */
export async function postDelivery(
  delivery: DueDelivery,
  events: string | null,
  { egress, masterKey }: WebhookDeps,
  signal: AbortSignal,
): Promise<Verdict> {
  const { delivery_id, failures } = delivery;
  try {
    const secret = await secretOf(delivery, masterKey);
    const body = bodyOf(delivery, events);
    const response = await send(
      {
        url: new URL(delivery.url),
        method: "POST",
        headers: headersOf(delivery_id, body, secret, new Date()),
        body,
        timeoutMs: WEBHOOK_REQUEST_MS,
        timeoutCode: "webhook_timeout",
        maxResponseBytes: "ignored",
        signal,
      },
      egress,
    );
    return judgeResponse(response, failures, Math.random);
  } catch (error) {
    signal.throwIfAborted();
    return judgeFailure(error, failures, Math.random);
  }
}

/**
 * A delivery with a secret is never sent unsigned. A worker that cannot open the secret fails the try, and the delivery
 * is tried again until it expires.
 */
async function secretOf(
  { run_id, secret }: DueDelivery,
  masterKey: MasterKey | null,
): Promise<string | null> {
  if (secret === null) return null;
  if (!masterKey)
    throw new SealError("webhook_unsigned: this worker has no MASTER_KEY to open the secret with");
  return unseal(masterKey, secret, sealedPlace(run_id, SECRET_FIELD));
}
