import { describe, expect, test } from "vitest";
import type { RunEvent } from "../../../shared/contracts/event.ts";
import type { Checkpoint } from "../../../shared/contracts/journal-entry.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { writeLine } from "../../../shared/events/lines.ts";
import { recordOf, writeResult } from "../../../shared/journal/records.ts";

const long = `${"long text ".repeat(300)}\n"\ud800\u0000`;
const object = { list: [long, { deep: null }] };
const name = { orch_step_id: "a", step_name: "a" };
const final = (response: string): RunEvent => ({
  type: "final",
  response,
  intent: "llm",
  data: null,
  tool_name: null,
  ...name,
});

const checkpointOf = (set: JsonObject): Checkpoint => ({
  step: "a",
  visit: 1,
  type: "llm",
  name: "a",
  set,
  next: "b",
  output_key: "out",
  started_at: "2026-01-01T00:00:00.000Z",
  duration_ms: 1,
  tries: 1,
  tokens: 0,
  cost_micro_usd: 0,
  effects: [],
});
/** An entry as it is stored, with `pending` events before its own. */
function entryOf(set: JsonObject, events: readonly RunEvent[], pending: readonly RunEvent[] = []) {
  const lines = [...pending, ...events].map((event) => writeLine(event, new Date(0), "c"));
  return { kind: "step" as const, output: writeResult(checkpointOf(set), events), events: lines.join("\n") };
}

describe("a long value that an event of its result shows too", () => {
  const complete: RunEvent = { type: "step_complete", ...name, duration_seconds: 0 };

  // Fails when an entry has the value twice: a ring of steps fills Postgres twice as fast.
  test.each<[string, JsonObject, RunEvent]>([
    ["a text", { out: long }, final(long)],
    ["an object", { out: object }, { type: "transform_result", ...name, result: object }],
    [
      "a value under two keys",
      { human_response: object, out: object },
      { type: "human_response", ...name, response: object },
    ],
    ["a key like one of every object", { __proto__x: long, constructor: long }, final(long)],
  ])("is stored once, and read back as it was: %s", (_, set, event) => {
    const pending = [{ type: "thinking" as const, ...name, message: "m" }];
    const entry = entryOf({ ...set, small: 1 }, [event, complete], pending);
    expect(entry.output.length).toBeLessThan(600);
    expect(recordOf(entry)).toEqual({ kind: "step", record: checkpointOf({ ...set, small: 1 }) });
  });

  test("is stored with the result when the event does not show it, or shows a part of it", () => {
    const entry = entryOf({ out: long }, [final(long.slice(0, 2_000)), complete]);
    expect(entry.output).toBe(JSON.stringify(checkpointOf({ out: long })));
  });
});

test("a short value is stored with the result: an output that refers to nothing is read without its events", () => {
  const { output } = entryOf({ out: "short", list: [1] }, [final("short")]);
  expect(output).toBe(JSON.stringify(checkpointOf({ out: "short", list: [1] })));
  expect(recordOf({ kind: "step", output })).toEqual({
    kind: "step",
    record: checkpointOf({ out: "short", list: [1] }),
  });
});

// Fails when a value that a client or a model wrote is taken for a reference to an event line.
test("a value that looks like a reference to an event line stays a value", () => {
  const set = { set_from: { out: { line: 1, field: "type" } } };
  expect(recordOf(entryOf(set, [final("x")]))).toEqual({ kind: "step", record: checkpointOf(set) });
});
