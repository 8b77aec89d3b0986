import { z } from "zod";

const MAX_URL_CHARS = 2_048;
/** Of a host name, RFC 1035. */
const MAX_HOST_CHARS = 253;

/**
 * Where a client wants to be told: without credentials in it, as they would show wherever a URL does. Its lengths are
 * those of the URL as it is used, in which names are punycode and other characters are percent-encoded.
 */
export const WebhookUrl = z
  .string()
  .max(MAX_URL_CHARS)
  .refine((text) => isHttp(text), "must be a URL that begins with https:// or http://")
  .refine((text) => !hasCredentials(text), "must not hold a user or a password")
  .refine((text) => isShort(text), `must be at most ${MAX_URL_CHARS} characters, its host ${MAX_HOST_CHARS}`);

/** What its requests are signed with: text, used as it is. */
export const WebhookSecret = z.string().min(8).max(1_000);

/** The field of a run under which its secret is sealed: see `placeOf`. */
export const SECRET_FIELD = "webhook_secret";

/** What is told: how a run ended, or that it waits for a human. */
export const DeliveryType = z.enum(["run.completed", "run.failed", "run.cancelled", "run.waiting"]);
export type DeliveryType = z.infer<typeof DeliveryType>;

/** What became of a delivery: taken, refused for good, or not taken for 24 hours. */
export const DeliveryOutcome = z.enum(["delivered", "rejected", "expired"]);
export type DeliveryOutcome = z.infer<typeof DeliveryOutcome>;

/** A delivery, and the `webhook-id` of all its requests: `whd_<12 hex>_<base>_<number of the event>`, its run's id and the entry's. */
export const DeliveryId = z.string().regex(/^whd_[0-9a-f]{12}_[0-9]{13}_[0-9]{1,9}$/);

function isHttp(text: string): boolean {
  return /^https?:\/\//i.test(text) && URL.canParse(text);
}

function isShort(text: string): boolean {
  if (!URL.canParse(text)) return true;
  const { href, hostname } = new URL(text);
  return href.length <= MAX_URL_CHARS && hostname.length <= MAX_HOST_CHARS;
}

function hasCredentials(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { username, password } = new URL(text);
  return username !== "" || password !== "";
}
