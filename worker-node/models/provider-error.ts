import { RetryableError, TerminalError } from "../engine/step-errors.ts";
import { isObject, listOf, parseJson, textOf } from "./json-fields.ts";
import { retryHintMs } from "./retry-hint.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

/** An error as a provider reported it: with an HTTP status and headers, or inside the stream of an answer. */
export type ProviderError = {
  status: number | undefined;
  headers: Readonly<Record<string, string>>;
  body: Json | undefined;
};

type Kind = "credit" | "key" | "permission" | "model" | "request" | "withheld" | "rate" | "down";

const TERMINAL: { [kind in Exclude<Kind, "rate" | "down">]: { code: string; message: string } } = {
  credit: { code: "model_unauthorized", message: "the account at the model's provider has no credit" },
  key: { code: "model_unauthorized", message: "the model's provider does not accept the API key" },
  permission: { code: "model_unauthorized", message: "the API key may not use this model" },
  model: { code: "unknown_model", message: "the provider has no such model" },
  request: { code: "model_bad_request", message: "the model's provider refuses the request" },
  withheld: { code: "content_filter", message: "the model's provider refuses the content of the request" },
};

const KIND_BY_STATUS: ReadonlyMap<number, Kind> = new Map([
  [400, "request"],
  [401, "key"],
  [402, "credit"],
  [403, "permission"],
  [404, "model"],
  [413, "request"],
  [422, "request"],
  [429, "rate"],
]);

/**
 * Providers' words for a kind of error, as `toWord` writes them. They stand in `code`, `type`, `status` or `reason`. The
 * first kind that has a word of the error decides: an account without credit is also reported as a rate limit.
 */
const WORDS: [Kind, readonly string[]][] = [
  [
    "credit",
    [
      "insufficient_quota",
      "insufficient_user_quota",
      "insufficient_balance",
      "insufficient_credit",
      "insufficient_credits",
      "insufficient_funds",
      "exceeded_current_quota",
      "credit_balance_too_low",
      "out_of_credits",
      "payment_required",
      "billing",
      "billing_hard_limit_reached",
      "billing_not_active",
      "arrearage",
      "account_overdue",
    ],
  ],
  [
    "key",
    [
      "api_key_invalid",
      "invalid_api_key",
      "incorrect_api_key",
      "authentication",
      "invalid_authentication",
      "unauthenticated",
      "unauthorized",
      "account_deactivated",
      "access_terminated",
    ],
  ],
  [
    "permission",
    ["permission", "permission_denied", "forbidden", "access_denied", "unsupported_country_region_territory"],
  ],
  ["model", ["model_not_found", "not_found", "deployment_not_found", "unknown_model", "model_not_exist"]],
  [
    "withheld",
    ["content_filter", "content_policy_violation", "data_inspection_failed", "content_blocked", "moderation"],
  ],
  [
    "rate",
    [
      "rate_limit",
      "rate_limit_exceeded",
      "rate_limit_reached",
      "rate_limited",
      "resource_exhausted",
      "too_many_requests",
      "throttling",
      "limit_requests",
    ],
  ],
  [
    "request",
    [
      "invalid_argument",
      "failed_precondition",
      "out_of_range",
      "context_length_exceeded",
      "exceed_context_size",
      "request_too_large",
      "string_above_max_length",
      "bad_request",
      "invalid_prompt",
      "invalid_value",
      "invalid_parameter",
      "unsupported_parameter",
      "unsupported_value",
      "unprocessable_entity",
      "validation",
    ],
  ],
  [
    "down",
    [
      "overloaded",
      "engine_overloaded",
      "model_overloaded",
      "server_overloaded",
      "unavailable",
      "service_unavailable",
      "internal",
      "internal_server",
      "deadline_exceeded",
      "timeout",
      "gateway_timeout",
      "bad_gateway",
      "upstream",
    ],
  ],
];
/** Words that gateways also put on errors of another kind: they count only where nothing else says what happened. */
const GENERIC_WORDS: ReadonlyMap<string, Kind> = new Map([
  ["invalid_request", "request"],
  ["api", "down"],
  ["server", "down"],
]);
const KIND_BY_WORD: ReadonlyMap<string, Kind> = new Map(
  WORDS.flatMap(([kind, words]) => words.map((word): [string, Kind] => [word, kind])),
);
/** Anthropic, DeepSeek and others say it in words alone, under a code that means anything. */
const NO_CREDIT =
  /credit balance is too low|insufficient (?:account )?(?:balance|credits?|funds)|out of credits/i;

