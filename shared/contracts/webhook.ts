import { z } from "zod";
import { utf8 } from "../text/bytes.ts";
import { ToolCalls } from "./chat.ts";
import { JsonValue } from "./json.ts";

const MAX_URL_CHARS = 2_048;
/** The longest host name of RFC 1035. */
const MAX_HOST_CHARS = 253;
/** The longest part of a host name, between two dots. */
const MAX_LABEL_CHARS = 63;
const MAX_PORT = 65_535;

/**
 * The URL that deliveries are sent to. It holds no credentials: they would be visible wherever the URL is. Its
 * lengths are limited in the form that is requested, with host names in punycode and other characters
 * percent-encoded.
 */
export const WebhookUrl = z
  .string()
  .max(MAX_URL_CHARS)
  .superRefine((text, context) => {
    const message = urlError(text);
    if (message !== null) context.addIssue({ code: "custom", message });
  });

/** The prefix of a secret as Standard Webhooks write it: base64 of its bytes follows (standardwebhooks.com). */
export const ENCODED = "whsec_";

/** Standard Webhooks ask for at least so many bytes, and for at most 64. A longer secret is accepted: Svix makes some of 75. */
const MIN_KEY_BYTES = 24;

/** The secret that signs a webhook's requests: any text, or `whsec_` and the base64 of the key. */
export const WebhookSecret = z
  .string()
  .min(1)
  .max(1_000)
  // Half of a surrogate pair has no bytes in UTF-8, so a receiver could not make the same signature.
  .refine((text) => text.isWellFormed(), "must not contain half of a surrogate pair")
  .superRefine((text, context) => {
    const message = keyError(text);
    if (message !== null) context.addIssue({ code: "custom", message });
  });

function keyError(secret: string): string | null {
  if (/^wh[sp]k_/.test(secret))
    return "is a key of Standard Webhooks for signatures by key pair: send a secret that begins with whsec_";
  if (!secret.startsWith(ENCODED)) return null;
  const bytes = signingKey(secret)?.length;
  if (bytes !== undefined && bytes >= MIN_KEY_BYTES) return null;
  const right = `must be whsec_ and the base64 of at least ${MIN_KEY_BYTES} bytes, as Standard Webhooks write a secret`;
  return bytes === undefined ? right : `${right}: this one has ${bytes}`;
}

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

/** The field of a run for which its secret is sealed: see `sealedPlace`. */
export const SECRET_FIELD = "webhook_secret";

/** An event of a run that a webhook reports: how the run ended, or that it waits for a human. */
export const RunReport = z.enum(["run.completed", "run.failed", "run.cancelled", "run.waiting"]);
export type RunReport = z.infer<typeof RunReport>;

/** The type of the delivery that tests an endpoint: it has no run. */
export const TEST_TYPE = "webhook.test";

/** The event that a delivery reports. That of a chat turn is stored under the names of any other run. */
export const DeliveryType = z.enum([...RunReport.options, TEST_TYPE]);
export type DeliveryType = z.infer<typeof DeliveryType>;

/** The body of a delivery, as receivers get it. Values over 32 KiB are references. */
export const WebhookBody = z
  .object({
    type: RunReport,
    run_id: z.string(),
    /** Of the question of a child run: the run at the top of its family, which a client has started. `run_id` is the child, which takes the answer. */
    root_run_id: z.string().optional(),
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
    /** Of `run.waiting`: the question that the run asks, or gives to a further group, with that group as `approvers`. */
    waiting: JsonValue.optional(),
    /** Of `run.waiting`: all questions with which this pause begins; `waiting` is the first of them. */
    waits: z.array(JsonValue).optional(),
  })
  .meta({ id: "WebhookBody" });

/** The body of a delivery about a chat turn: its type is `chat.…` where that of another run is `run.…`. */
export const ChatWebhookBody = z
  .object({
    type: z.string(),
    session_id: z.string(),
    turn_id: z.string(),
    agent_id: z.string().nullable(),
    tenant_id: z.string(),
    status: z.string(),
    /** The answer, or the text so far of a turn that ended before it; null: there is none. */
    message: z.object({ role: z.literal("assistant"), content: z.string() }).nullable(),
    tool_calls: ToolCalls,
    error: JsonValue,
    total_cost_usd: z.number(),
    total_tokens_used: z.number(),
    started_at: z.iso.datetime().nullable(),
    ended_at: z.iso.datetime().nullable(),
    metadata: JsonValue,
    correlation_id: z.string().nullable(),
    /** Of `chat.waiting`: the first question, and all questions, that the turn asks. */
    waiting: JsonValue.optional(),
    waits: z.array(JsonValue).optional(),
  })
  .meta({ id: "ChatWebhookBody" });

