import { describe, expect, test } from "vitest";
import type { ChatHistory, Summary } from "../../../shared/contracts/chat.ts";
import { RequestTooLong, TerminalError } from "../../../worker-node/engine/step-errors.ts";
import type { Chat } from "../../../worker-node/engine/ports.ts";
import { fakeContext, run, step } from "./context.ts";

const fields = { type: "agent", agent_id: "helper", output_key: "out" };
const agents = { helper: { id: "helper", name: "H", system_prompt: "You help.", tools: [] } };

/** A history of turns, each with a question and an answer. */
function historyOf(turns: number, chars = 1): ChatHistory["messages"] {
  return Array.from({ length: turns }, (_, i) => {
    const base = String(1_780_000_000_000 + i);
    return [
      { base, role: "user" as const, content: `q${i}`.padEnd(chars, "."), images: 0 },
      { base, role: "assistant" as const, content: `a${i}`, images: 0 },
    ];
  }).flat();
}

function chatOf(messages: ChatHistory["messages"], summary: Summary | null = null) {
  const saved: Summary[] = [];
  const chat: Chat = {
    images: [],
    attached: async () => [],
    history: async () => ({ summary, messages }),
    saveSummary: async (made) => void saved.push(made),
  };
  return { chat, saved };
}

const linesOf = (messages: readonly { role: string; content: string }[] = []) =>
  messages.map(({ role, content }) => `${role}: ${content}`);

