import { isSpecType } from "@modelcontextprotocol/client";
import type { JSONRPCMessage } from "@modelcontextprotocol/client";
import { z } from "zod";
import { STRUCTURED_IN_META, textOfPart } from "./result-text.ts";
import { setMembers } from "./readable-members.ts";

/** Where `readable` puts an `inputSchema` that the library cannot read. */
export const SCHEMA_IN_META = "synapse-edge/inputSchema";

const Fields = z.looseObject({});
const WithTools = z.looseObject({
  result: z.looseObject({ tools: z.union([z.array(z.unknown()), z.null()]) }),
});
/** Some servers write one part, or its text, in place of a list of parts. */
const Content = z.union([z.array(z.unknown()), z.null(), z.string(), z.looseObject({ type: z.string() })]);
const OfTool = z.looseObject({
  result: z.union([
    z.looseObject({ content: Content }),
    z.looseObject({ structuredContent: z.unknown(), content: Content.optional() }),
  ]),
});

/** What servers write for `false`. Any other value of `isError` is that of a failure. */
const False = z.union([z.literal([false, 0]), z.string().regex(/^(?:false|no|0|)$/i)]);

/**
 * A message as the library can read it. It refuses a whole list of tools for one field of one tool, and a whole result for one field of
 * null, which serializers write for what is not set, or for one part that is odd. So it gets of a tool and of a part what this client
 * reads, and no such fields.
 */
export function readable<Message extends JSONRPCMessage>(message: Message): Message {
  const list = WithTools.safeParse(message);
  if (list.success) {
    const { tools, ...rest } = list.data.result;
    return { ...message, result: { ...setMembers(rest), tools: (tools ?? []).map(readableTool) } };
  }
  const answer = OfTool.safeParse(message);
  if (!answer.success) return message;
  const { content, ...rest } = answer.data.result;
  const parts = Array.isArray(content) ? content : [content ?? []].flat();
  const { isError, ...set } = withReadableStructure(setMembers(rest));
  const result = {
    ...set,
    ...(isError !== undefined && { isError: !False.safeParse(isError).success }),
    content: parts.map(readablePart),
  };
  return { ...message, result };
}

function withReadableStructure(result: Record<string, unknown>): Record<string, unknown> {
  const { structuredContent, ...rest } = result;
  if (structuredContent === undefined || Fields.safeParse(structuredContent).success) return result;
  const meta = Fields.safeParse(rest["_meta"]).data ?? {};
  return { ...rest, _meta: { ...meta, [STRUCTURED_IN_META]: structuredContent } };
}

/** What this client reads of a tool. A tool that is no object, or has no name, has the empty name. */
function readableTool(tool: unknown): object {
  const { name, description, inputSchema, execution } = Fields.safeParse(tool).data ?? {};
  const own = {
    name: typeof name === "string" ? name : "",
    ...(typeof description === "string" && { description }),
  };
  const whole = { ...own, inputSchema, ...(execution !== null && { execution }) };
  if (isSpecType.Tool(whole)) return whole;
  return { ...own, inputSchema: { type: "object" }, _meta: { [SCHEMA_IN_META]: inputSchema ?? null } };
}

/** A part that the library would refuse is the text that this client makes of it: the call has been carried out, and has the rest of its result. */
function readablePart(part: unknown): unknown {
  const fields = Fields.safeParse(part);
  const set = fields.success ? setMembers(fields.data) : part;
  return isSpecType.ContentBlock(set) ? set : { type: "text", text: textOfPart(set) };
}
