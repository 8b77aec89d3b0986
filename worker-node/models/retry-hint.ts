import { parseRetryAfterMs, serverTimeMs } from "../../shared/http/retry-after.ts";
import { isObject, listOf } from "../../shared/contracts/json.ts";
import { textOf } from "./json-fields.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

type Refusal = {
  headers: Readonly<Record<string, string>>;
  body: Json | undefined;
  /** The sentences of the error. */
  message: string;
  /** Only a rate limit makes the limits' reset times count: providers send them with every answer. */
  isRateLimit: boolean;
};

/**
 * How long a provider asks to wait, in milliseconds: in `Retry-After` or its body, whichever is longer, else in the reset
 * times of the limits that are used up. Undefined when it does not say. A quota for a day lasts until the day ends.
 */
export function retryHintMs(
  { headers, body, message, isRateLimit }: Refusal,
  ownMs: number,
): number | undefined {
  const nowMs = serverTimeMs(headers, ownMs);
  const report = [
    // Some servers write the header with a unit.
    parseRetryAfterMs(headers, nowMs) ?? timeMs(headers["retry-after"], nowMs),
    ...MS_HEADERS.map((name) => inMs(headers[name])),
    ...WAIT_HEADERS.map((name) => timeMs(headers[name], nowMs)),
    ...hintsIn(body, nowMs),
    ...(isRateLimit ? [hintInWords(message), timeInWords(message, nowMs)] : []),
  ].filter((ms) => ms !== undefined);
  if (report.length > 0) return Math.max(...report);
  const resets = isRateLimit ? [...resetsIn(headers, nowMs), ...resetsInBody(body, nowMs)] : [];
  return resets.length === 0 ? undefined : Math.max(...resets);
}

/** Headers besides `Retry-After` that name a wait (gateways, Discord); below them headers that name it in milliseconds (Azure). */
const WAIT_HEADERS = ["x-retry-after", "x-ratelimit-retry-after", "x-ratelimit-reset-after"];
const MS_HEADERS = ["x-retry-after-ms", "x-ms-retry-after-ms", "retry-after-milliseconds"];
const WAIT_FIELDS = [
  "retryDelay",
  "retry_delay",
  "retry_after",
  "retryAfter",
  "retry-after",
  "retry_after_seconds",
  "retryAfterSeconds",
  "retry_in",
];
const MS_FIELDS = ["retry_after_ms", "retryAfterMs", "retry_delay_ms", "retryDelayMs", "retry_after_millis"];

/** The waits in a body, at any depth: `google.rpc.RetryInfo` and the fields that gateways use. */
function hintsIn(body: Json | undefined, nowMs: number, depth = 0): number[] {
  if (depth > 6) return [];
  if (Array.isArray(body)) return body.slice(0, 20).flatMap((item) => hintsIn(item, nowMs, depth + 1));
  if (!isObject(body)) return [];
  const own = [
    ...WAIT_FIELDS.map((name) => timeMs(body[name], nowMs)),
    ...MS_FIELDS.map((name) => inMs(body[name])),
    // Hugging Face, while it loads a model.
    durationMs(body["estimated_time"]),
    isDailyQuota(body) ? untilPacificMidnightMs(nowMs) : undefined,
  ].filter((ms) => ms !== undefined);
  return [...own, ...Object.values(body).flatMap((value) => hintsIn(value, nowMs, depth + 1))];
}

/** A `google.rpc.QuotaFailure` of a quota for a day. Google also sends a `retryDelay` of some seconds, which is too short. */
function isDailyQuota(detail: JsonObject): boolean {
  return listOf(detail["violations"]).some(
    (violation) => isObject(violation) && /per_?day/i.test(textOf(violation["quotaId"]) ?? ""),
  );
}

/** Google's daily quotas begin anew at midnight in California (ai.google.dev/gemini-api/docs/rate-limits). */
function untilPacificMidnightMs(nowMs: number): number {
  const parts = new Intl.DateTimeFormat("en-US", {
    timeZone: "America/Los_Angeles",
    hourCycle: "h23",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  }).formatToParts(nowMs);
  const of = (type: string): number => Number(parts.find((part) => part.type === type)?.value ?? 0);
  return 86_400_000 - ((of("hour") * 60 + of("minute")) * 60 + of("second")) * 1_000;
}

/** "Please try again in 7m12.5s.", "Your quota will reset after 1 hour 30 minutes", "Please wait 56 seconds before retrying." */
function hintInWords(message: string): number | undefined {
  const match =
    /(?:(?:try again|retry|resets?) (?:in|after)|wait(?: for)?) ((?:[\d.]+ ?(?:ms|milliseconds?|[dhms]\b|days?|hours?|minutes?|mins?|seconds?|secs?|[hm](?=\d))(?:\s|,|and)*)+)/i.exec(
      message,
    );
  return match?.[1] === undefined ? undefined : durationMs(match[1]);
}

/**
 * "Your limit will reset at 2026-09-12 00:35:41". A time without a zone is Beijing's, as Zhipu writes it (can1357/oh-my-pi #11014): where it
 * is another zone's, the step tries too early, and never hours too late. A time in the past says nothing.
 */
function timeInWords(message: string, nowMs: number): number | undefined {
  const match =
    /(?:(?:try again|retry|resets?) (?:at|on|after)|将在) (\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?) ?(Z|(?:UTC|GMT)(?![+-])|[+-]\d{2}:?\d{2})?/i.exec(
      message,
    );
  if (match === null) return undefined;
  const [, day, time, zone = "+08:00"] = match;
  const ms = Date.parse(`${day}T${time}${zone.replace(/UTC|GMT/i, "Z")}`) - nowMs;
  return ms > 0 ? ms : undefined;
}

