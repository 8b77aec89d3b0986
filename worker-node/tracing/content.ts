import type { Json } from "../../shared/contracts/json.ts";
import type { ToolCall } from "../engine/ports.ts";

/** The most characters of one text in a span, and of all messages. Whole messages are left out, because JSON that is cut is no JSON. */
const MAX_TEXT_CHARS = 4_000;
const MAX_CHARS = 60_000;

type Part = { type: "text" | "tool_call" | "tool_call_response"; [field: string]: Json };
type ContentMessage = { role: string; parts: Part[]; finish_reason?: string };

/** Messages as JSON, in the form of OpenTelemetry's conventions for generative AI. Of many messages only the last ones. */
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

/** A text as a part of a message. */
export function textPart(text: string): Part {
  return { type: "text", content: cutText(text) };
}

/** A tool call as a part of an answer. */
export function toolCallPart({ id, name, args }: ToolCall): Part {
  return { type: "tool_call", id, name, arguments: cutText(JSON.stringify(args)) };
}

/** The result of a tool call as a part of a message. */
export function toolResultPart(id: string, content: string): Part {
  return { type: "tool_call_response", id, response: cutText(content) };
}

/** A text without its end, if it has more than 4,000 characters. */
export function cutText(text: string): string {
  return text.length <= MAX_TEXT_CHARS ? text : `${text.slice(0, MAX_TEXT_CHARS)}…`;
}
