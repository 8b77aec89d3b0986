import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { deltas } from "../../../worker-node/engine/deltas.ts";
import { step, fakeContext } from "./context.ts";

test("a model's text is published completely and in order, at most 20 times a second", async () => {
  const { context, noted } = fakeContext({});
  const { push, flush } = deltas(step({ type: "llm" }), context);
  const startedAt = performance.now();
  for (let i = 0; i < 100; i++) {
    push(`${i} `);
    await sleep(3);
  }
  flush();
  const seconds = (performance.now() - startedAt) / 1_000;
  const texts = noted.flatMap((event) => (event.type === "llm_delta" ? [event.text] : []));
  expect(texts.join("")).toBe(Array.from({ length: 100 }, (_, i) => `${i} `).join(""));
  expect(texts.length).toBeGreaterThan(2);
  expect(texts.length).toBeLessThanOrEqual(20 * seconds + 2);
});

test("the pieces of a slow model are published at once", async () => {
  const { context, noted } = fakeContext({});
  const { push } = deltas(step({ type: "llm" }), context);
  push("first");
  expect(noted).toHaveLength(1);
  await sleep(60);
  push("second");
  expect(noted).toHaveLength(2);
});
