import { beforeEach, describe, expect, test } from "vitest";
import { turnDefinition } from "../../../shared/contracts/chat.ts";
import { newSessionId } from "../../../shared/contracts/ids.ts";
import { JsonRecord } from "../../../shared/contracts/json.ts";
import type { StoredEntry } from "../../../shared/contracts/journal-entry.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim-runs.ts";
import type { ModelAnswer } from "../../../worker-node/engine/ports.ts";
import { TerminalError } from "../../../worker-node/engine/step-errors.ts";
import { Stop } from "../../../worker-node/execution/stop.ts";
import { silentPeer, slowPeer } from "../../services/waiting.ts";
import { ExecutionHarness, usage } from "./execution-harness.ts";

const session = newSessionId();
const turn = { chat_session: session, orchestration_id: "chat:helper" };

let harness: ExecutionHarness;
beforeEach(() => {
  harness = new ExecutionHarness();
  const agent = { id: "helper", name: "Helper", system_prompt: "As pinned.", tools: [] };
  harness.definition = JsonRecord.parse(JSON.parse(turnDefinition("helper", "Helper", agent)));
  harness.readChatHistory = async () => ({ summary: null, messages: [] });
});

const replyOf = (run: ClaimedRun) => harness.store.entriesOf(run.run_id).at(-1)?.reply;

/** A turn's checkpoint in which the agent has called a tool. */
const called: StoredEntry = {
  seq: 3,
  kind: "turn",
  output: JSON.stringify({
    step: "chat",
    visit: 1,
    data: {
      messages: [
        { role: "assistant", content: "I look.", tool_calls: [{ id: "1", name: "look", args: { at: "x" } }] },
        { role: "tool", tool_call_id: "1", tool_name: "look", content: "seen" },
      ],
      usage: [],
      effects: [],
    },
  }),
};

describe("the execution of a chat turn", () => {
  // Fails when a summary that was paid for, and then withheld, is not charged, because the turn goes on without it.
  test("charges a summary that the model has cut, once, and ends with the answer", async () => {
    harness.readChatHistory = async () => ({
      summary: null,
      messages: Array.from({ length: 80 }, (_, n) => {
        const base = String(n + 1);
        return { base, role: n % 2 === 0 ? "user" : "assistant", content: `m${n}`, images: 0 };
      }),
    });
    harness.models = {
      generate: async ({ effectKey, onUsage }): Promise<ModelAnswer> => {
        if (!effectKey.includes("summary")) return { text: "answer", tool_calls: [], usage };
        onUsage?.({ ...usage, input_tokens: 99 });
        throw new TerminalError("output_limit", "cut");
      },
    };
    const { run, ending } = harness.begin(turn);
    await ending;
    expect(replyOf(run)).toMatchObject({ content: "answer" });
    expect(harness.store.entriesOf(run.run_id).flatMap((entry) => entry.usage)).toEqual([
      { call: "chat:failed.1.1", ...usage, input_tokens: 99 },
      { call: "model.1", ...usage },
    ]);
  });

  // Fails when the newest agent is read, or the answer is not in the entry that ends the run.
  test("uses the agent of its version, and ends with the answer and the calls of its turns", async () => {
    harness.named.set("helper", { id: "helper", name: "Helper", system_prompt: "Newer.", tools: [] });
    const { run, ending } = harness.begin({ ...turn, event_seq: 3 }, [called]);
    await ending;
    expect(harness.calls[0]?.messages[0]).toEqual({ role: "system", content: "As pinned." });
    expect(replyOf(run)).toEqual({
      session,
      content: "answer",
      tool_calls: [{ tool: "look", args: { at: "x" } }],
      cut: false,
    });
  });

  // Fails when every agent that a turn reads is taken for the one of its version.
  test("gives a task to the newest version of another agent", async () => {
    const delegating = { id: "helper", name: "Helper", tools: [], delegate_agent_ids: ["other"] };
    harness.definition = JsonRecord.parse(JSON.parse(turnDefinition("helper", "Helper", delegating)));
    harness.named.set("other", { id: "other", name: "Other", system_prompt: "As other." });
    const answers: ModelAnswer[] = [
      {
        text: "",
        tool_calls: [{ id: "1", name: "delegate_to_agent", args: { agent_id: "other", task: "Do it" } }],
        usage,
      },
      { text: "done", tool_calls: [], usage },
      { text: "It is done.", tool_calls: [], usage },
    ];
    harness.models = { generate: async () => answers.shift() ?? silentPeer(harness.stop.signal) };
    const { run, ending } = harness.begin(turn);
    await ending;
    expect(harness.calls[1]?.messages).toMatchObject([{ content: "As other." }, { content: "Do it" }]);
    expect(replyOf(run)?.content).toBe("It is done.");
  });

  // Fails when a large answer is a reference in the history: its object lives as long as the run.
  test("keeps a large answer whole", async () => {
    const text = "long ".repeat(20_000);
    harness.generate = async () => text;
    harness.artifacts = { put: async () => {}, get: async () => null };
    const { run, ending } = harness.begin(turn);
    await ending;
    expect(replyOf(run)?.content).toBe(text);
  });

  // Fails when the text is that of the answer before, or nothing is kept.
  test("that is cancelled keeps what viewers have seen of the answer, since it last started over", async () => {
    harness.generate = async ({ onText, onRestart, signal }) => {
      onText("thought aloud");
      onRestart?.();
      // Viewers get at most 20 pieces a second.
      await slowPeer(60);
      onText("So far");
      return silentPeer(signal);
    };
    const { run, ending } = harness.begin(turn);
    await expect.poll(() => harness.eventsOf(run)).toContain("So far");
    harness.stop.abort(new Stop("cancel", "the run was cancelled"));
    await ending;
    expect(replyOf(run)).toEqual({ session, content: "So far", tool_calls: [], cut: true });
  });

  // Fails when only this execution's text counts: the worker that ends the turn may not be the one that called the model.
  test("that is cancelled before it goes on after a crash keeps the text and the calls of the execution before", async () => {
    harness.readTurnText = async () => "Seen before the crash";
    const { run, ending } = harness.begin({ ...turn, event_seq: 3, cancel: true }, [called]);
    await ending;
    expect(harness.calls).toEqual([]);
    expect(replyOf(run)).toEqual({
      session,
      content: "Seen before the crash",
      tool_calls: [{ tool: "look", args: { at: "x" } }],
      cut: true,
    });
  });
});
