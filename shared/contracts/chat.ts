import { z } from "zod";
import { FileReference } from "./artifact.ts";
import { SessionId } from "./ids.ts";
import { JsonValue } from "./json.ts";
import type { Json, JsonObject } from "./json.ts";

/** The id of the only step of a turn. */
const CHAT_STEP = "chat";

/** A turn without a final answer fails after this time, and after this many answers with tool calls. */
const TURN_MINUTES = 30;
const MAX_ANSWERS = 30;

/** The id of the orchestration that a turn executes. No saved definition can have it: their ids have no colon. */
export function turnDefinitionId(agent: string): string {
  return `chat:${agent}`;
}

/**
 * The definition of a turn with this version of an agent: one step. It holds the agent itself, so that the turn is pinned to
 * that version.
 * @param agent the agent as it is stored
 */
export function turnDefinition(id: string, name: string, agent: Json): string {
  const step = {
    id: CHAT_STEP,
    name,
    type: "agent",
    agent_id: id,
    max_turns: MAX_ANSWERS,
    timeout_seconds: TURN_MINUTES * 60,
  };
  const definition = { id, name, entry_step_id: CHAT_STEP, timeout_minutes: TURN_MINUTES, steps: [step] };
  return JSON.stringify({ ...definition, agent });
}

const TurnDefinition = z.object({ agent: z.record(z.string(), JsonValue) });

/** The agent in the definition of a turn; null in any other definition. */
export function agentOfTurn(definition: unknown): JsonObject | null {
  return TurnDefinition.safeParse(definition).data?.agent ?? null;
}

/** A call of a tool, as the history shows it. */
const ToolCallShown = z.object({ tool: z.string(), args: JsonValue });
/** The calls of tools of one turn, in the order in which they were made. */
export const ToolCalls = z.array(ToolCallShown);
export type ToolCalls = z.infer<typeof ToolCalls>;

/** The answer of a turn, which the statement that ends its run adds to the history. `cut`: the turn ended before the answer. */
export const ChatReply = z.object({
  session: SessionId,
  content: z.string(),
  tool_calls: ToolCalls,
  cut: z.boolean(),
});
export type ChatReply = z.infer<typeof ChatReply>;

/** The summary that replaces the beginning of a long history for the model. `covers`: the base of the last turn in it. */
export const Summary = z.object({ content: z.string(), covers: z.string() });
export type Summary = z.infer<typeof Summary>;

/**
 * The history before a turn. The messages are those that the summary does not cover, the oldest first. `cut`: the turn ended before this
 * answer did; `calls` are the calls of tools in it. An edge of an earlier version sends neither.
 */
export const ChatHistory = z.object({
  summary: Summary.nullable(),
  messages: z.array(
    z.object({
      base: z.string(),
      role: z.enum(["user", "assistant"]),
      content: z.string(),
      images: z.number().int(),
      attachments: z.array(FileReference).exactOptional(),
      cut: z.boolean().exactOptional(),
      calls: z.string().exactOptional(),
    }),
  ),
});
export type ChatHistory = z.infer<typeof ChatHistory>;

const AgentTurn = z.object({
  messages: z.array(
    z.looseObject({ tool_calls: z.array(z.object({ name: z.string(), args: JsonValue })).default([]) }),
  ),
});

/** The most characters of arguments that a reply holds, as JSON. The arguments of later calls are null. */
const MAX_CALL_CHARS = 256 * 1024;
const MAX_CALLS = 1_000;

/** The tool calls in the committed turns of an agent's step. */
export function callsOfTurns(turns: readonly Json[]): ToolCalls {
  let chars = 0;
  const messages = turns.flatMap((turn) => AgentTurn.safeParse(turn).data?.messages ?? []);
  return messages
    .flatMap(({ tool_calls }) => tool_calls)
    .slice(0, MAX_CALLS)
    .map(({ name: tool, args }) => {
      chars += JSON.stringify(args).length;
      return { tool, args: chars > MAX_CALL_CHARS ? null : args };
    });
}
