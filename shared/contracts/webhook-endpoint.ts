import { z } from "zod";
import { TenantId, plainText } from "./ids.ts";
import { sealedPlace } from "../security/seal.ts";
import { ENCODED, SECRET_FIELD, WebhookSecret, WebhookUrl } from "./webhook.ts";

/** The most endpoints of a tenant: each end of a run inserts at most so many deliveries besides that of the run itself. */
export const MAX_ENDPOINTS = 20;

/** The secrets that we make have this many random bytes; Standard Webhooks ask for 24 to 64. */
const SECRET_BYTES = 32;

/** An event to which an endpoint can subscribe: how a run or a chat turn ended, or that it waits for a person. */
export const EndpointEvent = z.enum([
  "run.completed",
  "run.failed",
  "run.cancelled",
  "run.waiting",
  "chat.completed",
  "chat.failed",
  "chat.cancelled",
  "chat.waiting",
]);
export type EndpointEvent = z.infer<typeof EndpointEvent>;

/** The body of a request that saves an endpoint. */
export const EndpointRequest = z
  .object({
    tenant_id: TenantId.optional().meta({ description: "The tenant, in place of `tenant_id` of the query" }),
    url: WebhookUrl,
    description: plainText(255).default(""),
    events: z
      .array(EndpointEvent)
      .min(1)
      .max(100)
      .transform((events) => EndpointEvent.options.filter((event) => events.includes(event)))
      .default(EndpointEvent.options)
      .meta({ description: "The types of events that are sent to it; absent: all of them" }),
    secret: WebhookSecret.optional().meta({
      description:
        "Absent: it keeps its secret, or a new endpoint gets one `whsec_…`, which only this response shows",
    }),
    enabled: z.boolean().optional().meta({ description: "Absent: as it is; a new endpoint is enabled" }),
    disable_after_days: z.number().int().min(1).max(30).default(5).meta({
      description: "A failure so many days after the first one, without a success in between, disables it",
    }),
  })
  .meta({ id: "WebhookEndpointRequest" });

/** A new secret, as Standard Webhooks write it. */
export function newWebhookSecret(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
  return ENCODED + btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

/** The place for which the secrets of an endpoint are sealed. A tenant's id holds no slash. */
export function endpointPlace(tenant: TenantId | string, endpoint: string): string {
  return sealedPlace(`webhook-endpoint/${tenant}/${endpoint}`, SECRET_FIELD);
}
