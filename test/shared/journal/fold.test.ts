import { describe, expect, test } from "vitest";
import type { EntryKind, StoredEntry } from "../../../shared/contracts/journal-entry.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { addResult, fold as foldPages, initialProgress } from "../../../shared/journal/fold.ts";
import { visitsOf } from "../../../shared/journal/track.ts";
import { storedPages } from "./stored-pages.ts";

const result = (step: string, visit: number, set: JsonObject, next: string | null) => ({
  step,
  visit,
  type: "print",
  name: step,
  set,
  next,
  output_key: null,
  started_at: "2026-01-01T00:00:00.000Z",
  duration_ms: 1,
  tries: 1,
  tokens: 0,
  cost_micro_usd: 0,
  effects: [],
});
const entry = (seq: number, kind: EntryKind, output: unknown): StoredEntry => ({
  seq,
  kind,
  output: output === null ? null : JSON.stringify(output),
});
const retry = {
  step: "b",
  visit: 1,
  reason: "retry",
  tries: 2,
  error: { code: "c", message: "m" },
  first_failed_at: "t",
};

const entries = [
  entry(2, "step", result("a", 1, { x: 1, y: 1 }, "b")),
  entry(3, "turn", { step: "b", visit: 1, data: "one" }),
  entry(4, "note", null),
  entry(5, "park", retry),
  entry(6, "turn", { step: "b", visit: 1, data: "two" }),
];

describe.each([1, 2, 100])("the fold of a journal in pages of %d entries", (size) => {
  const fold = (state: JsonObject, journal: readonly StoredEntry[]) =>
    foldPages(state, storedPages(journal, size));

  test("without entries is the initial progress", async () => {
    expect(await fold({ a: 1 }, [])).toEqual(initialProgress({ a: 1 }));
    expect(initialProgress({}).next).toBeUndefined();
  });

  test("applies results to the state, and keeps the turns and the retry of the current visit", async () => {
    const progress = await fold({ x: 0, z: 0 }, entries);
    expect(progress).toMatchObject({
      state: { x: 1, y: 1, z: 0 },
      next: "b",
      turns: ["one", "two"],
      retry: { tries: 2 },
    });
  });

  test("drops the turns and the retry with the visit's result", async () => {
    const progress = await fold({}, [...entries, entry(8, "step", result("b", 1, { y: 2 }, null))]);
    expect(progress).toMatchObject({ state: { x: 1, y: 2 }, next: null, turns: [], retry: null });
    expect(progress.history.map(({ step }) => step)).toEqual(["a", "b"]);
  });

  // Fails when a result that only the end entry carries is not folded.
  test("includes the result that an end carries", async () => {
    const end = {
      status: "completed",
      checkpoint: result("b", 1, { y: 3 }, null),
      response: "r",
      error: null,
    };
    expect(await fold({}, [...entries, entry(9, "end", end)])).toMatchObject({
      state: { y: 3 },
      next: null,
      end: { status: "completed" },
    });
  });

  test("after a rewind continues at its keep_seq, and has not ended", async () => {
    const end = { status: "failed", checkpoint: null, response: "m", error: null };
    const rewound = await fold({}, [...entries, entry(9, "end", end), entry(10, "rewind", { keep_seq: 2 })]);
    expect(rewound).toMatchObject({ state: { x: 1 }, next: "b", turns: [], retry: null, end: null });
    expect(await fold({}, [...entries, entry(10, "rewind", { keep_seq: 0 })])).toEqual({
      ...initialProgress({}),
      rewinds: 1,
      rewoundAt: 10,
    });
    const rewoundTwice = [
      ...entries,
      entry(10, "rewind", { keep_seq: 6 }),
      entry(11, "rewind", { keep_seq: 0 }),
    ];
    expect(await fold({}, rewoundTwice)).toEqual({ ...initialProgress({}), rewinds: 2, rewoundAt: 11 });
    expect(await fold({}, [...entries, entry(10, "rewind", { keep_seq: 6 })])).toMatchObject({
      turns: ["one", "two"],
      retry: null,
    });
  });

  test("equals addResult for each result", async () => {
    const first = result("a", 1, { x: 1 }, "a");
    const second = result("a", 2, { x: 2 }, null);
    const progress = initialProgress({ x: 0 });
    addResult(progress, first);
    addResult(progress, second);
    expect(progress).toEqual(await fold({ x: 0 }, [entry(1, "step", first), entry(2, "step", second)]));
    expect(visitsOf(progress, "a")).toBe(2);
    expect(visitsOf(progress, "b")).toBe(0);
  });
});
