import { RequestTooLong, RetryableError, TerminalError } from "../engine/step-errors.ts";
import { kindOfError, toWord } from "./error-kind.ts";
import { isObject, listOf } from "../../shared/contracts/json.ts";
import { parseJson } from "../engine/parse-json.ts";
import { textOf } from "./json-fields.ts";
import { retryHintMs } from "./retry-hint.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { ErrorKind } from "./error-kind.ts";

/** An error as a provider reported it: with an HTTP status and headers, or inside the stream of an answer. */
export type ProviderError = {
  status: number | undefined;
  headers: Readonly<Record<string, string>>;
  body: Json | undefined;
};

const RETRIED = {
  rate: { code: "model_rate_limited", message: "the provider limits how often it is called" },
  down: { code: "model_unavailable", message: "the provider is overloaded or has failed" },
  unreadable: { code: "model_unreadable", message: "the provider cannot read what its model wrote" },
};

const TERMINAL: { [kind in Exclude<ErrorKind, keyof typeof RETRIED>]: { code: string; message: string } } = {
  credit: { code: "model_unauthorized", message: "the account at the model's provider has no credit" },
  key: { code: "model_unauthorized", message: "the model's provider does not accept the API key" },
  permission: {
    code: "model_unauthorized",
    message: "the API key may not use this model, or not from this worker's network",
  },
  model: { code: "unknown_model", message: "the provider has no such model, or its base URL is wrong" },
  address: {
    code: "model_not_configured",
    message: "the provider's base URL leads to another server, which is not followed: is it right?",
  },
  tools: {
    code: "model_bad_request",
    message: "the model takes no tools, or its server is not set up for them",
  },
  images: { code: "model_bad_request", message: "the model takes no images" },
  length: {
    code: "model_bad_request",
    message: "the request is too long for the model or for the account: shorten the prompt or its inputs",
  },
  request: { code: "model_bad_request", message: "the model's provider refuses the request" },
  withheld: { code: "content_filter", message: "the model's provider refuses the content of the request" },
};

/** The error that the step throws. The provider's own text is left out: it may quote an API key or a prompt. */
export function stepErrorOfProvider(
  error: ProviderError,
  model: string,
  cause: unknown,
): TerminalError | RetryableError {
  const facts = factsOf(error);
  const kind = kindOfError(facts);
  const where = error.status === undefined ? "reported inside its answer" : `HTTP ${error.status}`;
  if (!isRetried(kind)) {
    const { code, message } = TERMINAL[kind];
    const Failure = kind === "length" ? RequestTooLong : TerminalError;
    return new Failure(code, `${model}: ${message} (${where})`, { cause });
  }
  const retryAfterMs = retryHintMs(
    { ...error, message: facts.message, isRateLimit: kind === "rate" },
    Date.now(),
  );
  const { code, message } = RETRIED[kind];
  const wait = retryAfterMs === undefined ? "" : `, and asks to wait ${Math.ceil(retryAfterMs / 1_000)} s`;
  return new RetryableError(code, `${model}: ${message} (${where})${wait}`, {
    cause,
    retryAfterMs,
    answered: true,
  });
}

function isRetried(kind: ErrorKind): kind is keyof typeof RETRIED {
  return Object.hasOwn(RETRIED, kind);
}

const NOT_OF_TOOLS: ReadonlySet<ErrorKind> = new Set(["key", "permission", "credit", "length", "address"]);

/**
 * Whether the provider says that it takes no tools for this model. Ollama: "m does not support tools". vLLM: "tool choice requires
 * --enable-auto-tool-choice". llama.cpp, as a failure of the server: "tools param requires --jinja flag".
 */
export function mayRefuseTools(error: ProviderError): boolean {
  const facts = factsOf(error);
  return !NOT_OF_TOOLS.has(kindOfError(facts)) && REFUSED_TOOLS.test(facts.message);
}

const REFUSED_TOOLS =
  /(?:not support|unsupported|no support|that support|support for)[^.]{0,60}\b(?:tools?|functions?)\b|\b(?:tools?|functions?)\b[^.]{0,60}(?:not supported|unsupported|not implemented|not enabled|not available|requires?\b)/i;

/** Whether the forced tool choice may be the reason of the refusal. False when the provider names another reason. */
export function mayRefuseToolChoice(error: ProviderError): boolean {
  const facts = factsOf(error);
  const kind = kindOfError(facts);
  if (NOT_OF_TOOLS.has(kind)) return false;
  if (/tool.?choice/i.test(facts.message)) return true;
  if (isRetried(kind)) return false;
  return kind === "request" || /tool|function/i.test(facts.message);
}

type Facts = { status: number | undefined; words: string[]; message: string };

/** The objects in which providers and gateways put what happened, the innermost first. */
function layersOf(body: Json | undefined, depth = 0): JsonObject[] {
  if (depth > 4) return [];
  if (Array.isArray(body)) return layersOf(body[0], depth + 1);
  // A gateway may quote the error of the provider behind it as text.
  if (typeof body === "string") return layersOf(parseQuoted(body), depth + 1);
  if (!isObject(body)) return [];
  const inner = [
    ...layersOf(body["error"], depth + 1),
    ...quotedIn(body["message"], depth),
    ...layersOf(listOf(body["errors"])[0], depth + 1),
    ...(isObject(body["metadata"]) ? layersOf(body["metadata"]["raw"], depth + 1) : []),
    // Databricks quotes the error of an external model.
    ...layersOf(body["external_model_error"], depth + 1),
    // MiniMax reports its errors beside an answer that is null.
    ...layersOf(body["base_resp"], depth + 1),
    ...listOf(body["details"]).filter(isObject),
  ];
  return [...inner, body];
}

/** The error that a gateway quotes as the whole sentence of its own. */
function quotedIn(message: Json | undefined, depth: number): JsonObject[] {
  return typeof message === "string" ? layersOf(message, depth + 1) : [];
}

function parseQuoted(text: string): Json | undefined {
  return text.trimStart().startsWith("{") ? parseJson(text) : undefined;
}

function factsOf({ status, body }: ProviderError): Facts {
  const layers = layersOf(body);
  const values = layers.flatMap((layer) =>
    ["reason", "code", "type", "__type", "error_type", "error_code", "status"]
      .map((field) => layer[field])
      .filter((value) => value !== undefined),
  );
  const numbers = [...values, ...layers.flatMap((layer) => [layer["statusCode"], layer["status_code"]])]
    .map((value) => (typeof value === "number" || textOf(value) !== undefined ? Number(value) : Number.NaN))
    .filter((value) => Number.isInteger(value) && value >= 400 && value < 600);
  return {
    // Under a gateway's 200 or 500 the body may have the status of the provider behind it.
    status: status !== undefined && status >= 400 && status !== 500 ? status : (numbers[0] ?? status),
    words: values.flatMap((value) => (typeof value === "string" ? [toWord(value)] : [])),
    message: [typeof body === "string" ? body : "", ...layers.map(messageIn)].join("\n"),
  };
}

function messageIn(layer: JsonObject): string {
  return ["message", "error", "detail", "msg", "status_msg"]
    .map((field) => textOf(layer[field]) ?? "")
    .join("\n");
}
