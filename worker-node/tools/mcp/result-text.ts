import type { CallToolResult } from "@modelcontextprotocol/client";
import { credentialsOf } from "../../../shared/contracts/definition/tool-secrets.ts";
import type { McpServer } from "../../../shared/contracts/definition/index.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import { redact } from "../../../shared/security/redact.ts";
import { parseJson } from "../../engine/parse-json.ts";
import { ToolRejection } from "../../engine/step-errors.ts";
import { quote, withoutWords } from "./server-error.ts";

type Content = { type: string; [field: string]: unknown };

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
  const answer = withoutCredentials(
    result.structuredContent === undefined ? text : JSON.stringify(result.structuredContent),
    server,
  );
  return parseJson(answer) ?? answer;
}

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
