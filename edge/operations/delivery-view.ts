import { z } from "zod";
import { RunId } from "../../shared/contracts/ids.ts";
import { DeliveryOutcome, DeliveryType } from "../../shared/contracts/webhook.ts";
import type { DeliveryRow } from "../../shared/store/webhooks/delivery-rows.ts";
import { isoTime } from "../runs/run-view.ts";

/** A delivery of a webhook, as operators see it. */
export const Delivery = z
  .object({
    /** Also the `webhook-id` of its requests. */
    id: z.string(),
    run_id: RunId,
    tenant_id: z.string(),
    orchestration_id: z.string(),
    type: DeliveryType,
    url: z.string(),
    signed: z.boolean(),
    outcome: z.enum([...DeliveryOutcome.options, "pending"]),
    /** At least how often it was sent: a try may have been given up before its request. */
    tries: z.number().int(),
    last_status: z.number().int().nullable(),
    last_error: z.string().nullable(),
    created_at: z.iso.datetime(),
    /** When it is due, or how long the worker that sends it may take. */
    next_at: z.iso.datetime().nullable(),
    expires_at: z.iso.datetime(),
    done_at: z.iso.datetime().nullable(),
  })
  .meta({ id: "Delivery" });

export function deliveryOf(row: DeliveryRow): z.infer<typeof Delivery> {
  return {
    id: row.delivery_id,
    run_id: row.run_id,
    tenant_id: row.tenant_id,
    orchestration_id: row.orchestration_id,
    type: row.type,
    url: withoutQuery(row.url),
    signed: row.signed,
    outcome: row.outcome ?? "pending",
    tries: row.tries,
    last_status: row.last_status,
    last_error: row.last_error,
    created_at: new Date(row.created_at_ms).toISOString(),
    next_at: isoTime(row.next_at_ms),
    expires_at: new Date(row.expires_at_ms).toISOString(),
    done_at: isoTime(row.done_at_ms),
  };
}

/** Many receivers know their callers by a token in the query. */
function withoutQuery(url: string): string {
  const { origin, pathname, search } = new URL(url);
  return origin + pathname + (search === "" ? "" : "?…");
}
