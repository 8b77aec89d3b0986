import { z } from "zod";
import { headerErrors } from "../../../shared/contracts/definition/tool-request.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { RetryableError, TerminalError, ToolRejection } from "../../engine/step-errors.ts";
import { jsonOrText, parseJson } from "../../engine/parse-json.ts";
import type { Egress } from "../../outbound/egress-guard.ts";
import type { TenantConnections } from "../../outbound/kept-connections.ts";
import { correlationHeader } from "../../outbound/correlation-header.ts";
import { send } from "../../outbound/request.ts";
import type { OutboundResponse } from "../../outbound/request.ts";

const MAX_RESPONSE_BYTES = 1024 * 1024;
const Arguments = z.object({
  url: z.url({ protocol: /^https?$/, error: "must be an http or https URL" }).max(8_192),
  method: z.enum(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]).nullish(),
  headers: z.record(z.string(), z.string()).nullish(),
  body: z.string().nullish(),
});

/** Limits and identity of one call. */
type Call = {
  egress: Egress;
  connections: TenantConnections;
  timeoutMs: number;
  effectKey: string;
  signal: AbortSignal;
  traceparent?: string;
  correlationId?: string;
};

/**
 * The built-in tool `http_request`. The model has chosen the address, so the model gets whatever follows from it: each status is a
 * result, and an address that is refused or cannot be reached is a ToolRejection.
 * @throws ToolRejection; RetryableError `tool_timeout`
 */
export async function httpRequest(args: JsonObject, call: Call): Promise<Json> {
  const { egress, connections, effectKey, traceparent, correlationId, ...limits } = call;
  const parsed = Arguments.safeParse(args);
  if (!parsed.success) throw new ToolRejection(z.prettifyError(parsed.error));
  const { url: address, method: named, headers: ofModel, body = null } = parsed.data;
  const url = new URL(address);
  const method = named ?? "GET";
  const [wrong] = headerErrors(ofModel ?? {});
  if (wrong !== undefined) throw new ToolRejection(`${wrong.path} ${wrong.message}`);
  if (url.username !== "" || url.password !== "")
    throw new ToolRejection("the URL must have no user or password");
  const isRead = method === "GET" || method === "HEAD";
  if (isRead && body !== null) throw new ToolRejection(`a ${method} request has no body`);
  const context = {
    ...(traceparent !== undefined && { traceparent }),
    ...correlationHeader(correlationId),
  };
  const type = body === null || hasContentType(ofModel ?? {}) ? {} : { "content-type": typeOf(body) };
  const headers = { ...context, ...type, ...ofModel, ...(!isRead && { "Idempotency-Key": effectKey }) };
  const request = {
    url,
    method,
    headers,
    body,
    ...limits,
    ...(isRead && { connections }),
    timeoutCode: "tool_timeout",
    maxResponseBytes: MAX_RESPONSE_BYTES,
  };
  return resultOf(await send(request, egress).catch(reportToModel));
}

function hasContentType(headers: Readonly<Record<string, string>>): boolean {
  return Object.keys(headers).some((name) => name.toLowerCase() === "content-type");
}

/** Servers do not read a body without a type, and models leave it out. */
function typeOf(body: string): string {
  const value = parseJson(body);
  return typeof value === "object" && value !== null ? "application/json" : "text/plain; charset=utf-8";
}

function resultOf({ status, headers, body }: OutboundResponse): Json {
  return {
    status,
    content_type: headers["content-type"] ?? null,
    ...(headers["location"] !== undefined && { location: headers["location"] }),
    body: jsonOrText(body),
  };
}

function reportToModel(error: unknown): never {
  const isOfAddress =
    error instanceof TerminalError || (error instanceof RetryableError && error.code === "unreachable");
  if (!isOfAddress) throw error;
  throw new ToolRejection(error.message, { code: error.code, cause: error });
}
