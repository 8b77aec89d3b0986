import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { deltas } from "../../../worker-node/engine/deltas.ts";
import { step, fakeContext } from "./context.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

test("a model's text is published completely and in order, at most 20 times a second", () => {
  const { context, noted } = fakeContext({});
  const { push, flush } = deltas(step({ type: "llm" }), context);
  for (let i = 0; i < 100; i++) {
    push(`${i} `);
    vi.advanceTimersByTime(3);
  }
  flush();
  const texts = noted.flatMap((event) => (event.type === "llm_delta" ? [event.text] : []));
  expect(texts.join("")).toBe(Array.from({ length: 100 }, (_, i) => `${i} `).join(""));
  // In 300 ms: the first piece, one each 51 ms, and the rest.
  expect(texts).toHaveLength(7);
});

test("the pieces of a slow model are published at once", () => {
  const { context, noted } = fakeContext({});
  const { push } = deltas(step({ type: "llm" }), context);
  push("first");
  expect(noted).toHaveLength(1);
  vi.advanceTimersByTime(60);
  push("second");
  expect(noted).toHaveLength(2);
});

// Fails when an event ends in half a character: as UTF-8 both halves are lost.
test("a character of two halves is published whole", () => {
  const { context, noted } = fakeContext({});
  const { push, flush } = deltas(step({ type: "llm" }), context);
  for (const piece of ["a\uD83D", "\uDE00b", "\uD83D"]) {
    push(piece);
    vi.advanceTimersByTime(60);
  }
  flush();
  const texts = noted.flatMap((event) => (event.type === "llm_delta" ? [event.text] : []));
  expect(texts).toEqual(["a", "\u{1F600}b", "\uD83D"]);
});
