import { describe, expect, test } from "vitest";
import type { EntryKind, StoredEntry } from "../../../shared/contracts/journal-entry.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { applyResult, fold, initialProgress, visitsOf } from "../../../shared/journal/fold.ts";

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

const done = [
  entry(2, "step", result("a", 1, { x: 1, y: 1 }, "b")),
  entry(3, "turn", { step: "b", visit: 1, data: "one" }),
  entry(4, "note", null),
  entry(5, "park", retry),
  entry(6, "turn", { step: "b", visit: 1, data: "two" }),
];

describe("the fold of a journal", () => {
  test("of nothing is the beginning", () => {
    expect(fold({ a: 1 }, [])).toEqual(initialProgress({ a: 1 }));
    expect(initialProgress({}).next).toBeUndefined();
  });

  test("lays results over the state, and keeps the turns and the retry of the visit in hand", () => {
    const progress = fold({ x: 0, z: 0 }, done);
    expect(progress).toMatchObject({
      state: { x: 1, y: 1, z: 0 },
      next: "b",
      turns: ["one", "two"],
      park: { tries: 2 },
    });
  });

  test("forgets turns and retry with the visit's result", () => {
    const progress = fold({}, [...done, entry(8, "step", result("b", 1, { y: 2 }, null))]);
    expect(progress).toMatchObject({ state: { x: 1, y: 2 }, next: null, turns: [], park: null });
    expect(progress.history.map(({ step }) => step)).toEqual(["a", "b"]);
  });

  // Red when: the last result is only in the end and not folded.
  test("takes the result that an end carries", () => {
    const end = {
      status: "completed",
      checkpoint: result("b", 1, { y: 3 }, null),
      response: "r",
      error: null,
    };
    expect(fold({}, [...done, entry(9, "end", end)])).toMatchObject({
      state: { y: 3 },
      next: null,
      end: { status: "completed" },
    });
  });

  test("after a rewind goes on where it keeps results, and has not ended", () => {
    const end = { status: "failed", checkpoint: null, response: "m", error: null };
    const kept = fold({}, [...done, entry(9, "end", end), entry(10, "rewind", { keep_seq: 2 })]);
    expect(kept).toMatchObject({ state: { x: 1 }, next: "b", turns: [], park: null, end: null });
    expect(fold({}, [...done, entry(10, "rewind", { keep_seq: 0 })])).toEqual({
      ...initialProgress({}),
      rewinds: 1,
    });
    const twice = [...done, entry(10, "rewind", { keep_seq: 6 }), entry(11, "rewind", { keep_seq: 0 })];
    expect(fold({}, twice)).toEqual({ ...initialProgress({}), rewinds: 2 });
    expect(fold({}, [...done, entry(10, "rewind", { keep_seq: 6 })])).toMatchObject({
      turns: ["one", "two"],
      park: null,
    });
  });

  test("is what results give one by one, and changes nothing that was seen", () => {
    const before = initialProgress({ x: 0 });
    const first = result("a", 1, { x: 1 }, "a");
    const after = applyResult(applyResult(before, first), result("a", 2, { x: 2 }, null));
    expect(before).toEqual(initialProgress({ x: 0 }));
    expect(after).toEqual(
      fold({ x: 0 }, [entry(1, "step", first), entry(2, "step", result("a", 2, { x: 2 }, null))]),
    );
    expect(visitsOf(after, "a")).toBe(2);
    expect(visitsOf(after, "b")).toBe(0);
  });
});