/** The body of the delivery that tests an endpoint. */
export const TestWebhookBody = z
  .object({
    type: z.literal(TEST_TYPE),
    endpoint_id: z.string(),
    tenant_id: z.string(),
    requested_at: z.iso.datetime(),
  })
  .meta({ id: "TestWebhookBody" });

/** The id of a webhook endpoint, chosen by its tenant. It is part of signed ids, so it holds no dot. */
export const EndpointId = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/,
    "must be 1 to 64 letters, digits or _ - and begin with a letter or digit",
  );

/** How a delivery ended: the receiver took it, refused it for good, or did not take it for 24 hours. */
export const DeliveryOutcome = z.enum(["delivered", "rejected", "expired"]);
export type DeliveryOutcome = z.infer<typeof DeliveryOutcome>;

/**
 * The id of a delivery, which is the `webhook-id` of all its requests: `whd_<12 hex>_<base>_<seq>`, from the run's
 * id and the entry's `seq`; then, for a delivery to an endpoint, `_<the endpoint's id>`.
 */
export const DeliveryId = z
  .string()
  .regex(
    /^whd_[0-9a-f]{12}_[0-9]{13}_[0-9]{1,9}(_[A-Za-z0-9][A-Za-z0-9_-]{0,63})?$/,
    "must look like whd_2483e1773407_1780499750067_29",
  );

function urlError(text: string): string | null {
  // A URL parser drops line breaks and spaces, writes U+FFFD for half of a pair, and reports nothing.
  if (/[\s\p{Cc}]/u.test(text)) return "must not contain spaces or control characters";
  if (!text.isWellFormed()) return "must not contain half of a surrogate pair";
  if (!/^https?:\/\//i.test(text)) return schemeError(text);
  // A URL parser takes the path of `https:///path` for a host.
  const url = /^https?:\/\/[/\\]/i.test(text) ? null : URL.parse(text);
  if (url === null) return hostError(text);
  const { href, hostname, username, password, hash } = url;
  if (hash !== "" || href.endsWith("#"))
    return "must have no # and what follows it: no request sends that part";
  if (username !== "" || password !== "") return "must not contain a user or a password";
  if (href.length > MAX_URL_CHARS || hostname.length > MAX_HOST_CHARS) {
    return `must be at most ${MAX_URL_CHARS} characters, with a host of at most ${MAX_HOST_CHARS}`;
  }
  if (hostname.endsWith(".")) return "has a host that ends with a dot: leave the dot out";
  return hostname.split(".").every((part) => part.length > 0 && part.length <= MAX_LABEL_CHARS)
    ? null
    : `has a host with an empty part, or with a part of more than ${MAX_LABEL_CHARS} characters`;
}

function schemeError(text: string): string {
  const scheme = /^([a-z][a-z0-9+.-]{0,30}):\/\//i.exec(text)?.[1];
  return scheme === undefined
    ? "must be a URL that begins with https:// or http://"
    : `has the scheme ${scheme}://: it must begin with https:// or http://`;
}

/** The error of a text that begins like a URL and is none. */
function hostError(text: string): string {
  const host = /^https?:\/\/([^/?#]*)/i.exec(text)?.[1] ?? "";
  if (host === "") return "has no host: write https://host/path";
  if (/^\[[^\]]*%/.test(host)) {
    return "has an IPv6 address with a zone, which names a network of one machine: leave out the % and what follows it";
  }
  const port = /:([^:\]]*)$/.exec(host)?.[1];
  if (port !== undefined && !(Number(port) <= MAX_PORT)) {
    return `has the port ${port.slice(0, 20)}: a port is a number from 1 to ${MAX_PORT}`;
  }
  return "has a host that is no host name and no address: write https://host/path";
}
