import { credentialsOf, withoutSecrets } from "../../shared/contracts/definition/tool-secrets.ts";
import { messageOf } from "../../shared/log.ts";
import { redact } from "../../shared/security/redact.ts";
import { isObject } from "../../shared/contracts/json.ts";
import { jsonOrText, parseJson } from "../engine/parse-json.ts";
import {
  keepingKey,
  RetryableError,
  TerminalError,
  ToolRejection,
  withNewKey,
} from "../engine/step-errors.ts";
import { OUTCOME_UNKNOWN } from "../engine/call-once.ts";
import { correlationHeader } from "../outbound/correlation-header.ts";
import { send, wasNotSent } from "../outbound/request.ts";
import { retryHintMs } from "../models/retry-hint.ts";
import { argumentJson } from "./argument-json.ts";
import { fileOf } from "./file-of-response.ts";
import { fillUrl } from "./fill-url.ts";
import { formFields } from "./form-fields.ts";
import type { FileReference } from "../../shared/contracts/artifact.ts";
import type { HttpTool } from "../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Egress } from "../outbound/egress-guard.ts";
import type { Files } from "../engine/ports.ts";
import type { TenantConnections } from "../outbound/kept-connections.ts";
import type { OutboundRequest, OutboundResponse } from "../outbound/request.ts";

const MAX_RESPONSE_BYTES = 1024 * 1024;
const QUOTED_CHARS = 300;
/** The characters of a refusal that are searched for the time to wait. */
const READ_CHARS = 10_000;

/**
 * Calls a tool of type `http` and returns the JSON of its response, or the response as text when it is not JSON. Of an object only the
 * properties in `outputSchema` are returned, where the tool has any there. GET and DELETE send the arguments that the URL does
 * not use as a query; the other methods send all arguments as a JSON body, or as a form where the tool's `Content-Type` is that of one.
 * An answer that only names a place, as after HTTP 201, or 303 to another method than GET, is `{ location }`.
 *
 * A tool with `response: "artifact"` stores what a success returns as a file of the run, as it arrives and as it is, and returns a
 * reference to it.
 *
 * A refusal (4xx) is a ToolRejection that quotes the response. 408, 425, 429, a 403 at a rate limit, 5xx and a lost connection are
 * RetryableErrors. After 408, 5xx and a lost connection the call may have been carried out, so the next try has the same effect key.
 * An answer over 1 MiB, or one that cannot be decoded, is a ToolRejection too. 401, 403 and redirects are
 * TerminalErrors: other arguments seldom help. No error contains a secret of the tool, and no answer contains one of its
 * credentials: a server may quote what it received.
 */