describe("a chat turn", () => {
  test("sends a short history as it is, and makes one model call", async () => {
    const { chat, saved } = chatOf(historyOf(2));
    const { context, modelCalls } = fakeContext({ agents, chat, message: "now", answers: ["fine"] });
    expect(await run(step(fields), context)).toMatchObject({ response: "fine" });
    expect(modelCalls).toHaveLength(1);
    expect(linesOf(modelCalls[0]?.messages)).toEqual([
      "system: You help.",
      "user: q0",
      "assistant: a0",
      "user: q1",
      "assistant: a1",
      "user: now",
    ]);
    expect(saved).toEqual([]);
  });

  // Fails when a cut answer looks whole to the model, or when the model may repeat calls that were made before the cut.
  test("tells the model which answers of the history were cut, and what they had called", async () => {
    const answer = { base: "2", role: "assistant" as const, images: 0, cut: true };
    const { chat } = chatOf([
      ...historyOf(1),
      { ...answer, content: "So far" },
      { ...answer, base: "3", content: "", calls: '[{"tool":"send","args":{"to":"ann"}}]' },
    ]);
    const { context, modelCalls } = fakeContext({ agents, chat, message: "now", answers: ["fine"] });
    await run(step(fields), context);
    expect(linesOf(modelCalls[0]?.messages).slice(3, -1)).toEqual([
      "assistant: So far\n[this answer was cut off here]",
      "assistant: [this answer was cut off here]\n" +
        '[before that it called tools, which may have done their work: [{"tool":"send","args":{"to":"ann"}}]]',
    ]);
  });

  // Fails when the whole history is sent, the summary is not stored, or what it covers is sent too.
  test.each([
    ["many messages", historyOf(40), 20],
    ["many characters", historyOf(10, 9_000), 4],
  ])("replaces the oldest of %s by a summary, which it stores", async (_, messages, kept) => {
    const { chat, saved } = chatOf(messages, { content: "long ago", covers: "1" });
    const { context, modelCalls, committedTurns, noted } = fakeContext({
      agents,
      chat,
      message: "now",
      answers: ["They met.", "fine"],
    });
    await run(step(fields), context);
    const old = messages.slice(0, messages.length - kept);
    expect(modelCalls[0]?.effectKey).toBe("run_1:s:1:summary");
    expect(modelCalls[0]?.messages.at(-1)?.content).toContain("long ago");
    expect(modelCalls[0]?.messages.at(-1)?.content).toContain("assistant: a0");
    expect(modelCalls[1]?.messages[0]?.content).toBe(
      "You help.\n\n## Earlier in this conversation\nThey met.",
    );
    expect(modelCalls[1]?.messages).toHaveLength(kept + 2);
    expect(saved).toEqual([{ content: "They met.", covers: old.at(-1)?.base }]);
    expect(committedTurns).toMatchObject([{ usage: [{ call: "summary" }] }]);
    expect(noted).toMatchObject([{ type: "history_compacted", messages: old.length }, { type: "llm_delta" }]);
  });

  // Fails when the request for a summary has the whole history: a model with a small window refuses it in each turn of the session.
  test("asks for a summary with no more of each message than the model's window takes", async () => {
    const { chat } = chatOf(historyOf(30, 3_000), { content: "long ago", covers: "1" });
    const answers = ["They met.", "fine"];
    const small = fakeContext({ agents, chat, message: "now", answers, windowTokens: 4_096 });
    await run(step(fields), small.context);
    const sent = small.modelCalls[0]?.messages.at(-1)?.content ?? "";
    expect(sent.length).toBeLessThan(4_096 * 3);
    for (const part of ["long ago", "user: q0", "assistant: a0", "user: q25"]) expect(sent).toContain(part);
  });

  // Fails when each message gets an equal part: of a document beside short messages the summary would have the first lines alone.
  test("asks for a summary with a long message whole where the short ones leave room", async () => {
    const messages = historyOf(35);
    const document = `first ${"d".repeat(30_000)} last`;
    const [first, ...others] = messages;
    if (first === undefined) throw new Error("no message");
    const { chat } = chatOf([{ ...first, content: document }, ...others]);
    const { context, modelCalls } = fakeContext({
      agents,
      chat,
      message: "now",
      answers: ["They met.", "fine"],
    });
    await run(step(fields), context);
    expect(modelCalls[0]?.messages.at(-1)?.content).toContain(document);
  });

  // Fails when a history that the model does not summarize ends each later turn of its session.
  test.each([
    ["withholds", new TerminalError("content_filter", "withheld")],
    ["cuts", new TerminalError("output_limit", "cut")],
    ["finds too long", new RequestTooLong("model_bad_request", "too long")],
  ])("sends a history whose summary its model %s as it is", async (_, refusal) => {
    const { chat, saved } = chatOf(historyOf(40));
    const { context, modelCalls } = fakeContext({ agents, chat, message: "now", answers: [refusal, "fine"] });
    expect(await run(step(fields), context)).toMatchObject({ response: "fine" });
    expect(modelCalls[1]?.messages).toHaveLength(82);
    expect(saved).toEqual([]);
  });

  // Fails when the files of a message are not sent, or are cut without a note, or when a summary loses the ids that the model needs to read them.
  test("sends the texts of its files, a bounded part of each, and a summary names all files that it replaces", async () => {
    const file = (name: string) => ({
      $ref: `acme/uploads/upload_${name}`,
      name,
      size: 3,
      content_type: "text/csv",
      sha256: "",
      preview: "",
      url: "",
    });
    const [first, ...rest] = historyOf(40);
    if (first === undefined) throw new Error("the history has messages");
    const before = `old\n\nFiles that the user attached:\n- "z" (text/csv, upload_z)`;
    const { chat, saved } = chatOf([{ ...first, attachments: [file("a")] }, ...rest], {
      content: before,
      covers: "1",
    });
    chat.attached = async () => [{ file: file("b"), text: "x".repeat(60_000) }];
    const { context, modelCalls } = fakeContext({
      agents,
      chat,
      message: "now",
      answers: ["They met.", "ok"],
    });
    await run(step(fields), context);
    const named = `They met.\n\nFiles that the user attached:\n- "z" (text/csv, upload_z)\n- "a" (text/csv, upload_a)`;
    expect(saved.map(({ content }) => content)).toEqual([named]);
    expect(modelCalls[1]?.messages[0]?.content).toContain(named);
    expect(modelCalls[1]?.messages.at(-1)?.content).toBe(
      `now\n\n## Attached file "b" (text/csv, upload_b)\n${"x".repeat(50_000)}\n[10000 characters left out]`,
    );
  });

  // Fails when a summary is requested, and paid for, again after a crash; or when a crash before it is stored loses it.
  test("makes a summary once: after a crash it stores the committed one", async () => {
    const first = chatOf(historyOf(40));
    const crashed = fakeContext({ agents, chat: first.chat, message: "now", answers: ["They met."] });
    await expect(run(step(fields), crashed.context)).rejects.toThrow();
    const chatAfterCrash = chatOf(historyOf(40));
    const turns = crashed.committedTurns.map(({ data }) => data);
    const { context, modelCalls } = fakeContext({
      agents,
      chat: chatAfterCrash.chat,
      turns,
      message: "now",
      answers: ["fine"],
    });
    expect(await run(step(fields), context)).toMatchObject({ response: "fine" });
    expect(modelCalls).toHaveLength(1);
    expect(chatAfterCrash.saved).toEqual(first.saved);
  });
});
