import { expect, test } from "vitest";
import { LoopLag } from "../../../worker-node/ops/loop-lag.ts";

// Fails when a reader takes the delay from the others: a request for the health would hide it from the next beat.
test("each reader gets the longest delay since its own last call", () => {
  const lag = new LoopLag();
  const [first, second] = [lag.reader(), lag.reader()];
  block(400);
  expect(first()).toBeGreaterThanOrEqual(150);
  expect(first()).toBe(0);
  expect(second()).toBeGreaterThanOrEqual(150);
});

function block(ms: number): void {
  for (const endMs = performance.now() + ms; performance.now() < endMs;);
}
