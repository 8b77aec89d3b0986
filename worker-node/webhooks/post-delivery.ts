import { SECRET_FIELD } from "../../shared/contracts/webhook.ts";
import { SealError, placeOf, unseal } from "../../shared/seal.ts";
import type { MasterKey } from "../../shared/seal.ts";
import type { DueDelivery } from "../../shared/store/webhooks/claim-deliveries.ts";
import type { Egress } from "../outbound/egress-guard.ts";
import { send } from "../outbound/request.ts";
import { bodyOf } from "./delivery-body.ts";
import { headersOf } from "./delivery-headers.ts";
import { REQUEST_LIMIT_MS, judgeAnswer, judgeFailure } from "./verdict.ts";
import type { Verdict } from "./verdict.ts";

/** How requests get out. `masterKey`: null where there is none; what has a secret is not sent then. */
export type Outside = { egress: Egress; masterKey: MasterKey | null };

/** Sends a delivery once, with the event lines of its entry. @throws the reason of `signal` when it is aborted; whatever else happens is a verdict */
export async function post(
  delivery: DueDelivery,
  events: string | null,
  { egress, masterKey }: Outside,
  signal: AbortSignal,
): Promise<Verdict> {
  const { delivery_id, failures } = delivery;
  try {
    const secret = await secretOf(delivery, masterKey);
    const body = bodyOf(delivery, events);
    const answer = await send(
      {
        url: new URL(delivery.url),
        method: "POST",
        headers: headersOf(delivery_id, body, secret, new Date()),
        body,
        timeoutMs: REQUEST_LIMIT_MS,
        timeoutCode: "webhook_timeout",
        answerBytes: "ignored",
        signal,
      },
      egress,
    );
    return judgeAnswer(answer, failures, Math.random);
  } catch (error) {
    signal.throwIfAborted();
    return judgeFailure(error, failures, Math.random);
  }
}

/** What is to be signed is never sent unsigned: it waits for a worker that can, as long as it lives. */
async function secretOf(
  { run_id, secret }: DueDelivery,
  masterKey: MasterKey | null,
): Promise<string | null> {
  if (secret === null) return null;
  if (!masterKey)
    throw new SealError("webhook_unsigned: this worker has no MASTER_KEY to open the secret with");
  return unseal(masterKey, secret, placeOf(run_id, SECRET_FIELD));
}
