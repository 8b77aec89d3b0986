import { isSpecType } from "@modelcontextprotocol/client";
import type { JSONRPCMessage } from "@modelcontextprotocol/client";
import { z } from "zod";

/** Where `readable` puts an `inputSchema` that the library cannot read. */
export const SCHEMA_IN_META = "synapse-edge/inputSchema";

const Fields = z.looseObject({});
const WithTools = z.looseObject({ result: z.looseObject({ tools: z.array(z.unknown()) }) });
const WithContent = z.looseObject({
  result: z.looseObject({ content: z.union([z.array(z.unknown()), z.null()]) }),
});

/**
 * A message as the library can read it. It refuses a whole list of tools for one field of one tool, and a whole result for one field of
 * null, which serializers write for what is not set. So it gets of a tool what this client reads, and no such fields.
 */
export function readable<Message extends JSONRPCMessage>(message: Message): Message {
  const list = WithTools.safeParse(message);
  if (list.success) {
    const { tools, ...rest } = list.data.result;
    return { ...message, result: { ...withoutNulls(rest), tools: tools.map(readableTool) } };
  }
  const answer = WithContent.safeParse(message);
  if (!answer.success) return message;
  const { content, ...rest } = answer.data.result;
  return { ...message, result: { ...withoutNulls(rest), content: (content ?? []).map(readablePart) } };
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

function readablePart(part: unknown): unknown {
  const fields = Fields.safeParse(part);
  return fields.success ? withoutNulls(fields.data) : part;
}

function withoutNulls(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));
}
