import { JsonValue } from "../../shared/contracts/json.ts";
import { RetryableError, TerminalError, ToolRejection } from "../engine/errors.ts";
import { retryAfterOf } from "../models/model-error.ts";
import { fillUrl } from "./fill-url.ts";
import { send } from "../outbound/request.ts";
import type { Tool } from "../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Egress } from "../outbound/egress-guard.ts";
import type { Incoming } from "../outbound/request.ts";

const MAX_BYTES = 1024 * 1024;
const QUOTED_CHARS = 300;

/**
 * Calls a tool of type `http`. GET and DELETE send the arguments that the URL does not use as a query, other methods
 * send all of them as a JSON body. The answer is its JSON (only the keys of `outputSchema`, where it has some), or its
 * text.
 *
 * Refusals (4xx) are ToolRejections that quote the answer; 408, 425, 429, 5xx and a lost connection may pass; 401, 403
 * and redirects are terminal: no other arguments would help. Values of headers are in no error.
 */
export async function callHttpTool(
  tool: Tool,
  args: JsonObject,
  call: { egress: Egress; timeoutMs: number; effectKey: string; signal: AbortSignal },
): Promise<Json> {
  const hasBody = tool.method !== "GET" && tool.method !== "DELETE";
  const headers = {
    accept: "application/json, text/*;q=0.9, */*;q=0.1",
    ...(hasBody ? { "content-type": "application/json" } : {}),
    ...tool.headers,
    "Idempotency-Key": call.effectKey,
  };
  const body = hasBody ? JSON.stringify(args) : null;
  const url = fillUrl(tool.url, args, !hasBody);
  const { egress, timeoutMs, signal } = call;
  const limits = { timeoutMs, timeoutCode: "tool_timeout", answerBytes: MAX_BYTES };
  const answer = await send({ url, method: tool.method, headers, body, ...limits, signal }, egress);
  if (answer.status >= 200 && answer.status < 300) return keep(valueOf(answer), tool);
  throw failure(answer, tool);
}

function failure({ status, headers, body }: Incoming, tool: Tool): Error {
  const said = `the tool ${tool.name} answered HTTP ${status}`;
  if (status === 401 || status === 403) {
    return new TerminalError("tool_unauthorized", `${said}: its headers do not let us in`);
  }
  if (status < 300) return new TerminalError("tool_redirected", `${said}: protocols are not switched`);
  if (status < 400) return new TerminalError("tool_redirected", `${said}: redirects are not followed`);
  if (status >= 500 || status === 408 || status === 425 || status === 429) {
    const retryAfterMs = retryAfterOf(headers, Date.now());
    return new RetryableError("tool_unavailable", said, { retryAfterMs, answered: true });
  }
  return new ToolRejection(`${said}: ${withoutSecrets(body, tool).slice(0, QUOTED_CHARS)}`);
}

/** A server may quote the request that it refuses. */
function withoutSecrets(text: string, tool: Tool): string {
  const parts = Object.values(tool.headers).flatMap((value) => [value, ...value.split(/\s+/)]);
  return parts
    .filter((part) => part.length >= 4)
    .toSorted((a, b) => b.length - a.length)
    .reduce((clean, part) => clean.replaceAll(part, "***"), text);
}

function valueOf({ body }: Incoming): Json {
  try {
    const parsed = JsonValue.safeParse(JSON.parse(body));
    return parsed.success ? parsed.data : body;
  } catch {
    return body;
  }
}

function keep(value: Json, tool: Tool): Json {
  const properties = tool.outputSchema?.["properties"];
  if (!isObject(value) || !isObject(properties) || Object.keys(properties).length === 0) return value;
  return Object.fromEntries(Object.entries(value).filter(([key]) => Object.hasOwn(properties, key)));
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
