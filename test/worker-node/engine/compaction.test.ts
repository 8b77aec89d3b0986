import { describe, expect, test } from "vitest";
import { compactAtChars } from "../../../shared/contracts/model-window.ts";
import { fakeContext, run, step } from "./context.ts";
import type { FakeAnswer, FakeContext } from "./context.ts";
import type { Json } from "../../../shared/contracts/json.ts";

const fields = { type: "agent", agent_id: "agent_1", prompt_template: "Find it.", max_turns: 9 };
const agents = {
  agent_1: { id: "agent_1", name: "A", model: "test/m", tools: ["search"], compact_at_chars: 10_000 },
};
const search = (n: number): FakeAnswer => ({
  calls: [
    { id: `a${n}`, name: "search", args: { query: `q${n}` } },
    { id: `b${n}`, name: "search", args: { query: `r${n}` } },
  ],
});
const tools = { search: (args: Json): Json => `${JSON.stringify(args)} ${"x".repeat(2_000)}` };
const answers = [
  search(1),
  search(2),
  search(3),
  "It is all about q1.",
  search(4),
  search(5),
  "Both.",
  "Done.",
];

/** Whether each result of a call follows the answer that made the call, as providers demand. */
function isWhole({ messages }: FakeContext["modelCalls"][number]): boolean {
  const made = messages.flatMap((m) =>
    m.role === "assistant" ? (m.tool_calls ?? []).map(({ id }) => id) : [],
  );
  const results = messages.flatMap((m) => (m.role === "tool" ? [m.tool_call_id] : []));
  return made.join() === results.join();
}

describe("a conversation beyond its limit", () => {
  test("gets a summary by the same model in place of its oldest messages, and calls stay with their results", async () => {
    const fake = fakeContext({ agents, tools, answers });
    expect((await run(step(fields), fake.context)).response).toBe("Done.");
    const keys = fake.modelCalls.map(({ effectKey }) => effectKey.replace("run_1:s:1:", ""));
    expect(keys).toEqual([
      "model.1",
      "model.2",
      "model.3",
      "summary.1",
      "model.4",
      "model.5",
      "summary.2",
      "model.6",
    ]);
    const [summary, afterIt] = fake.modelCalls.slice(3);
    expect(summary).toMatchObject({ model: "test/m", tools: [] });
    expect(summary?.messages.at(-1)?.content).toContain('search({"query":"q1"})');
    expect(afterIt?.messages.map(({ role }) => role)).toEqual(["user", "user", "assistant", "tool", "tool"]);
    expect(afterIt?.messages[1]?.content).toContain("It is all about q1.");
    // The next summary is made of the one before, too.
    expect(fake.modelCalls[6]?.messages.at(-1)?.content).toContain("It is all about q1.");
    const last = fake.modelCalls.at(-1)?.messages.flatMap((m) => (m.role === "tool" ? [m.tool_call_id] : []));
    expect(last).toEqual(["a5", "b5"]);
    expect(fake.modelCalls.every(isWhole)).toBe(true);
    expect(fake.noted.filter(({ type }) => type === "context_compacted")).toMatchObject([
      { message_count: 6, chars_before: expect.any(Number) },
      { message_count: 6 },
    ]);
  });

  test("keeps no result whose call is in the summary, although the result alone would have room", async () => {
    const uneven = {
      search: (args: Json): Json => "x".repeat(/"q\d/.test(JSON.stringify(args)) ? 2_200 : 50),
    };
    const replies = [search(1), search(2), search(3), search(4), "It is about q1.", "Done."];
    const fake = fakeContext({ agents, tools: uneven, answers: replies });
    await run(step(fields), fake.context);
    expect(fake.modelCalls.at(-1)?.effectKey).toBe("run_1:s:1:model.5");
    expect(fake.modelCalls.every(isWhole)).toBe(true);
  });

  test("is summarized once, also when a crash comes after the summary", async () => {
    const whole = fakeContext({ agents, tools, answers });
    await run(step(fields), whole.context);
    const turns = whole.committedTurns.length;
    for (let crashAtTurn = 1; crashAtTurn <= turns; crashAtTurn++) {
      const before = fakeContext({ agents, tools, answers, crashAtTurn });
      await expect(run(step(fields), before.context)).rejects.toThrow("crash");
      const paid = before.committedTurns.flatMap(({ usage }) => usage).length;
      const after = fakeContext({
        agents,
        tools,
        answers: answers.slice(paid),
        turns: before.committedTurns.map(({ data }) => data),
      });
      expect((await run(step(fields), after.context)).response).toBe("Done.");
      expect(after.modelCalls.map(({ messages }) => messages)).toEqual(
        whole.modelCalls.slice(paid).map(({ messages }) => messages),
      );
    }
  });

  test("only because of its task is not summarized at each turn", async () => {
    const fake = fakeContext({
      agents,
      tools: { search: () => "short" },
      answers: [search(1), search(2), "Done."],
    });
    await run(step({ ...fields, prompt_template: "x".repeat(11_000) }), fake.context);
    expect(fake.modelCalls).toHaveLength(3);
  });

  test.each<[string | null, number]>([
    ["openai/gpt-4.1-mini", 1_800_000],
    ["claude-sonnet-4-5", 360_000],
    ["ollama/llama3", 14_400],
    [null, 230_400],
  ])("has the limit of its model where the agent has none: %s", (model, chars) => {
    expect(compactAtChars(model)).toBe(chars);
  });

  // Fails when the bytes of an image count as text: a picture of 1 MB would have every conversation summarized.
  test("is not beyond it because of the images of a chat message", async () => {
    const chat = {
      images: [`data:image/png;base64,${"A".repeat(20_000)}`],
      attached: async () => [],
      history: async () => ({ summary: null, messages: [] }),
      saveSummary: async () => {},
    };
    const fake = fakeContext({ agents, tools, chat, answers: [search(1), search(2), "Done."] });
    expect((await run(step(fields), fake.context)).response).toBe("Done.");
  });
});
