import { z } from "zod";
import { RunId } from "../../shared/contracts/ids.ts";
import { DeliveryOutcome, DeliveryType, TEST_TYPE } from "../../shared/contracts/webhook.ts";
import type { DeliveryRow } from "../../shared/store/webhooks/delivery-rows.ts";
import { isoTime } from "../../shared/text/iso-time.ts";

/** A webhook delivery, as operators see it. */
export const Delivery = z
  .object({
    /** Also the `webhook-id` header of its requests. */
    id: z.string(),
    /** Null for the test of an endpoint. */
    run_id: RunId.nullable(),
    tenant_id: z.string(),
    orchestration_id: z.string().nullable(),
    type: DeliveryType,
    /** Null for the webhook of the run itself. */
    endpoint_id: z.string().nullable(),
    url: z.string(),
    signed: z.boolean(),
    outcome: z.enum([...DeliveryOutcome.options, "pending"]),
    /** At most this many requests were sent: a try may have ended before its request. */
    tries: z.number().int(),
    last_status: z.number().int().nullable(),
    last_error: z.string().nullable(),
    created_at: z.iso.datetime(),
    /** The time at which it is due; while a worker sends it, the time by which that worker must be done. */
    next_at: z.iso.datetime().nullable(),
    expires_at: z.iso.datetime(),
    done_at: z.iso.datetime().nullable(),
  })
  .meta({ id: "Delivery" });

export function deliveryOf(row: DeliveryRow): z.infer<typeof Delivery> {
  const isTest = row.type === TEST_TYPE;
  return {
    id: row.delivery_id,
    run_id: isTest ? null : row.run_id,
    tenant_id: row.tenant_id,
    orchestration_id: isTest ? null : row.orchestration_id,
    type: row.type,
    endpoint_id: row.endpoint_id,
    url: withoutQuery(row.url),
    signed: row.signed,
    outcome: row.outcome ?? "pending",
    tries: row.tries,
    last_status: row.last_status,
    last_error: row.last_error,
    created_at: isoTime(row.created_at_ms),
    next_at: isoTime(row.next_at_ms),
    expires_at: isoTime(row.expires_at_ms),
    done_at: isoTime(row.done_at_ms),
  };
}

/** Hides the query: many receivers authenticate their callers by a token in it. */
function withoutQuery(url: string): string {
  const { origin, pathname, search } = new URL(url);
  return origin + pathname + (search === "" ? "" : "?…");
}
