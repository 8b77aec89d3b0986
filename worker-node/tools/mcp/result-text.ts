import type { CallToolResult } from "@modelcontextprotocol/client";
import { z } from "zod";
import { credentialsOf } from "../../../shared/contracts/definition/tool-secrets.ts";
import type { McpServer } from "../../../shared/contracts/definition/index.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import { redact } from "../../../shared/security/redact.ts";
import { jsonOrText, parseJson } from "../../engine/parse-json.ts";
import { ToolRejection } from "../../engine/step-errors.ts";
import { quote, withoutWords } from "./server-error.ts";

/** Where a message has structured content that is no object: before protocol 2026-07-28 the library refuses it. */
export const STRUCTURED_IN_META = "synapse-edge/structuredContent";

/**
 * The value of a tool's result: its structured content, else the JSON of its text, else the text. Content that is no text is named in
 * the text and not kept.
 *
 * The structured content is not held against the tool's `outputSchema`: two versions of the library's validator disagree on what fits.
 * @throws ToolRejection for a result with `isError`: its message quotes the text, and the model gets all of the result
 */
export function valueOfResult(result: CallToolResult, server: McpServer): Json {
  const text = result.content.map((part) => textOfPart(part)).join("\n");
  if (result.isError === true) throw rejectionOf(text, result, server);
  const structured = structureOf(result, text) ?? ownResultOf(result);
  const answer = withoutCredentials(structured === undefined ? text : JSON.stringify(structured), server);
  return jsonOrText(answer);
}

/** The structured content; undefined: there is none, or it is empty beside a text, as serializers write a table that is not set. */
function structureOf({ structuredContent, _meta }: CallToolResult, text: string): unknown {
  if (_meta !== undefined && Object.hasOwn(_meta, STRUCTURED_IN_META)) return _meta[STRUCTURED_IN_META];
  return text !== "" && EmptyTable.safeParse(structuredContent).success ? undefined : structuredContent;
}

/**
 * A result without the members of the protocol is the tool's own; the first protocol had it in `toolResult`. The library adds an empty
 * list of parts to it.
 */
function ownResultOf(result: CallToolResult): unknown {
  const members = Object.entries(result).filter(([name]) => !OF_PROTOCOL.has(name));
  if (result.content.length > 0 || members.length === 0) return undefined;
  const own: Record<string, unknown> = Object.fromEntries(members);
  return own["toolResult"] ?? own;
}

const OF_PROTOCOL: ReadonlySet<string> = new Set([
  "content",
  "structuredContent",
  "isError",
  "_meta",
  "resultType",
]);

/** Structured content has what the text of an error leaves out, such as the fields that are wrong. Servers often repeat it as text. */
function rejectionOf(text: string, { structuredContent }: CallToolResult, server: McpServer): ToolRejection {
  const structured = structuredContent === undefined ? "" : JSON.stringify(structuredContent);
  const isRepeated = JSON.stringify(parseJson(text)) === structured;
  const parts = isRepeated ? [text] : [text, structured];
  const said = parts.filter((part) => part !== "").join("\n");
  return new ToolRejection(quote(server, said) || "it did not say why", {
    whole: withoutWords(server, said),
  });
}

/** A server may quote what it received. */
export function withoutCredentials(text: string, server: McpServer): string {
  return redact(text, credentialsOf(server));
}

const EmptyTable = z.strictObject({});
const Part = z.looseObject({ type: z.string() });
const Link = z.looseObject({
  uri: z.string(),
  name: z.string().optional().catch(undefined),
  title: z.string().optional().catch(undefined),
  description: z.string().optional().catch(undefined),
});

/** What the result has of a part of the content, also of one that the protocol does not have. */
export function textOfPart(content: unknown): string {
  const part = Part.safeParse(content).data;
  if (part === undefined) return typeof content === "string" ? content : "[content: not kept]";
  if (part.type === "text") return textIn(part["text"]);
  if (part.type === "resource_link") return textOfLink(part);
  if (part.type === "resource") return textOfResource(part["resource"]);
  const kind = typeof part["mimeType"] === "string" ? ` ${part["mimeType"]}` : "";
  return `[${part.type}${kind}: not kept]`;
}

/** Some servers put a value where the text should be. */
function textIn(text: unknown): string {
  return typeof text === "string" ? text : (JSON.stringify(text) ?? "");
}

/** A link has what a model needs to choose it: its name, and what it is. */
function textOfLink(part: unknown): string {
  const link = Link.safeParse(part).data;
  if (link === undefined) return "[resource: not kept]";
  const about = [link.title ?? link.name, link.description].filter((text) => text !== undefined);
  return `[resource ${[link.uri, ...about].join(": ")}]`;
}

function textOfResource(resource: unknown): string {
  if (typeof resource !== "object" || resource === null) return "[resource: not kept]";
  if ("text" in resource && typeof resource.text === "string") return resource.text;
  return `[resource ${"uri" in resource ? String(resource.uri) : ""}: not kept]`;
}
