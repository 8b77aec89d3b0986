import { expect, test } from "vitest";
import { parseScript } from "../../../shared/contracts/definition/code-nodes.ts";

// Fails when each check of a save parses the code again: 240 KiB of conditions took 0.5 s of an edge.
test("all checks of one save share one tree for each script", () => {
  const scripts = Array.from({ length: 31 }, (_, i) => `(state.n > ${i} && "${"x".repeat(8_000)}")`);
  const trees = scripts.map(parseScript);
  expect(scripts.every((script, i) => parseScript(script) === trees[i])).toBe(true);
});

test("scripts of other definitions take the place of those before them, and each has its own tree", () => {
  const scripts = Array.from({ length: 100 }, (_, i) => `state.n > ${i} && "${"x".repeat(8_000)}"`);
  const trees = scripts.map(parseScript);
  expect(new Set(trees).size).toBe(100);
  expect(scripts.map(parseScript)).toEqual(trees);
});
