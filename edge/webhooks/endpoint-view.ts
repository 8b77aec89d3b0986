import { z } from "zod";
import { EndpointEvent } from "../../shared/contracts/webhook-endpoint.ts";
import type { TenantId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";
import type { EndpointRow } from "../../shared/store/webhooks/endpoints.ts";
import { isoTime } from "../../shared/text/iso-time.ts";

/** A webhook endpoint as its tenant sees it: without its secrets. */
export const Endpoint = z
  .object({
    id: z.string(),
    tenant_id: z.string(),
    url: z.string(),
    description: z.string(),
    events: z.array(EndpointEvent),
    enabled: z.boolean(),
    disable_after_days: z.number().int(),
    /** The time of the first failure since the last delivery that succeeded. Null: none failed since then. */
    failing_since: z.iso.datetime().nullable(),
    disabled_at: z.iso.datetime().nullable(),
    /** `failing`: its failures disabled it; the audit has this as `disableFailingWebhookEndpoint`. */
    disabled_reason: z.enum(["requested", "failing"]).nullable(),
    /** Until this time the secret before the last rotation signs too. Null: there is one secret. */
    previous_secret_until: z.iso.datetime().nullable(),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: "WebhookEndpoint" });

/** An endpoint in the only response that shows its secret. */
export const EndpointWithSecret = Endpoint.extend({
  secret: z.string().optional().meta({
    description: "Only when this request made it: it is shown once",
  }),
}).meta({ id: "WebhookEndpointWithSecret" });

export function endpointOf(row: EndpointRow): z.infer<typeof Endpoint> {
  const { previous_until_ms } = row;
  const overlaps = previous_until_ms !== null && previous_until_ms > Date.now();
  return {
    id: row.endpoint_id,
    tenant_id: row.tenant_id,
    url: row.url,
    description: row.description,
    events: row.events,
    enabled: row.disabled_at_ms === null,
    disable_after_days: row.disable_after_days,
    failing_since: isoTime(row.failing_since_ms),
    disabled_at: isoTime(row.disabled_at_ms),
    disabled_reason: row.disabled_reason,
    previous_secret_until: overlaps ? isoTime(previous_until_ms) : null,
    created_at: isoTime(row.created_at_ms),
    updated_at: isoTime(row.updated_at_ms),
  };
}

export function noEndpoint(tenant: TenantId, id: string): AppError {
  return new AppError("not_found", `The tenant ${tenant} has no webhook endpoint ${id}.`);
}
