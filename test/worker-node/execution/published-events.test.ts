import { describe, expect, test } from "vitest";
import { cpuMs } from "../../services/cpu-time.ts";
import type { RunEvent } from "../../../shared/contracts/event.ts";
import { publishedEvents } from "../../../worker-node/execution/published-events.ts";

const delta = (text: string): RunEvent => ({ type: "llm_delta", orch_step_id: "s", first: true, text });
const textOf = (event: RunEvent) => (event.type === "llm_delta" ? event.text : "");
const LIMIT = 32 * 1024;

describe("a model's text", () => {
  test.each([
    ["one large piece", "a".repeat(32_768)],
    ["text that JSON escapes", '"'.repeat(17_000)],
    ["control characters", "\u0000".repeat(20_000)],
    ["characters of two code units", "😀".repeat(30_001)],
    ["letters of three bytes", "漢".repeat(20_000)],
    ["half of a character at each end", `\ude00${"😀".repeat(20_000)}\ud83d`],
    ["a whole book", "word ".repeat(400_000)],
  ])("is divided and never cut: %s", (_, text) => {
    const events = publishedEvents(delta(text));
    expect(events.length).toBeGreaterThan(1);
    expect(events.map(textOf).join("")).toBe(text);
    for (const event of events) expect(Buffer.byteLength(JSON.stringify(event))).toBeLessThanOrEqual(LIMIT);
    const lone = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
    expect(events.flatMap((event) => textOf(event).match(lone) ?? [])).toEqual(text.match(lone) ?? []);
    expect(events.map((event) => event.type === "llm_delta" && event.first)).toEqual([
      true,
      ...Array.from({ length: events.length - 1 }, () => undefined),
    ]);
  });

  // Fails when the text is written as JSON again for each halving: 3 MB took 0.3 s.
  test.each(["\ud800x", "a", '"'])("of millions of %j is divided in linear time", (characters) => {
    const startedMs = cpuMs();
    publishedEvents(delta(characters.repeat(4_000_000 / characters.length)));
    expect(cpuMs() - startedMs).toBeLessThan(500);
  });

  test("of 32,000 characters is one event", () => {
    expect(publishedEvents(delta("a".repeat(32_000)))).toEqual([delta("a".repeat(32_000))]);
  });

  test("that an agent thinks is divided among events of the same turn", () => {
    const thought = "t".repeat(50_000);
    const events = publishedEvents({
      type: "llm_thought",
      orch_step_id: "s",
      step_name: "s",
      thought,
      turn: 3,
    });
    expect(events.every((event) => event.type === "llm_thought" && event.turn === 3)).toBe(true);
    expect(events.map((event) => (event.type === "llm_thought" ? event.thought : "")).join("")).toBe(thought);
  });
});

test("the large arguments of a tool call are shortened: they are no text, and stored with the result", () => {
  const args = { q: "x".repeat(40_000) };
  const [event, ...others] = publishedEvents({
    type: "tool_execution",
    orch_step_id: "s",
    step_name: "s",
    tool_name: "t",
    args,
  });
  expect(others).toEqual([]);
  expect(event).toMatchObject({ args: { truncated: true } });
});
