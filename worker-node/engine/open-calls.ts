import type { Answer, Appended } from "./conversation-turns.ts";
import type { ToolCall } from "./ports.ts";

/** A tool call that has no result yet. `at`: its name in the visit and in effect keys, as `tool.2.1`. */
export type OpenCall = ToolCall & { at: string };

/**
 * The tool calls of the last answer that have no result yet.
 * @param unknown the names of calls with an unknown outcome, by the ids of the tool calls
 */
export function openCallsOf(
  messages: readonly Appended[],
  unknown: ReadonlyMap<string, string>,
  nameOf: (call: string) => string,
): OpenCall[] {
  const answers = messages.filter((message) => message.role === "assistant");
  const last = answers.at(-1);
  if (last === undefined) return [];
  // Some models give the calls of each answer the same ids.
  const results = messages.slice(messages.lastIndexOf(last));
  const done = new Set(results.flatMap((message) => (message.role === "tool" ? [message.tool_call_id] : [])));
  return last.tool_calls
    .map((call, i) => ({
      ...call,
      at: repeated(call, answers, unknown) ?? nameOf(`tool.${answers.length}.${i + 1}`),
    }))
    .filter(({ id }) => !done.has(id));
}

/**
 * The name of the newest earlier call of this tool with these arguments, if the outcome of that call is unknown. Only the first such call
 * of an answer repeats the earlier one: another one with the same arguments is a new call.
 */
function repeated(
  call: ToolCall,
  answers: readonly Answer[],
  unknown: ReadonlyMap<string, string>,
): string | undefined {
  const args = JSON.stringify(call.args);
  const isSame = (other: ToolCall): boolean =>
    other.name === call.name && JSON.stringify(other.args) === args;
  const before = answers
    .slice(0, -1)
    .flatMap(({ tool_calls }) => tool_calls)
    .findLast(isSame);
  if (before === undefined || answers.at(-1)?.tool_calls.find(isSame)?.id !== call.id) return undefined;
  return unknown.get(before.id);
}