/** The error that the step throws. The provider's own text is left out: it may quote an API key or a prompt. */
export function stepErrorOf(
  error: ProviderError,
  model: string,
  cause: unknown,
): TerminalError | RetryableError {
  const facts = factsOf(error);
  const kind = kindOf(facts);
  const where = error.status === undefined ? "reported inside its answer" : `HTTP ${error.status}`;
  if (kind !== "rate" && kind !== "down") {
    const { code, message } = TERMINAL[kind];
    return new TerminalError(code, `${model}: ${message} (${where})`, { cause });
  }
  const retryAfterMs = retryHintMs(
    { ...error, message: facts.message, isRateLimit: kind === "rate" },
    Date.now(),
  );
  const what = kind === "rate" ? "limits how often it is called" : "is overloaded or has failed";
  const wait = retryAfterMs === undefined ? "" : `, and asks to wait ${Math.ceil(retryAfterMs / 1_000)} s`;
  return new RetryableError(
    kind === "rate" ? "model_rate_limited" : "model_unavailable",
    `${model}: the provider ${what} (${where})${wait}`,
    { cause, retryAfterMs, answered: true },
  );
}

/** May the request be refused because it forced a tool choice? Not when the provider names another reason. */
export function mayRefuseToolChoice(error: ProviderError): boolean {
  const { words, message } = factsOf(error);
  if (/tool|function/i.test(message)) return true;
  const isOther = words.some((word) =>
    ["context_length_exceeded", "exceed_context_size", "request_too_large"].includes(word),
  );
  return kindOf(factsOf(error)) === "request" && !isOther;
}

type Facts = { status: number | undefined; words: string[]; message: string };

function kindOf({ status, words, message }: Facts): Kind {
  const kinds = words.map((word) => KIND_BY_WORD.get(word));
  if (kinds.includes("credit") || NO_CREDIT.test(message)) return "credit";
  const known = kinds.find((kind) => kind !== undefined);
  if (known !== undefined) return known;
  const generic = words.map((word) => GENERIC_WORDS.get(word)).find((kind) => kind !== undefined);
  // Statuses from 500 on are the server's failure. Others that are not known say nothing: another try may find out.
  return status === undefined ? (generic ?? "down") : (KIND_BY_STATUS.get(status) ?? "down");
}

/** The objects in which providers and gateways put what happened, the innermost first. */
function layersOf(body: Json | undefined, depth = 0): JsonObject[] {
  if (depth > 4) return [];
  if (Array.isArray(body)) return layersOf(body[0], depth + 1);
  // A gateway may quote the error of the provider behind it as text.
  if (typeof body === "string") return layersOf(parseQuoted(body), depth + 1);
  if (!isObject(body)) return [];
  const inner = [
    ...layersOf(body["error"], depth + 1),
    ...layersOf(listOf(body["errors"])[0], depth + 1),
    ...(isObject(body["metadata"]) ? layersOf(body["metadata"]["raw"], depth + 1) : []),
    ...listOf(body["details"]).filter(isObject),
  ];
  return [...inner, body];
}

function parseQuoted(text: string): Json | undefined {
  return text.trimStart().startsWith("{") ? parseJson(text) : undefined;
}

function factsOf({ status, body }: ProviderError): Facts {
  const layers = layersOf(body);
  const values = layers.flatMap((layer) =>
    ["reason", "code", "type", "status"].map((field) => layer[field]).filter((value) => value !== undefined),
  );
  const numbers = [...values, ...layers.flatMap((layer) => [layer["statusCode"], layer["status_code"]])]
    .map((value) => (typeof value === "number" || textOf(value) !== undefined ? Number(value) : Number.NaN))
    .filter((value) => Number.isInteger(value) && value >= 400 && value < 600);
  return {
    // A gateway's 200 or 500 may stand for a more telling number inside.
    status: status !== undefined && status >= 400 && status !== 500 ? status : (numbers[0] ?? status),
    words: values.flatMap((value) => (typeof value === "string" ? [toWord(value)] : [])),
    message: [typeof body === "string" ? body : "", ...layers.map(messageIn)].join("\n"),
  };
}

function messageIn(layer: JsonObject): string {
  return ["message", "error", "detail", "msg"].map((field) => textOf(layer[field]) ?? "").join("\n");
}

/** `BadRequestError`, `bad_request_error` and `Bad Request` are one word. */
function toWord(text: string): string {
  return text
    .trim()
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2")
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "_")
    .replace(/_(?:error|exception)$/, "");
}
