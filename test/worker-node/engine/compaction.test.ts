import { describe, expect, test } from "vitest";
import { compactAtBytes, windowTokens } from "../../../shared/contracts/model-window.ts";
import { RequestTooLong, TerminalError } from "../../../worker-node/engine/step-errors.ts";
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

  // Fails when each later answer pays for another request, or what the provider has withheld is not charged.
  test("goes on without a summary that its model withholds, which is requested once and charged", async () => {
    const withheld = new TerminalError("content_filter", "withheld");
    const replies = [search(1), search(2), search(3), withheld, search(4), search(5), "Done."];
    const fake = fakeContext({ agents, tools, answers: replies });
    expect((await run(step(fields), fake.context)).response).toBe("Done.");
    expect(fake.modelCalls.filter(({ effectKey }) => effectKey.includes("summary"))).toHaveLength(1);
    expect(fake.chargedFailed).toEqual(["run_1:s:1:summary.1"]);
  });

  test("that is too long only because of its task is not summarized at each turn", async () => {
    const fake = fakeContext({
      agents,
      tools: { search: () => "short" },
      answers: [search(1), search(2), "Done."],
    });
    await run(step({ ...fields, prompt_template: "x".repeat(11_000) }), fake.context);
    expect(fake.modelCalls).toHaveLength(3);
  });

  test.each<[string, number]>([
    ["openai/gpt-4.1-mini", 1_800_000],
    ["claude-sonnet-4-5", 360_000],
    ["openai-compatible/anthropic/claude-sonnet-4-5", 360_000],
    ["openai-compatible/m", 57_600],
    // Ollama's own window, however large that of the model is.
    ["ollama/llama3", 7_373],
    ["ollama/gemini-3-flash", 7_373],
    ["ollama/gpt-oss:120b-cloud", 230_400],
    ["no such name", 230_400],
  ])("has the limit of its model where the agent has none: %s", async (model, bytes) => {
    expect(compactAtBytes(await windowTokens(model, async () => null))).toBe(bytes);
  });

  // Fails when a character counts the same in every language: a token has four of English, and about one of Japanese.
  test("counts bytes, so that it is summarized before Chinese or Japanese fill the window", async () => {
    const callsWith = async (letter: string): Promise<string[]> => {
      const written = { search: () => letter.repeat(700) };
      const replies = [search(1), search(2), search(3), "About owls.", "Done."];
      const fake = fakeContext({ agents, tools: written, answers: replies });
      await run(step(fields), fake.context);
      return fake.modelCalls.map(({ effectKey }) => effectKey.replace("run_1:s:1:", ""));
    };
    expect(await callsWith("x")).not.toContain("summary.1");
    expect(await callsWith("梟")).toContain("summary.1");
  });

  test("has the limit of the window that the operator has set for its model", async () => {
    const askedModels: unknown[] = [];
    const tokens = await windowTokens("ollama/llama3", async (name) => {
      askedModels.push(name);
      return 32_768;
    });
    expect([compactAtBytes(tokens), askedModels]).toEqual([
      58_982,
      [{ provider: "ollama", model: "llama3" }],
    ]);
  });

  // Fails when the window of the default model is not asked for: a small one would be cut in silence.
  test("has the limit of the default model where neither step nor agent names one", async () => {
    const withoutModel = { agent_1: { id: "agent_1", name: "A", tools: ["search"] } };
    const replies = [search(1), search(2), "It is about q1.", "Done."];
    const fake = fakeContext({ agents: withoutModel, tools, answers: replies, windowTokens: 4_096 });
    expect((await run(step(fields), fake.context)).response).toBe("Done.");
    expect(fake.modelCalls.map(({ effectKey }) => effectKey.replace("run_1:s:1:", ""))).toContain(
      "summary.1",
    );
  });

  test("has no result of a tool that fills the window of its model", async () => {
    const large = { search: () => "x".repeat(50_000) };
    const fake = fakeContext({ agents, tools: large, answers: [search(1), "Done."], windowTokens: 4_096 });
    await run(step(fields), fake.context);
    const results = fake.modelCalls[1]?.messages.flatMap((m) => (m.role === "tool" ? [m.content] : [])) ?? [];
    expect(results.map(({ length }) => length).every((chars) => chars < 4_000)).toBe(true);
    const japanese = { search: () => "梟".repeat(50_000) };
    const other = fakeContext({
      agents,
      tools: japanese,
      answers: [search(1), "Done."],
      windowTokens: 4_096,
    });
    await run(step(fields), other.context);
    const first = other.modelCalls[1]?.messages.find(({ role }) => role === "tool")?.content ?? "";
    expect(first.split("梟")).toHaveLength(Math.floor(3_686 / 3) + 1 + 1);
    // The shortened result says that something is left out.
    expect(results[0]).toMatch(/[^x]/);
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

describe("a conversation that the model refuses as too long", () => {
  const refused = new RequestTooLong("model_bad_request", "too long");
  const keysOf = ({ modelCalls }: FakeContext) =>
    modelCalls.map(({ effectKey }) => effectKey.replace("run_1:s:1:", ""));

  // Fails when an agent gives up although a shorter conversation would do, or asks with another body under the same key.
  test("is compacted once, and the answer is requested again", async () => {
    const replies = [search(1), refused, "It is about q1.", "Done."];
    const fake = fakeContext({ agents, tools, answers: [search(0), ...replies] });
    expect((await run(step(fields), fake.context)).response).toBe("Done.");
    expect(keysOf(fake)).toEqual(["model.1", "model.2", "model.3", "summary.1", "model.3.shorter"]);
    expect(fake.modelCalls.every(isWhole)).toBe(true);
  });

  // Fails when the second request has the key of the request that was refused, and a provider that knows the key refuses it again.
  test("is requested under its second key also when a crash comes after the summary", async () => {
    const before = fakeContext({
      agents,
      tools,
      answers: [search(0), search(1), refused, "It is about q1.", new Error("crash")],
    });
    await expect(run(step(fields), before.context)).rejects.toThrow("crash");
    const turns = before.committedTurns.map(({ data }) => data);
    const after = fakeContext({ agents, tools, turns, answers: [search(2), "Done."] });
    expect((await run(step(fields), after.context)).response).toBe("Done.");
    expect(keysOf(after)).toEqual(["model.3.shorter", "model.4"]);
    const refusedAgain = fakeContext({ agents, tools, turns, answers: [refused] });
    await expect(run(step(fields), refusedAgain.context)).rejects.toBe(refused);
  });

  test("fails the step when the model refuses the summary of it too", async () => {
    const replies = [search(0), search(1), refused, "It is about q1.", refused];
    const fake = fakeContext({ agents, tools, answers: replies });
    await expect(run(step(fields), fake.context)).rejects.toBe(refused);
  });

  test("fails the step when it cannot be made shorter", async () => {
    const fake = fakeContext({ agents, tools, answers: [search(0), refused] });
    await expect(run(step(fields), fake.context)).rejects.toBe(refused);
    expect(keysOf(fake)).toEqual(["model.1", "model.2"]);
  });
});