export async function callHttpTool(
  tool: HttpTool,
  args: JsonObject,
  call: {
    egress: Egress;
    connections: TenantConnections;
    timeoutMs: number;
    effectKey: string;
    signal: AbortSignal;
    files: Pick<Files, "write">;
    traceparent?: string;
    correlationId?: string;
  },
): Promise<Json> {
  const hasBody = tool.method !== "GET" && tool.method !== "DELETE";
  const { body, type } = hasBody ? await bodyOf(args, tool) : { body: null, type: null };
  const headers = {
    accept: "application/json, text/*;q=0.9, */*;q=0.1",
    ...(call.traceparent !== undefined && { traceparent: call.traceparent }),
    ...correlationHeader(call.correlationId),
    ...headersOf(tool, type),
    "Idempotency-Key": call.effectKey,
  };
  const url = fillUrl(tool.url, args, { withQuery: !hasBody });
  const { egress, signal } = call;
  const timeoutMs = tool.timeout_seconds === null ? call.timeoutMs : tool.timeout_seconds * 1_000;
  const limits = { timeoutMs, timeoutCode: "tool_timeout", maxResponseBytes: MAX_RESPONSE_BYTES };
  let file: FileReference | null = null;
  let isAnswered = false;
  const sink: OutboundRequest["sink"] = async (bytes, received) => {
    isAnswered = true;
    file = await call.files.write({ ...fileOf(tool, url, received), scope: "run" }, bytes);
  };
  const isFile = tool.response === "artifact";
  // A request over a kept connection may be sent twice, and with `reconcile` the tool is asked before that.
  const connections = tool.retry_safe && tool.reconcile === null && { connections: call.connections };
  const exchange = { ...limits, ...connections, signal, ...(isFile && { sink }) };
  const request = { url, method: tool.method, headers, body, ...exchange };
  const response = await send(request, egress).catch((error: unknown) => {
    if (UNUSABLE.has(codeOf(error))) throw unusable(error, tool);
    if (mayRepeat(tool) || signal.aborted) throw error;
    // The store of files may refuse connections too, after the tool has answered.
    if (isAnswered || !wasNotSent(error)) throw outcomeUnknown(error, tool);
    throw error instanceof RetryableError ? withNewKey(error) : error;
  });
  if (file !== null) return file;
  const { location } = response.headers;
  const isElsewhere = response.status === 303 && tool.method !== "GET" && location !== undefined && !isFile;
  if (isElsewhere || (response.status >= 200 && response.status < 300)) {
    const said = isElsewhere ? "" : response.body;
    if (said === "" && location !== undefined) return { location: redact(location, credentialsOf(tool)) };
    return pickOutput(jsonOrText(redact(said, credentialsOf(tool))), tool);
  }
  const error = errorOf(response, tool);
  if (!mayRepeat(tool) && !saysNotDone(response)) throw outcomeUnknown(error, tool);
  // A call that may have been carried out keeps its key, so that a tool that knows the key does not act twice.
  const isOpen = mayRepeat(tool) && !saysRefused(response);
  throw isOpen && error instanceof RetryableError ? keepingKey(error) : error;
}

const CONTENT_TYPE = "content-type";

/** The arguments in the form that the tool's `Content-Type` names. `type`: the type of what is sent, where the tool does not say all of it. */
async function bodyOf(
  args: JsonObject,
  { headers, inputSchema }: HttpTool,
): Promise<{ body: string; type: string | null }> {
  const [, type] = Object.entries(headers).find(([name]) => name.toLowerCase() === CONTENT_TYPE) ?? [];
  if (type !== undefined && /^application\/x-www-form-urlencoded\b/i.test(type))
    return { body: new URLSearchParams(formFields(args)).toString(), type: null };
  if (type !== undefined && /^multipart\/form-data\b/i.test(type)) return partsOf(args);
  return { body: argumentJson(args, inputSchema), type: type === undefined ? "application/json" : null };
}

/** The type has the boundary that divides the parts. */
async function partsOf(args: JsonObject): Promise<{ body: string; type: string | null }> {
  const form = new FormData();
  for (const [name, text] of formFields(args)) form.append(name, text);
  const encoded = new Response(form);
  return { type: encoded.headers.get(CONTENT_TYPE), body: await encoded.text() };
}

function headersOf({ headers }: HttpTool, type: string | null): Record<string, string> {
  if (type === null) return headers;
  const others = Object.entries(headers).filter(([name]) => name.toLowerCase() !== CONTENT_TYPE);
  return { ...Object.fromEntries(others), [CONTENT_TYPE]: type };
}

/** With `reconcile` the engine asks the tool before it repeats a call. */
function mayRepeat({ retry_safe, reconcile }: HttpTool): boolean {
  return retry_safe || reconcile !== null;
}

/** Whether the tool has refused the call. After a timeout of the request (408) or a failure (5xx) it may have carried it out. */
function saysRefused({ status }: OutboundResponse): boolean {
  return status < 500 && status !== 408;
}

/**
 * Whether a tool that must not get a call twice says that it has not carried it out: it has refused it, or takes no requests now (503).
 */
function saysNotDone(response: OutboundResponse): boolean {
  return saysRefused(response) || (response.status === 503 && !LOST_BY_PROXY.test(response.body));
}

/** Envoy answers 503 also when the connection to the server behind it was lost after the request: the server may have carried it out. */
const LOST_BY_PROXY =
  /^upstream connect error or disconnect\/reset before headers(?!.*reset reason: (?:(?:remote |local )?connection failure|overflow))/s;

