import {
  MissingRequiredClientCapabilityError,
  OAuthClientFlowError,
  ProtocolError,
  SdkError,
  SdkErrorCode,
  SdkHttpError,
  SseError,
  UnauthorizedError,
} from "@modelcontextprotocol/client";
import { z } from "zod";
import { pathText } from "../../../shared/errors.ts";
import { parseJson } from "../../engine/parse-json.ts";
import { credentialsOf, withoutSecrets } from "../../../shared/contracts/definition/tool-secrets.ts";
import type { McpServer } from "../../../shared/contracts/definition/index.ts";
import { messageOf } from "../../../shared/log.ts";
import { redact } from "../../../shared/security/redact.ts";
import { RetryableError, TerminalError, ToolRejection } from "../../engine/step-errors.ts";
import { retryHintMs } from "../../models/retry-hint.ts";
import type { GuardedFetch } from "../../outbound/guarded-fetch.ts";
import { namedCause } from "../../outbound/named-cause.ts";
import { LostAnswer } from "./lost-answers.ts";
import { NoToken } from "./no-token.ts";

const QUOTED_CHARS = 300;

/** Statuses under which servers send an error of JSON-RPC as the answer to a request. Any other status says more than its body. */
const STATUSES_OF_ANSWERS: ReadonlySet<number> = new Set([400, 404, 422, 500]);

/** The server did not answer in the time of a call. */
export function notInTime({ name }: McpServer, timeoutMs: number, cause: unknown): RetryableError {
  const message = `the MCP server ${name} did not answer in ${timeoutMs / 1_000} s`;
  return new RetryableError("tool_timeout", message, { cause });
}

/**
 * What a failed use of a server means.
 *
 * - ToolRejection: the server refused the call (`tool_rejected`), its answer cannot be used (`answer_too_large`, `answer_encoding`,
 *   `mcp_answer`), or it asks for input of a person (`mcp_input_required`). A model may do something else.
 * - RetryableError: it is not available (`tool_unavailable`), or cannot be reached (`mcp_unreachable`).
 * - TerminalError: it does not accept the credentials (`tool_unauthorized`), the guard refuses its address (`egress_blocked`), or it
 *   redirects (`tool_redirected`).
 *
 * No error contains a secret of the server.
 */
export function errorOfServer(server: McpServer, error: unknown, exchange: GuardedFetch): Error {
  const name = `the MCP server ${server.name}`;
  const cause = exchange.failure;
  if (cause instanceof TerminalError) {
    if (cause.code === "egress_blocked") return cause;
    return new ToolRejection(`${name} answered, but ${cause.message}`, { code: cause.code, cause });
  }
  const said = quote(server, withFirstIssue(messageOf(error)));
  if (needsMore(error)) {
    const what = capabilitiesOf(error);
    const message = `${name} asks for what no run can give${what === "" ? "" : `: ${quote(server, what)}`}`;
    return new ToolRejection(message, { code: "mcp_input_required", cause: error });
  }
  // A protocol error is an answer to the request, whatever the status of an earlier exchange was.
  if (error instanceof ProtocolError) {
    const whole = `${name}: ${withoutWords(server, withData(withFirstIssue(error.message), error.data))}`;
    return new ToolRejection(`${name}: ${said}`, { cause: error, whole });
  }
  if (error instanceof TerminalError) return error;
  if (server.server_type === "stdio") {
    const message = `the process of ${name} cannot be started, or has ended: ${said}`;
    return new RetryableError("mcp_unreachable", message, { cause: error });
  }
  if (error instanceof LostAnswer) {
    if (error.unreadable !== null) return noMcp(name, said, error);
    const message = `${name} closed the connection before its answer${namedCause(cause)}`;
    return new RetryableError("mcp_unreachable", message, { cause: error });
  }
  const refusal = exchange.refusal;
  const status = refusal?.status ?? 0;
  const answered = rpcErrorIn(error);
  if (answered !== null && STATUSES_OF_ANSWERS.has(status)) {
    const whole = `${name}: ${withoutWords(server, withData(answered.message, answered.data))}`;
    return new ToolRejection(`${name}: ${quote(server, answered.message)}`, { cause: error, whole });
  }
  if (error instanceof NoToken) return errorOfIssuer(name, said, error, exchange);
  if (!isUnavailable(status) && error instanceof OAuthClientFlowError) {
    const message = `${name} does not accept the access token: ${said}`;
    return new TerminalError("tool_unauthorized", message, { cause: error });
  }
  if (error instanceof UnauthorizedError || status === 401 || status === 403) {
    const refused = hasCredentials(server)
      ? `${name} does not accept the credentials (HTTP ${status || 401})`
      : `${name} refuses a request without credentials (HTTP ${status || 401}): its definition has no token, headers or oauth`;
    const message = answered === null ? refused : `${refused}: ${quote(server, answered.message)}`;
    return new TerminalError("tool_unauthorized", message, { cause: error });
  }
  if (status >= 300 && status < 400) {
    const location = refusal?.headers.get("location");
    const to = location ? URL.parse(location, server.url) : null;
    const where = to === null ? "" : ` to ${quote(server, to.origin + to.pathname)}`;
    const message = `${name} answered HTTP ${status}${where}: redirects to other servers are not followed`;
    return new TerminalError("tool_redirected", message, { cause: error });
  }
  if (isUnavailable(status)) {
    const retryAfterMs = waitOf(exchange);
    const message = `${name} answered HTTP ${status}`;
    // After any other of these statuses the call may have been carried out, so the next try has the same effect key.
    const isSafe = status === 425 || status === 429;
    return new RetryableError("tool_unavailable", message, { cause: error, retryAfterMs, answered: isSafe });
  }
  if (cause !== null) {
    const message = `${name} cannot be reached, or closed the connection${namedCause(cause)}`;
    return new RetryableError("mcp_unreachable", message, { cause });
  }
  if (error instanceof SseError) {
    const answer = status >= 400 ? `HTTP ${status}` : said;
    const message = `${name} has no MCP at its url, which often ends in /mcp or /sse: ${answer}`;
    return new ToolRejection(message, { code: "mcp_answer", cause: error, ...(status >= 400 && { status }) });
  }
  if (status >= 400)
    return new ToolRejection(`${name} answered HTTP ${status}: ${said}`, { cause: error, status });
  return noMcp(name, said, error);
}

