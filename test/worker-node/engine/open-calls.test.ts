import { expect, test } from "vitest";
import type { Appended } from "../../../worker-node/engine/conversation-turns.ts";
import { openCallsOf } from "../../../worker-node/engine/open-calls.ts";
import { cpuMs } from "../../services/cpu-time.ts";

const callOf = (id: string, q: string) => ({ id, name: "search", args: { q } });
const answer = (...tool_calls: ReturnType<typeof callOf>[]): Appended => ({
  role: "assistant",
  content: "",
  parts: null,
  tool_calls,
});
const result = (id: string): Appended => ({
  role: "tool",
  tool_call_id: id,
  tool_name: "search",
  content: "",
});

test("the first call that repeats one whose outcome is unknown has the name of that one, and another one its own", () => {
  const messages = [
    answer(callOf("a", "x"), callOf("b", "y")),
    result("a"),
    result("b"),
    answer(callOf("c", "x"), callOf("d", "x"), callOf("e", "y")),
  ];
  const open = openCallsOf(messages, new Map([["a", "tool.1.1"]]), (call) => `agent.${call}`);
  expect(open.map(({ id, at }) => [id, at])).toEqual([
    ["c", "tool.1.1"],
    ["d", "agent.tool.2.2"],
    ["e", "agent.tool.2.3"],
  ]);
});

// Fails when each call is compared with each earlier one, which makes texts of the arguments of all of them again and again.
test.each([[new Map<string, string>()], [new Map([["c7", "tool.1.8"]])]])(
  "the calls of an answer are found in little time after thousands of calls with long arguments: %s",
  (unknown) => {
    const calls = Array.from({ length: 5_500 }, (_, i) => callOf(`c${i}`, "x".repeat(2_000) + i));
    const messages = [answer(...calls.slice(0, 5_000)), answer(...calls.slice(5_000))];
    const startedAt = cpuMs();
    expect(openCallsOf(messages, unknown, (call) => call)).toHaveLength(500);
    expect(cpuMs() - startedAt).toBeLessThan(1_500);
  },
);
