import { argumentsOf } from "../engine/tool-arguments.ts";
import { AnswerParts } from "./answer-parts.ts";
import { sendableName } from "./tool-name.ts";
import type { ModelMessage } from "ai";
import type { Message, ToolCall } from "../engine/ports.ts";

type AssistantMessage = Extract<Message, { role: "assistant" }>;
type UserContent = Extract<ModelMessage, { role: "user" }>["content"];
type SdkPart = Exclude<Extract<ModelMessage, { role: "assistant" }>["content"], string>[number];

/**
 * Messages as the SDK takes them, without those of nothing but blank text, which providers refuse. Messages of the user that follow each
 * other become one: templates of models refuse a conversation whose roles do not alternate.
 */
export function toSdkMessages(messages: readonly Message[]): ModelMessage[] {
  const joined: ModelMessage[] = [];
  for (const message of messages.flatMap(toSdkMessage)) {
    const last = joined.at(-1);
    if (message.role === "user" && last?.role === "user")
      joined.splice(-1, 1, { role: "user", content: joinedContent(last.content, message.content) });
    else joined.push(message);
  }
  return joined;
}

function joinedContent(first: UserContent, second: UserContent): UserContent {
  if (typeof first === "string" && typeof second === "string") return `${first}\n\n${second}`;
  return [...partsOf(first), ...partsOf(second)];
}

function partsOf(content: UserContent): Exclude<UserContent, string> {
  return typeof content === "string" ? [{ type: "text", text: content }] : content;
}

function toSdkMessage(message: Message): ModelMessage[] {
  switch (message.role) {
    case "system":
      return isBlank(message.content) ? [] : [message];
    case "user":
      return toUser(message);
    case "assistant":
      return toAssistant(message);
    case "tool": {
      const output = { type: "text" as const, value: message.content };
      const result = {
        type: "tool-result" as const,
        toolCallId: message.tool_call_id,
        toolName: sendableName(message.tool_name),
        output,
      };
      return [{ role: "tool", content: [result] }];
    }
  }
}

function toUser({ content, images = [] }: Extract<Message, { role: "user" }>): ModelMessage[] {
  const text = isBlank(content) ? [] : [{ type: "text" as const, text: content }];
  if (images.length === 0) return text.length === 0 ? [] : [{ role: "user", content }];
  return [{ role: "user", content: [...text, ...images.map(toImage)] }];
}

/** An image as the SDK takes it: its base64, and the type that the data URI names. */
function toImage(uri: string) {
  const [, mediaType = "image/*", data = ""] = /^data:([^;,]+);base64,(.*)$/s.exec(uri) ?? [];
  return { type: "file" as const, mediaType, data };
}

function toAssistant(message: AssistantMessage): ModelMessage[] {
  const parsed = AnswerParts.safeParse(message.parts);
  const { content, message: options }: AnswerParts = parsed.success ? parsed.data : plainParts(message);
  const calls = new Map((message.tool_calls ?? []).map((call) => [call.id, call]));
  const parts = content.flatMap((part): SdkPart[] => {
    const providerOptions = part.options === undefined ? {} : { providerOptions: part.options };
    if (part.type === "tool-call") {
      const call = calls.get(part.id);
      return call === undefined ? [] : [{ ...toCall(call), ...providerOptions }];
    }
    // A signature may stand on a text that is empty.
    if (isBlank(part.text) && part.options === undefined) return [];
    return [{ type: part.type, text: part.text, ...providerOptions }];
  });
  if (parts.length === 0) return [];
  return [
    { role: "assistant", content: parts, ...(options === undefined ? {} : { providerOptions: options }) },
  ];
}

function plainParts({ content, tool_calls = [] }: AssistantMessage): AnswerParts {
  return {
    content: [
      { type: "text", text: content },
      ...tool_calls.map(({ id }) => ({ type: "tool-call" as const, id })),
    ],
  };
}

function toCall(call: ToolCall) {
  return {
    type: "tool-call" as const,
    toolCallId: call.id,
    toolName: sendableName(call.name),
    // Providers take objects alone.
    input: argumentsOf(call.args) ?? {},
  };
}

function isBlank(text: string): boolean {
  return text.trim() === "";
}
