import type { ReadRange } from "../../shared/archive/read-archive.ts";
import type { LaneSettingsOf } from "../../shared/contracts/lane-settings.ts";
import { SECRET_FIELD } from "../../shared/contracts/webhook.ts";
import { endpointPlace } from "../../shared/contracts/webhook-endpoint.ts";
import { SealError, sealedPlace, unseal } from "../../shared/security/seal.ts";
import type { MasterKeys } from "../../shared/security/master-keys.ts";
import type { DueDelivery } from "../../shared/store/webhooks/claim-deliveries.ts";
import { inSpan } from "../../shared/tracing/span.ts";
import type { Tracer } from "../../shared/tracing/span.ts";
import type { Egress } from "../outbound/egress-guard.ts";
import { send } from "../outbound/request.ts";
import { bodyOf } from "./delivery-body.ts";
import { headersOf } from "./delivery-headers.ts";
import { judgeFailure, judgeResponse, deliveryTimeoutMsOf } from "./try-verdict.ts";
import type { Verdict } from "./try-verdict.ts";

/**
 * `masterKey` opens the secrets of webhooks. Null: this worker has none, and cannot send a delivery with a secret. `readArchive` reads
 * archived journals.
 */
export type WebhookDeps = {
  egress: Egress;
  masterKey: MasterKeys | null;
  readArchive: ReadRange;
  laneSettings: LaneSettingsOf;
  tracer?: () => Tracer | null;
};

/**
 * Sends a delivery once. Every failure is a verdict; only an abort of `signal` throws, with its reason.
 * @param events the event lines of the delivery's journal entry; null when they are too long, or the entry is deleted
 */
export async function postDelivery(
  delivery: DueDelivery,
  events: string | null,
  deps: Omit<WebhookDeps, "readArchive">,
  signal: AbortSignal,
): Promise<Verdict> {
  const { type, host, run_id, tenant_id, tries, traceparent: parent } = delivery;
  const attributes = {
    "http.request.method": "POST",
    "server.address": host,
    "synapse.webhook.type": type,
    "synapse.webhook.try": tries,
    "synapse.run.id": run_id,
    "synapse.tenant.id": tenant_id,
  };
  return inSpan(deps.tracer?.() ?? null, "POST", { kind: "client", parent, attributes }, async (span) => {
    const verdict = await postInSpan(delivery, events, deps, signal, span?.traceparent);
    if (verdict.status !== null) span?.set({ "http.response.status_code": verdict.status });
    if (verdict.outcome !== "delivered") span?.fail({ code: verdict.status ?? "no_answer" });
    return verdict;
  });
}

async function postInSpan(
  delivery: DueDelivery,
  events: string | null,
  { egress, masterKey, laneSettings }: Pick<WebhookDeps, "egress" | "masterKey" | "laneSettings">,
  signal: AbortSignal,
  traceparent: string | undefined,
): Promise<Verdict> {
  const { delivery_id, failures } = delivery;
  const lane = laneSettings("webhooks");
  try {
    const secrets = await secretsOf(delivery, masterKey);
    const body = bodyOf(delivery, events);
    const response = await send(
      {
        url: new URL(delivery.url),
        method: "POST",
        headers: {
          ...headersOf(delivery_id, body, secrets, new Date()),
          ...(traceparent !== undefined && { traceparent }),
        },
        body,
        timeoutMs: deliveryTimeoutMsOf(lane),
        timeoutCode: "webhook_timeout",
        maxResponseBytes: "ignored",
        signal,
      },
      egress,
    );
    return judgeResponse(response, failures, Math.random, lane);
  } catch (error) {
    signal.throwIfAborted();
    return judgeFailure(error, failures, Math.random, lane);
  }
}

/**
 * The secrets that sign a delivery, the current one first. A delivery with a secret is never sent unsigned: a worker that
 * cannot open the secret fails the try, and the delivery is tried again until it expires.
 */
async function secretsOf(delivery: DueDelivery, masterKey: MasterKeys | null): Promise<string[]> {
  const { run_id, root_run_id, tenant_id, endpoint_id, secret, previous_secret } = delivery;
  const sealed = [secret, previous_secret].filter((each) => each !== null);
  if (sealed.length === 0) return [];
  if (!masterKey)
    throw new SealError("webhook_unsigned: this worker has no MASTER_KEY to open the secret with");
  const place =
    endpoint_id === null
      ? sealedPlace(root_run_id ?? run_id, SECRET_FIELD)
      : endpointPlace(tenant_id, endpoint_id);
  return Promise.all(sealed.map((each) => unseal(masterKey, each, place)));
}
