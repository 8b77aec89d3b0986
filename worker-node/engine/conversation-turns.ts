import { z } from "zod";
import { McpPending } from "./mcp-pending.ts";
import { Summary as HistorySummary } from "../../shared/contracts/chat.ts";
import { Usage } from "../../shared/contracts/journal-entry.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import type { Json } from "../../shared/contracts/json.ts";

/** A tool call in an answer, as the journal keeps it. */
export const ToolCall = z.object({ id: z.string(), name: z.string(), args: JsonValue });
const Appended = z.discriminatedUnion("role", [
  z.object({ role: z.literal("user"), content: z.string() }),
  z.object({
    role: z.literal("assistant"),
    content: z.string(),
    tool_calls: z.array(ToolCall),
    parts: JsonValue.default(null),
  }),
  z.object({ role: z.literal("tool"), tool_call_id: z.string(), tool_name: z.string(), content: z.string() }),
]);
/** A message after the opening of a conversation. */
export type Appended = z.infer<typeof Appended>;
/** A model's answer. */
export type Answer = Extract<Appended, { role: "assistant" }>;

/**
 * A response that a provider makes in the background. `key`: the effect key of the model call. `response`: its id; null: no call may get
 * it any more.
 */
const Background = z.object({ key: z.string(), response: z.string().nullable() });

/** What one turn adds to a conversation: the `data` of the turn's checkpoint. */
export const Turn = z.object({
  messages: z.array(Appended),
  usage: z.array(Usage),
  effects: z.array(z.string()),
  /** The tool call by which an agent delegated the task of this conversation. Absent in the step's own conversation. */
  in: z.string().exactOptional(),
  /** The turn corrects an answer that does not fit the step's `output_schema`. */
  repair: z.literal(true).exactOptional(),
  /** The effect key of a call of a tool with `reconcile`, which is made after this turn. */
  begun: z.string().exactOptional(),
  /** What a call of an MCP tool waits for. The call was made before this turn. */
  pending: McpPending.exactOptional(),
  /** What is known of a model call in the background. */
  background: Background.exactOptional(),
  /** The name of the call whose result the turn holds, if the outcome of that call is unknown. */
  unknown: z.string().exactOptional(),
  /** A text that the model gets in place of the conversation's first `until` messages after the opening. */
  summary: z
    .object({
      text: z.string(),
      until: z.number().int().positive(),
      /** The model has refused the request for the next answer as too long: the request after this turn is a second one. */
      refused: z.literal(true).exactOptional(),
    })
    .exactOptional(),
  /** Of a chat turn: what the model gets in place of the oldest messages of the session's history. */
  history_summary: HistorySummary.exactOptional(),
});
/** A turn of a conversation: see the schema. */
export type Turn = z.infer<typeof Turn>;
/** The text that stands for the oldest messages of a conversation. `until`: their number. */
export type Summary = NonNullable<Turn["summary"]>;

/** The usage in a turn's `data`. The turn has charged it; the step's checkpoint adds it to its totals. */
export function usageOfTurn(data: Json): Usage[] {
  return Turn.parse(data).usage;
}

/** The effect keys of the calls whose outcome a turn's `data` holds. */
export function effectsOfTurn(data: Json): string[] {
  return Turn.parse(data).effects;
}

/** The `data` of a turn that adds nothing to a conversation but what its calls used, and their effect keys. */
export function turnOfUsage(usage: readonly Usage[], effects: readonly string[] = []): Turn {
  return Turn.parse({ messages: [], usage, effects });
}

/** The `data` of a turn that names the response of a model call in the background. */
export function turnOfResponse(key: string, response: string | null): Turn {
  return Turn.parse({ messages: [], usage: [], effects: [], background: { key, response } });
}

/** The response in the background that a turn's `data` names; undefined: it names none. */
export function responseOfTurn(data: Json): Turn["background"] {
  return OfBackground.parse(data).background;
}

/** Only this field is parsed: the rest of a turn may be long. */
const OfBackground = z.object({ background: Background.exactOptional() });

/** Messages with the results of each answer's tool calls in the order of the calls: they are committed as they arrive. */
export function inCallOrder(messages: readonly Appended[]): Appended[] {
  const ordered: Appended[] = [];
  let results: Extract<Appended, { role: "tool" }>[] = [];
  let calls: ReadonlyMap<string, number> = new Map();
  const place = (): void => {
    ordered.push(
      ...results.toSorted((a, b) => (calls.get(a.tool_call_id) ?? -1) - (calls.get(b.tool_call_id) ?? -1)),
    );
    results = [];
  };
  for (const message of messages) {
    if (message.role === "tool") {
      results.push(message);
      continue;
    }
    place();
    ordered.push(message);
    if (message.role === "assistant") calls = placesOf(message.tool_calls);
  }
  place();
  return ordered;
}

/** The place of each call among the calls of its answer; the first, if a model gave two calls the same id. */
function placesOf(calls: readonly { id: string }[]): ReadonlyMap<string, number> {
  return new Map(calls.map(({ id }, place) => [id, place] as const).toReversed());
}
