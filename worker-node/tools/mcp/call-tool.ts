import { credentialsOf } from "../../../shared/contracts/definition/tool-secrets.ts";
import { isLongInteger } from "../../../shared/contracts/long-integers.ts";
import { JsonValue } from "../../../shared/contracts/json.ts";
import type { McpServer, McpTool } from "../../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { redact } from "../../../shared/security/redact.ts";
import { parseJson } from "../../engine/parse-json.ts";
import { ToolRejection } from "../../engine/step-errors.ts";
import { argumentJson } from "../argument-json.ts";
import type { ReachedServer } from "./sessions.ts";
import { quote } from "./server-error.ts";

/** The field of a call's metadata in which the server gets the effect key: two calls with one key are one call, made twice. */
const EFFECT_KEY = "synapse-edge/idempotency-key";
const MIN_SECRET_CHARS = 4;

type Content = { type: string; [field: string]: unknown };

/**
 * Calls a tool of an MCP server and returns its structured content, else the JSON of its text, else the text. Content that is no text
 * is named in the text and not kept. An answer with `isError` is a ToolRejection that quotes it.
 *
 * The structured content is not held against the tool's `outputSchema`: two versions of the library's validator disagree on what fits.
 * @throws as `Sessions.use`
 */
export async function callMcpTool(
  tool: McpTool,
  args: JsonObject,
  effectKey: string,
  { access, sessions }: ReachedServer,
): Promise<Json> {
  const request = {
    name: tool.tool,
    arguments: sendableArguments(args, tool),
    _meta: { [EFFECT_KEY]: effectKey },
  };
  // Without the definition, the client could not send the headers that protocol 2026-07-28 derives from arguments.
  const toolDefinition = { name: tool.tool, inputSchema: { ...tool.inputSchema, type: "object" as const } };
  const result = await sessions.use(access, ({ client, signal, timeoutMs }) =>
    client.callTool(request, { signal, timeout: timeoutMs, toolDefinition }),
  );
  const text = textOf(result.content);
  if (result.isError === true) throw new ToolRejection(quote(access.server, text) || "it did not say why");
  if (result.structuredContent === undefined) return withoutCredentials(text, access.server);
  return withoutCredentials(JSON.stringify(result.structuredContent), access.server);
}

/** A server may quote what it received. */
function withoutCredentials(text: string, server: McpServer): Json {
  const answer = redact(text, credentialsOf(server), MIN_SECRET_CHARS);
  return parseJson(answer) ?? answer;
}

/** The library writes the request, and JavaScript has no number for an integer beyond 2^53. */
function sendableArguments(args: JsonObject, tool: McpTool): JsonObject {
  const sent = JsonValue.parse(JSON.parse(argumentJson(args, tool.inputSchema)));
  if (typeof sent !== "object" || sent === null || Array.isArray(sent)) return {};
  for (const [name, value] of Object.entries(args)) {
    if (isLongInteger(value) && typeof sent[name] === "number") {
      throw new ToolRejection(`the argument ${name} has more digits than an MCP call can carry as a number`);
    }
  }
  return sent;
}

function textOf(content: readonly Content[]): string {
  return content.map((part) => textOfPart(part)).join("\n");
}

function textOfPart(part: Content): string {
  if (part.type === "text" && typeof part["text"] === "string") return part["text"];
  if (part.type === "resource_link") return `[resource ${String(part["uri"])}]`;
  if (part.type === "resource") return textOfResource(part["resource"]);
  const kind = typeof part["mimeType"] === "string" ? ` ${part["mimeType"]}` : "";
  return `[${part.type}${kind}: not kept]`;
}

function textOfResource(resource: unknown): string {
  if (typeof resource !== "object" || resource === null) return "[resource: not kept]";
  if ("text" in resource && typeof resource.text === "string") return resource.text;
  return `[resource ${"uri" in resource ? String(resource.uri) : ""}: not kept]`;
}