const UNIT_MS: { [unit: string]: number } = {
  ms: 1,
  us: 1e-3,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/**
 * `5`, `"5"`, `"3.5s"`, `"6m0s"`, `"250ms"`, ISO 8601's `"PT1M5S"` and protobuf's `{"seconds": 5, "nanos": 0}` in milliseconds. A
 * plain number is in seconds.
 */
function durationMs(value: Json | undefined): number | undefined {
  if (typeof value === "number") return value >= 0 ? value * 1_000 : undefined;
  if (isObject(value)) {
    const seconds = Number(value["seconds"] ?? Number.NaN) + Number(value["nanos"] ?? 0) / 1e9;
    return seconds >= 0 ? seconds * 1_000 : undefined;
  }
  const text = textOf(value)?.trim().toLowerCase();
  if (text === undefined || text === "") return undefined;
  if (Number(text) >= 0) return Number(text) * 1_000;
  const iso = /^p(?:\d+d)?t?[\d.dhms]*$/.test(text) ? text.replaceAll(/[pt]/g, "") : text;
  const pieces = [...iso.matchAll(/([\d.]+)\s*(ms|milliseconds?|[uµ]s|[dhms])/g)];
  if (pieces.length === 0) return undefined;
  return pieces.reduce((sum, [, count, unit = ""]) => sum + Number(count) * unitMs(unit), 0);
}

function unitMs(unit: string): number {
  return UNIT_MS[unit.replace("µ", "u")] ?? 1;
}

/** A duration, or the time until a date or a time since 1970. */
function timeMs(value: Json | undefined, nowMs: number): number | undefined {
  const text = typeof value === "number" ? String(value) : textOf(value)?.trim();
  return text === undefined ? durationMs(value) : resetMs(text, nowMs);
}

function inMs(value: Json | undefined): number | undefined {
  const ms = typeof value === "number" || textOf(value) !== undefined ? Number(value) : Number.NaN;
  return ms >= 0 ? ms : undefined;
}

const RESET = /^(.*ratelimit(?:bysize)?-)(?:(.+)-)?reset(?:-(.+))?$/;

/**
 * When limits are whole again: `x-ratelimit-reset-requests: 6m0s` (OpenAI, Groq), `anthropic-ratelimit-…-reset` with a
 * date, `x-ratelimit-reset` in seconds or as a time. The limit that refused is one of which nothing remains.
 */
function resetsIn(headers: Readonly<Record<string, string>>, nowMs: number): number[] {
  const limits = Object.entries(headers).flatMap(([name, value]) => {
    const match = RESET.exec(name.toLowerCase());
    if (match === null) return [];
    const [, prefix, before, after] = match;
    const remaining = [`${prefix}remaining-${after}`, `${prefix}${before}-remaining`, `${prefix}remaining`]
      .map((each) => headers[each])
      .find((each) => each !== undefined);
    const ms = resetMs(value, nowMs);
    return ms === undefined ? [] : [{ ms, isUsedUp: remaining === "0", isKnown: remaining !== undefined }];
  });
  // `RateLimit: "default";r=0;t=30` of the IETF's draft.
  for (const [, seconds] of (headers["ratelimit"] ?? "").matchAll(/;\s*r=0\s*;\s*t=(\d{1,9})/g))
    limits.push({ ms: Number(seconds) * 1_000, isUsedUp: true, isKnown: true });
  const usedUp = limits.filter((limit) => limit.isUsedUp);
  return (usedUp.length > 0 ? usedUp : limits.filter((limit) => !limit.isKnown)).map((limit) => limit.ms);
}

const RESET_FIELDS = [
  "resets_in_seconds",
  "reset_in_seconds",
  "resets_at",
  "reset_at",
  "reset_after",
  "quotaResetDelay",
  "quotaResetTimeStamp",
];

/** The resets in a body, at any depth: in fields of their own, unless something of the limit remains, and in headers that OpenRouter quotes. */
function resetsInBody(body: Json | undefined, nowMs: number, depth = 0): number[] {
  if (depth > 6) return [];
  if (Array.isArray(body)) return body.slice(0, 20).flatMap((item) => resetsInBody(item, nowMs, depth + 1));
  if (!isObject(body)) return [];
  const { headers } = body;
  const isLeft = Number(body["remaining"] ?? 0) > 0;
  const own = [
    ...(isObject(headers) ? resetsIn(textFields(headers), nowMs) : []),
    ...(isLeft ? [] : RESET_FIELDS.map((name) => timeMs(body[name], nowMs))),
  ].filter((ms) => ms !== undefined);
  return [...own, ...Object.values(body).flatMap((value) => resetsInBody(value, nowMs, depth + 1))];
}

function textFields(quoted: JsonObject): Record<string, string> {
  return Object.fromEntries(
    Object.entries(quoted).flatMap(([name, value]) =>
      typeof value === "string" || typeof value === "number" ? [[name.toLowerCase(), String(value)]] : [],
    ),
  );
}

/** The time until a reset. A number is seconds to wait, or a time in seconds or milliseconds since 1970, as its size says. */
export function resetMs(value: string, nowMs: number): number | undefined {
  const number = Number(value);
  if (number >= 1e12) return Math.max(0, number - nowMs);
  if (number >= 1e9) return Math.max(0, number * 1_000 - nowMs);
  if (number >= 0) return number * 1_000;
  const isDate = /\d{4}-\d{2}-\d{2}|\d{2}:\d{2}:\d{2}/.test(value);
  const date = isDate ? Date.parse(value) : Number.NaN;
  return Number.isNaN(date) ? durationMs(value) : Math.max(0, date - nowMs);
}
