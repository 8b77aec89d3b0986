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
  const repeats = repeatsOf(answers, unknown);
  const done = new Set(results.flatMap((message) => (message.role === "tool" ? [message.tool_call_id] : [])));
  return last.tool_calls
    .map((call, i) => ({
      ...call,
      at: repeats.get(call) ?? nameOf(`tool.${answers.length}.${i + 1}`),
    }))
    .filter(({ id }) => !done.has(id));
}

/**
 * The calls of the last answer that repeat an earlier call whose outcome is unknown, with the name of that one: the newest earlier call of
 * this tool with these arguments. Only the first such call of an answer repeats the earlier one: another one with the same arguments is a
 * new call.
 */
function repeatsOf(
  answers: readonly Answer[],
  unknown: ReadonlyMap<string, string>,
): ReadonlyMap<ToolCall, string> {
  const repeats = new Map<ToolCall, string>();
  // The arguments of all earlier calls may have 16 MiB, and become texts only for this comparison.
  if (unknown.size === 0) return repeats;
  const earlier = answers.slice(0, -1).flatMap(({ tool_calls }) => tool_calls);
  const newest = new Map(earlier.map((call) => [textOf(call), call.id]));
  const seen = new Set<string>();
  for (const call of answers.at(-1)?.tool_calls ?? []) {
    const text = textOf(call);
    const at = seen.has(text) ? undefined : unknown.get(newest.get(text) ?? "");
    seen.add(text);
    if (at !== undefined) repeats.set(call, at);
  }
  return repeats;
}

function textOf({ name, args }: ToolCall): string {
  return JSON.stringify([name, args]);
}