/** Before a token there was no call, so another try is a new one. */
function errorOfIssuer(name: string, said: string, error: NoToken, exchange: GuardedFetch): Error {
  const issuer = `the authorization server of ${name}`;
  if (error.cause !== undefined) {
    const message = `${issuer} cannot be reached, or closed the connection${namedCause(exchange.failure)}`;
    return new RetryableError("mcp_unreachable", message, { cause: error, answered: true });
  }
  if (isUnavailable(error.status)) {
    const message = `${issuer} answered HTTP ${error.status}`;
    const retryAfterMs = waitOf(exchange);
    return new RetryableError("tool_unavailable", message, { cause: error, retryAfterMs, answered: true });
  }
  return new TerminalError("tool_unauthorized", `there is no access token for ${name}: ${said}`, {
    cause: error,
  });
}

function isUnavailable(status: number): boolean {
  return status >= 500 || status === 408 || status === 425 || status === 429;
}

/** The wait that the last refusal names. */
function waitOf({ refusal }: GuardedFetch): number | undefined {
  const headers = Object.fromEntries(refusal?.headers ?? []);
  const isRateLimit = refusal?.status === 429;
  return retryHintMs({ headers, body: undefined, message: "", isRateLimit }, Date.now());
}

function noMcp(name: string, said: string, cause: unknown): ToolRejection {
  return new ToolRejection(`the answer of ${name} is no MCP: ${said}`, { code: "mcp_answer", cause });
}

/** A server that keeps to the protocol asks only clients that declare that they can answer; others answer with a result of another type. */
function needsMore(error: unknown): boolean {
  if (error instanceof MissingRequiredClientCapabilityError) return true;
  return error instanceof SdkError && error.code === SdkErrorCode.UnsupportedResultType;
}

const RpcError = z.object({
  id: z.union([z.string(), z.number()]),
  error: z.object({ message: z.string(), data: z.unknown().optional() }),
});

/** An error of a server with its data, which says what is wrong: the fields of wrong arguments, or the address to open first. */
function withData(message: string, data: unknown): string {
  return data === undefined || data === null ? message : `${message}\n${JSON.stringify(data)}`;
}

/** The error that answers the request itself, which some servers send under the status of a failure; null: there is none. */
function rpcErrorIn(error: unknown): { message: string; data?: unknown } | null {
  if (!(error instanceof SdkHttpError)) return null;
  const { text } = error.data;
  const answer = RpcError.safeParse(parseJson(typeof text === "string" ? text : ""));
  return answer.success ? answer.data.error : null;
}

function hasCredentials({ headers, oauth }: McpServer): boolean {
  return oauth !== null || Object.keys(headers).length > 0;
}

const Issues = z.tuple(
  [z.object({ code: z.string(), path: z.array(z.union([z.string(), z.number()])), message: z.string() })],
  z.unknown(),
);

/** The library quotes all that its schemas find wrong with a message, as JSON of many lines. The first of it says enough. */
function withFirstIssue(text: string): string {
  const at = text.search(/\[\s*\{/);
  const issues = Issues.safeParse(at < 0 ? null : parseJson(text.slice(at)));
  if (!issues.success) return text;
  const [{ code, path, message }] = issues.data;
  const what = code === "invalid_union" ? "has a form that the protocol does not have" : message;
  return `${text.slice(0, at)}${path.length === 0 ? "the message" : pathText(path)} ${what}`;
}

/** The names of the capabilities that a server needs of its client, such as `sampling` or `elicitation.url`; empty: it has not named them. */
function capabilitiesOf(error: unknown): string {
  if (!(error instanceof MissingRequiredClientCapabilityError)) return "";
  return Object.entries(error.requiredCapabilities)
    .flatMap(([name, parts = {}]) => {
      const inner = Object.keys(parts).map((part) => `${name}.${part}`);
      return inner.length === 0 ? [name] : inner;
    })
    .join(", ");
}

/** The beginning of what a server said, without its secrets and their words. */
export function quote(server: McpServer, text: string): string {
  return withoutWords(server, text).slice(0, QUOTED_CHARS);
}

/** What a server said, without its secrets and their words. */
export function withoutWords(server: McpServer, text: string): string {
  const secrets = Object.values(withoutSecrets(server).secrets);
  const words = secrets.flatMap((secret) => [secret, ...secret.split(/\s+/)]);
  return redact(text, [...credentialsOf(server), ...words]).trim();
}
