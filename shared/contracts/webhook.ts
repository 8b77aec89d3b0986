import { z } from "zod";
import { utf8 } from "../bytes.ts";
import { JsonValue } from "./json.ts";

const MAX_URL_CHARS = 2_048;
/** The longest host name of RFC 1035. */
const MAX_HOST_CHARS = 253;

/**
 * The URL that deliveries are sent to. It holds no credentials: they would be visible wherever the URL is. Its
 * lengths are limited in the form that is requested, with host names in punycode and other characters
 * percent-encoded.
 */
export const WebhookUrl = z
  .string()
  .max(MAX_URL_CHARS)
  .refine((text) => isHttp(text), "must be a URL that begins with https:// or http://")
  .refine((text) => !hasCredentials(text), "must not contain a user or a password")
  .refine(
    (text) => isShort(text),
    `must be at most ${MAX_URL_CHARS} characters, with a host of at most ${MAX_HOST_CHARS}`,
  );

/** With this prefix Standard Webhooks write a secret: base64 of its bytes follows (standardwebhooks.com). */
const ENCODED = "whsec_";

/** The secret that signs a webhook's requests: any text, or `whsec_` and the base64 of the key. */
export const WebhookSecret = z
  .string()
  .min(8)
  .max(1_000)
  .refine(
    (text) => !text.startsWith(ENCODED) || (signingKey(text)?.length ?? 0) > 0,
    "must be base64 after whsec_, as Standard Webhooks write a secret",
  );

/**
 * The key of `webhook-signature`: the bytes that a `whsec_…` secret stands for, else those of the secret's text. Null: what
 * follows the prefix is no base64.
 */
export function signingKey(secret: string): Uint8Array<ArrayBuffer> | null {
  if (!secret.startsWith(ENCODED)) return utf8(secret);
  const base64 = secret.slice(ENCODED.length);
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64) || base64.replaceAll("=", "").length % 4 === 1) return null;
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** The field of a run for which its secret is sealed: see `placeOf`. */
export const SECRET_FIELD = "webhook_secret";

/** What a delivery reports: how a run ended, or that it waits for a human. */
export const DeliveryType = z.enum(["run.completed", "run.failed", "run.cancelled", "run.waiting"]);
export type DeliveryType = z.infer<typeof DeliveryType>;

/** The body of a delivery, as receivers get it. Values over 32 KiB are references. */
export const WebhookBody = z
  .object({
    type: DeliveryType,
    run_id: z.string(),
    orchestration_id: z.string(),
    tenant_id: z.string(),
    status: z.string(),
    output: JsonValue,
    final_state: JsonValue,
    error: JsonValue,
    total_cost_usd: z.number(),
    total_tokens_used: z.number(),
    started_at: z.iso.datetime().nullable(),
    ended_at: z.iso.datetime().nullable(),
    metadata: JsonValue,
    correlation_id: z.string().nullable(),
    /** Of `run.waiting`: the question that the run asks. */
    waiting: JsonValue.optional(),
  })
  .meta({ id: "WebhookBody" });

/** How a delivery ended: the receiver took it, refused it for good, or did not take it for 24 hours. */
export const DeliveryOutcome = z.enum(["delivered", "rejected", "expired"]);
export type DeliveryOutcome = z.infer<typeof DeliveryOutcome>;

/**
 * The id of a delivery, which is the `webhook-id` of all its requests: `whd_<12 hex>_<base>_<seq>`, from the run's
 * id and the entry's `seq`.
 */
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
