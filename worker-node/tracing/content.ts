import type { Json } from "../../shared/contracts/json.ts";
import type { ToolCall } from "../engine/ports.ts";

/** What a span may hold of one text, and of all of them: an attribute that is cut in the middle would not be JSON. */
const MAX_TEXT_CHARS = 4_000;
const MAX_CHARS = 60_000;

type Part = { type: "text" | "tool_call" | "tool_call_response"; [field: string]: Json };
type ContentMessage = { role: string; parts: Part[]; finish_reason?: string };

/** Messages as the conventions write them: JSON. Of many, the last ones. */
export function contentText(messages: readonly ContentMessage[]): string {
  const kept: string[] = [];
  let chars = 0;
  for (const text of messages.toReversed().map((message) => JSON.stringify(message))) {
    chars += text.length;
    if (chars > MAX_CHARS) break;
    kept.unshift(text);
  }
  return `[${kept.join(",")}]`;
}

export function textPart(text: string): Part {
  return { type: "text", content: cutText(text) };
}

export function toolCallPart({ id, name, args }: ToolCall): Part {
  return { type: "tool_call", id, name, arguments: cutText(JSON.stringify(args)) };
}

export function toolResultPart(id: string, content: string): Part {
  return { type: "tool_call_response", id, response: cutText(content) };
}

/** Without its end, if it is too long. */
export function cutText(text: string): string {
  return text.length <= MAX_TEXT_CHARS ? text : `${text.slice(0, MAX_TEXT_CHARS)}…`;
}
