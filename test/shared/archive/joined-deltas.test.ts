import fc from "fast-check";
import { expect, test } from "vitest";
import type { ArchivedEntry } from "../../../shared/archive/archived-entry.ts";
import { joinDeltas, splitDeltas } from "../../../shared/archive/joined-deltas.ts";
import { joinLines, writeLine, writeLines } from "../../../shared/events/lines.ts";
import type { LineFormat } from "../../../shared/events/lines.ts";
import type { RunEvent } from "../../../shared/contracts/event.ts";
import { inputs } from "../../services/inputs.ts";

/** Rows that tile the numbers from 1 on, with these event lines. */
function rowsOf(all: readonly { lines: string[]; format?: LineFormat; step?: string; at_us?: number }[]) {
  let seq = 0;
  return all.map(
    ({ lines, format = "complete", step = "a", at_us = 1_780_499_750_067_123 }, i): ArchivedEntry => {
      seq += lines.length;
      return {
        seq,
        events_n: lines.length,
        attempt: 1,
        kind: "note",
        step_path: step,
        visit: null,
        output: null,
        events: joinLines(lines, format),
        at_us: at_us + i * 51_007,
      };
    },
  );
}

const delta = (text: string): RunEvent => ({ type: "llm_delta", orch_step_id: "a", text });
const lineOf = (text: string, ms = 1_780_499_750_060) => writeLine(delta(text), new Date(ms), "c");

const anyEvent = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.string({ unit: "binary", maxLength: 8 }).map((text): RunEvent => delta(text)),
  },
  fc.constantFrom<RunEvent>(
    { type: "llm_delta", orch_step_id: "a", first: true, text: "x" },
    { type: "llm_delta", orch_step_id: "a", text: "half \ud83d" },
    { type: "llm_delta", orch_step_id: "a", text: '\ude00 other half, "text":"y"' },
    { type: "llm_delta", path: "f[1].a", orch_step_id: "a", text: "x" },
    { type: "llm_delta", orch_step_id: "a", text: "x", path: 'f[1]."ts":"' },
    { type: "checkpoint" },
  ),
);
const anyRow = fc.record({
  lines: fc
    .array(
      fc.tuple(
        fc.array(anyEvent, { minLength: 1, maxLength: 3 }),
        fc.integer({ min: 0, max: 4e12 }),
        fc.constantFrom("c", '","'),
      ),
      { minLength: 1, maxLength: 3 },
    )
    .map((parts) =>
      parts.flatMap(([events, ms, correlation]) => writeLines(events, new Date(ms), correlation)),
    ),
  format: fc.constantFrom<LineFormat>("complete", "short", "coded"),
  step: fc.constantFrom("a", "b"),
});

// Fails when a byte of a line, a number or a time is not restored.
test("rows are read from a segment unchanged, whatever their events hold", () => {
  fc.assert(
    fc.property(fc.array(anyRow, { maxLength: 12 }), (all) => {
      const rows = rowsOf(all);
      const stored: unknown = JSON.parse(JSON.stringify(joinDeltas(rows)));
      expect(stored).toEqual(joinDeltas(rows));
      expect(splitDeltas(joinDeltas(rows))).toEqual(rows);
    }),
    { numRuns: inputs(300) },
  );
});

test("the text of one answer is one line, with each of its numbers", () => {
  const words = Array.from({ length: 200 }, (_, i) => `word ${i} `);
  const rows = rowsOf(words.map((word) => ({ lines: [lineOf(word)] })));
  const lines = joinDeltas(rows);
  expect(lines).toMatchObject([{ after_seq: 0, text: words.join("") }]);
  expect(splitDeltas(lines).map(({ seq }) => seq)).toEqual(rows.map(({ seq }) => seq));
  expect(JSON.stringify(lines).length).toBeLessThan(JSON.stringify(rows).length / 5);
});

test.each<LineFormat>(["short", "coded"])("%s lines are joined too", (format) => {
  const rows = rowsOf([{ lines: [lineOf("a"), lineOf("b")], format }, { lines: [lineOf("c")] }]);
  expect(rows[0]?.events).toContain(",\n");
  expect(joinDeltas(rows)).toMatchObject([{ text: "abc", ts: [null, 7, 58], events_n: [2, 1] }]);
  expect(splitDeltas(joinDeltas(rows))).toEqual(rows);
});

test.each([
  ["another step", rowsOf([{ lines: [lineOf("a")] }, { lines: [lineOf("b")], step: "b" }])],
  [
    "the text begins again",
    rowsOf([{ lines: [lineOf("a")] }, { lines: [lineOf("b").replace('"text"', '"first":true,"text"')] }]),
  ],
  [
    "another event comes with it",
    rowsOf([
      { lines: [lineOf("a")] },
      { lines: [lineOf("b"), writeLine({ type: "done" }, new Date(0), "c")] },
    ]),
  ],
  [
    "an escape is written in another form",
    rowsOf([{ lines: [lineOf("a")] }, { lines: [lineOf("b").replace("b", String.raw`\u0062`)] }]),
  ],
  [
    "a time is written in another form",
    rowsOf([{ lines: [lineOf("a")] }, { lines: [lineOf("b").replace("060Z", "06Z")] }]),
  ],
])("rows stay apart when %s", (_, rows) => {
  expect(joinDeltas(rows)).toEqual(rows);
});