function outcomeUnknown(cause: unknown, { name }: HttpTool): TerminalError {
  const message = `${messageOf(cause)}; the call may have been carried out, and ${name} is not retry_safe, so it is not repeated`;
  return new TerminalError(OUTCOME_UNKNOWN, message, { cause });
}

/** Errors of an answer: a call with other arguments may get an answer without them. */
const UNUSABLE: ReadonlySet<string> = new Set(["answer_too_large", "answer_encoding"]);

function codeOf(error: unknown): string {
  return error instanceof TerminalError ? error.code : "";
}

function unusable(error: unknown, tool: HttpTool): ToolRejection {
  const hint =
    codeOf(error) === "answer_too_large"
      ? ", which is the limit (1 MiB); arguments that ask for less may help"
      : "";
  const message = `the tool ${tool.name} answered, but ${messageOf(error)}${hint}`;
  return new ToolRejection(message, { code: codeOf(error), cause: error });
}

function errorOf({ status, headers, body }: OutboundResponse, tool: HttpTool): Error {
  const message = `the tool ${tool.name} answered HTTP ${status}`;
  const isRateLimit = status === 429 || (status === 403 && refusesForNow(headers));
  if (!isRateLimit && (status === 401 || status === 403)) {
    const reason = "it does not accept the tool's headers, or not for these arguments";
    return new TerminalError("tool_unauthorized", withQuote(`${message}: ${reason}`, body, tool));
  }
  if (status < 300) {
    return new TerminalError("tool_redirected", `${message}: a switch of protocols is not followed`);
  }
  if (status < 400)
    return new TerminalError(
      "tool_redirected",
      `${message}${toOf(headers, tool)}: redirects are not followed`,
    );
  if (status >= 500 || status === 408 || status === 425 || isRateLimit) {
    const said = { headers, body: parseJson(body), message: body.slice(0, READ_CHARS), isRateLimit };
    const retryAfterMs = retryHintMs(said, Date.now());
    return new RetryableError("tool_unavailable", isRateLimit ? `${message}: a rate limit` : message, {
      retryAfterMs,
      answered: true,
    });
  }
  return new ToolRejection(withQuote(message, body, tool), {
    status,
    whole: withQuote(message, body, tool, Infinity),
  });
}

/** Where a redirect leads, without the query, in which servers repeat keys. */
function toOf({ location }: OutboundResponse["headers"], tool: HttpTool): string {
  const to = location === undefined ? null : URL.parse(location, tool.url);
  return to === null ? "" : ` to ${redact(to.origin + to.pathname, quotableOf(tool)).slice(0, QUOTED_CHARS)}`;
}

/** The message with the beginning of what the tool answered, without the tool's secrets. */
function withQuote(message: string, body: string, tool: HttpTool, maxChars = QUOTED_CHARS): string {
  const quoted = redact(body, quotableOf(tool)).trim().slice(0, maxChars);
  return quoted === "" ? message : `${message}: ${quoted}`;
}

/** Whether a 403 is a rate limit, as GitHub and others send it: with the time to wait, or with nothing left of the limit. */
function refusesForNow(headers: Readonly<Record<string, string>>): boolean {
  return (
    headers["retry-after"] !== undefined ||
    headers["x-ratelimit-remaining"] === "0" ||
    headers["ratelimit-remaining"] === "0"
  );
}

/** The tool's secrets, and the words in them: a part of a secret must not be shown, even if an error text loses ordinary words for that. */
function quotableOf(tool: HttpTool): string[] {
  const secrets = Object.values(withoutSecrets(tool).secrets);
  return [...credentialsOf(tool), ...secrets.flatMap((value) => [value, ...value.split(/\s+/)])];
}

function pickOutput(value: Json, tool: HttpTool): Json {
  const properties = tool.outputSchema?.["properties"];
  if (!isObject(value) || !isObject(properties) || Object.keys(properties).length === 0) return value;
  return Object.fromEntries(Object.entries(value).filter(([key]) => Object.hasOwn(properties, key)));
}
