import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { RunEvent } from "../../../shared/contracts/event.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import { joinLines, linesOf, writeLines } from "../../../shared/events/lines.ts";
import { inputs } from "../../services/inputs.ts";

const at = new Date("2026-06-04T09:15:30.123Z");
const STATE = {
  user_input: "hi",
  user_query: "hi",
  answer: "A long answer, which a step writes into state. ".repeat(3),
};

function endOf(state: Record<string, Json>, response: Json): RunEvent[] {
  const names = { orch_step_id: "s1", step_name: "Step 1" };
  const step = {
    step_id: "s1",
    step_name: "Step 1",
    step_type: "print",
    status: "completed",
    started_at: at.toISOString(),
    ended_at: at.toISOString(),
    duration_seconds: 0,
    output_key: "answer",
  };
  const data = {
    run_id: "run_1",
    status: "completed",
    step_history: [step],
    step_count: 1,
    shared_state: state,
  };
  return [
    { type: "final", response, intent: "print", data: null, tool_name: null, ...names },
    { type: "step_complete", ...names, duration_seconds: 0 },
    { type: "orchestration_complete", status: "completed", final_state: state },
    { type: "final", response, intent: "orchestration", data, tool_name: null },
    { type: "done" },
  ];
}

const end = writeLines(endOf(STATE, STATE.answer), at, "c");
const coded = joinLines(end, "coded");

describe("coded lines", () => {
  test("are read as they were written", () => {
    expect(linesOf(coded)).toEqual(end);
  });

  test("hold the state and a long response once", () => {
    expect(coded.split(STATE.answer)).toHaveLength(2);
    expect(coded).not.toContain("shared_state");
    expect(Buffer.byteLength(coded)).toBeLessThan(Buffer.byteLength(joinLines(end, "complete")) / 3);
  });

  // Fails when a text of the table changes: stored journals were written with it.
  test("of journals that exist are read", () => {
    const stored = [
      '\u0018b","attempt":1,',
      '\u0001s1\u0004S\u0005print"\t2026-06-04T09:15:30.123Z\u000bc"}',
      '\u0003"hi"\u0007print\u0008s1\u0004S",',
      "\u0002s1\u0004S\u00060,",
      '\u000chi\rhi"},',
      '\u0003"hi"\u000erun_1\u000f\u0010s1\u0004S\u0005print\u0011A\u0012B\u00060\u0013"o"},\u0010s2\u0004S\u0005wait\u0011A\u0012B\u00060\u0013null}\u00142\u001f',
      '\u0015s1\u0004S\u0017t","args":{},',
      '\u0016s1\u0004S\u0017t","preview":"x",',
      '\u0019o\u001aO",',
      '\u001bdone"\t2026-06-04T09:15:30.124Z\u000bc"}',
    ].join("\n");
    expect(linesOf(stored).map((line) => line.replace(/,"ts":.*/, ""))).toEqual([
      '{"type":"worker_picked_up","worker_id":"b","attempt":1',
      '{"type":"step_start","orch_step_id":"s1","step_name":"S","step_type":"print"',
      '{"type":"final","response":"hi","intent":"print","data":null,"tool_name":null,"orch_step_id":"s1","step_name":"S"',
      '{"type":"step_complete","orch_step_id":"s1","step_name":"S","duration_seconds":0',
      '{"type":"orchestration_complete","status":"completed","final_state":{"user_input":"hi","user_query":"hi"}',
      '{"type":"final","response":"hi","intent":"orchestration","data":{"run_id":"run_1","status":"completed","step_history":[' +
        '{"step_id":"s1","step_name":"S","step_type":"print","status":"completed","started_at":"A","ended_at":"B","duration_seconds":0,"output_key":"o"},' +
        '{"step_id":"s2","step_name":"S","step_type":"wait","status":"completed","started_at":"A","ended_at":"B","duration_seconds":0,"output_key":null}' +
        '],"step_count":2,"shared_state":{"user_input":"hi","user_query":"hi"}},"tool_name":null',
      '{"type":"tool_execution","orch_step_id":"s1","step_name":"S","tool_name":"t","args":{}',
      '{"type":"tool_result","orch_step_id":"s1","step_name":"S","tool_name":"t","preview":"x"',
      '{"type":"orchestration_start","orchestration_id":"o","orchestration_name":"O"',
      '{"type":"done"',
    ]);
    expect(linesOf(stored).filter((line) => line.includes(".123Z"))).toHaveLength(2);
  });

  // Fails when a statement that looks for these events in the journal no longer finds them.
  test("leave text of a model and a retry as they are", () => {
    const names = { orch_step_id: "s1", step_name: "Step 1" };
    const events: RunEvent[] = [
      { type: "llm_delta", orch_step_id: "s1", text: '","step_name":"' },
      { type: "done" },
      { type: "step_retry", ...names, error: "e", code: "c", attempt: 1, retry_in_seconds: 1 },
    ];
    const [delta, done, retry] = joinLines(writeLines(events, at, "c"), "coded").split("\n");
    expect(delta).toBe('{"type":"llm_delta","orch_step_id":"s1","text":"\\",\\"step_name\\":\\"",');
    expect(done).not.toContain("type");
    expect(retry).toBe(writeLines(events, at, "c")[2]);
  });
});

const value = fc
  .oneof(
    fc.string({ unit: "binary", maxLength: 80 }),
    fc.constantFrom(
      STATE.answer,
      `"${STATE.answer}"`,
      ',"intent":"',
      "$& $1 $`".repeat(20),
      "\u001f\u001d",
      "\u0085\u007f",
    ),
    fc.jsonValue({ maxDepth: 2 }),
  )
  .map((any): Json => JSON.parse(JSON.stringify(any)));
const state = fc.dictionary(fc.oneof(fc.constantFrom("user_input", "type", "intent"), fc.string()), value, {
  maxKeys: 4,
});
const entry = fc
  .array(
    fc.tuple(
      fc.oneof(
        fc.tuple(state, value).map(([finalState, response]) => endOf(finalState, response)),
        fc.tuple(state, value).map(([finalState, response]) => endOf(finalState, response).toReversed()),
        value.map((args): RunEvent[] => [
          { type: "tool_execution", orch_step_id: "a", step_name: "A", tool_name: "t", args },
          { type: "llm_delta", orch_step_id: "a", text: JSON.stringify(args) },
          { type: "transform_result", orch_step_id: "a", step_name: "A", result: args },
        ]),
      ),
      fc.integer({ min: 0, max: 1 }),
    ),
    { minLength: 1, maxLength: 3 },
  )
  .map((parts) => parts.flatMap(([events, ms]) => writeLines(events, new Date(ms), 'c"},')));

// Fails when a character of an event does not come back, or an entry depends on what it is joined with.
test("lines of all formats are decoded unchanged, whatever they hold and are joined with", () => {
  const format = fc.constantFrom("coded" as const, "short" as const, "complete" as const);
  fc.assert(
    fc.property(fc.array(fc.tuple(entry, format), { minLength: 1, maxLength: 3 }), (entries) => {
      const stored = entries.map(([lines, lineFormat]) => joinLines(lines, lineFormat)).join("\n");
      expect(linesOf(stored)).toEqual(entries.flatMap(([lines]) => lines));
      // This character separates the texts of a flush.
      expect(stored).not.toContain("\u001e");
    }),
    { numRuns: inputs(500) },
  );
});
