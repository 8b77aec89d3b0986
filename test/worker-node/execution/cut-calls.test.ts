/** Model calls that a crash has cut off: docs/protocol.md 5.26. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import type { Usage } from "../../../shared/contracts/journal-entry.ts";
import { addDeltas } from "../../../shared/events/delta-text.ts";
import { cutTextsOf } from "../../../worker-node/execution/cut-calls.ts";
import {
  an,
  anthropicEnd,
  anthropicStart,
  anthropicText,
  oc,
  ProviderServer,
  refusal,
  text,
} from "../models/provider-server.ts";
import { ExecutionHarness, steps } from "./execution-harness.ts";

const server = new ProviderServer();
beforeAll(() => server.start());
afterAll(() => server.stop());
let harness: ExecutionHarness;
beforeEach(() => {
  harness = new ExecutionHarness();
  harness.models = server.models();
});

const line = (type: string, fields: object = {}) => JSON.stringify({ type, orch_step_id: "a", ...fields });
const cut = (content: string) => [line("llm_delta", { first: true, text: content })].join("\n");
const Event = z.looseObject({ type: z.string(), text: z.string().optional(), first: z.boolean().optional() });
const answered = (content: string) => anthropicStart() + anthropicText(content) + anthropicEnd();

/** The step again, by the worker that follows a crashed one. */
async function runAfterCrash(model: string, published: string) {
  harness.cutText = published;
  harness.definition = steps({ id: "a", type: "llm", model, prompt_template: "go", output_key: "text" });
  const { run, ending } = harness.begin({ crash_count: 1, attempt: 1 });
  await ending;
  harness.checkEntries();
  const entries = harness.store.entriesOf(run.run_id);
  const events = harness
    .eventsOf(run)
    .split("\n")
    .map((each) => Event.parse(JSON.parse(each)));
  const before = published.split("\n").map((each) => Event.parse(JSON.parse(each)));
  return {
    row: harness.store.row(run.run_id),
    usage: entries.flatMap((entry): readonly Usage[] => entry.usage),
    events,
    /** The text of the step as a viewer of all events joins it. */
    text: addDeltas([...before, ...events]).get("a"),
    state: JSON.stringify(entries.map(({ output, events: lines }) => [output, lines])),
  };
}

describe("after a crash in the middle of an answer", () => {
  test.each([
    ["Half a ", "answer.", "Half a answer."],
    ["Half a ", " answer.", "Half a answer."],
    ["Half a", " answer.", "Half a answer."],
  ])(
    "a model that can continue %j gets it, and viewers and state have the continuation after it",
    async (half, rest, whole) => {
      server.reset(answered(rest));
      const result = await runAfterCrash(an, cut(half));
      expect(server.requests).toHaveLength(1);
      expect(server.requests[0]?.body.messages.at(-1)).toMatchObject({
        role: "assistant",
        content: [{ type: "text", text: "Half a" }],
      });
      expect(result.text).toBe(whole);
      expect(result.state).toContain(whole);
      expect(result.events.map(({ type }) => type)).not.toContain("llm_restart");
      // The cut call is charged, and not as wasted: its text is part of the answer.
      expect(result.usage).toHaveLength(2);
      expect(result.usage.find(({ call }) => call === "a:cut.1.1")).toMatchObject({ estimated: true });
      expect(result.usage.some(({ wasted }) => wasted)).toBe(false);
    },
  );

  test("another model is called again: the event llm_restart comes before the new text, and the wasted call has a price", async () => {
    server.reset(text("A whole answer."));
    const result = await runAfterCrash("openai/gpt-4.1", cut("Half a ".repeat(100)));
    expect(result.text).toBe("A whole answer.");
    const types = result.events.map(({ type }) => type);
    expect(types.indexOf("llm_restart")).toBeLessThan(types.indexOf("llm_delta"));
    const waste = result.usage.find(({ wasted }) => wasted);
    expect(waste).toMatchObject({
      provider: "openai",
      model: "gpt-4.1",
      output_tokens: 175,
      estimated: true,
    });
    expect(waste?.cost_micro_usd).toBeGreaterThanOrEqual(1_400);
    expect(result.events.find(({ type }) => type === "llm_restart")).toMatchObject({
      wasted_usd: (waste?.cost_micro_usd ?? 0) / 1e6,
    });
    expect(result.row.cost_micro_usd).toBe(
      result.usage.reduce((sum, { cost_micro_usd }) => sum + cost_micro_usd, 0),
    );
  });

  test("a model that refuses to go on with a text is called again without it", async () => {
    const body = { type: "error", error: { type: "invalid_request_error", message: "no prefill" } };
    server.reset(refusal(400, body), answered("Anew."));
    const result = await runAfterCrash(an, cut("Half a "));
    expect(result.text).toBe("Anew.");
    expect(server.requests[1]?.body.messages).toHaveLength(1);
    expect(result.usage.filter(({ wasted }) => wasted)).toHaveLength(1);
  });

  test("newer models of Anthropic, which refuse to continue a text, do not get it", async () => {
    server.reset(answered("Anew."));
    await runAfterCrash("anthropic/claude-opus-4-6", cut("Half a "));
    expect(server.requests).toHaveLength(1);
    expect(server.requests[0]?.body.messages).toHaveLength(1);
  });

  test("a step that had published nothing begins as if there had been no crash", async () => {
    server.reset(text("fine"));
    const result = await runAfterCrash(oc, line("step_start"));
    expect(result.usage).toHaveLength(1);
    expect(result.events.map(({ type }) => type)).not.toContain("llm_restart");
  });
});

test("the texts of cut calls are those between restarts, of this step alone", () => {
  const lines = [
    line("llm_delta", { first: true, text: "one" }),
    line("step_retry"),
    line("llm_delta", { first: true, text: "two" }),
    line("llm_delta", { text: "!", path: "fan[0].a" }),
    line("llm_restart"),
    line("llm_delta", { first: true, text: "th" }),
    line("llm_delta", { text: "ree" }),
  ].join("\n");
  expect(cutTextsOf(lines, "a")).toEqual(["two", "three"]);
  expect(cutTextsOf("", "a")).toEqual([]);
});
