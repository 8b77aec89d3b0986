import { expect, test } from "vitest";
import { argumentsOf } from "../../../worker-node/engine/tool-arguments.ts";
import { trimMarks } from "../../../worker-node/engine/trim-marks.ts";
import { toolNameOf } from "../../../worker-node/models/tool-name.ts";
import { cpuMs } from "../../services/cpu-time.ts";

const spaced = `a${" ".repeat(60_000)}b`;
const stars = { start: "*", end: "*." };

// Fails when an expression scans a sequence of spaces again from each space: 40 KB of text from a model held up the worker for 5 s.
test.each<[string, () => unknown, unknown]>([
  ["arguments", () => argumentsOf(spaced), null],
  ["a tool's name", () => toolNameOf(spaced, ["a"]), spaced],
  ["a choice", () => trimMarks(`* ${spaced}.`, stars), spaced],
])("spaces inside of %s from a model are read in linear time", (_, read, expected) => {
  const startedMs = cpuMs();
  expect(read()).toBe(expected);
  expect(cpuMs() - startedMs).toBeLessThan(1_000);
});

test("white space and marks are left out at both ends, and nothing inside", () => {
  expect(trimMarks(" \n**a * b**.\u00a0", stars)).toBe("a * b");
  expect(trimMarks(".a", stars)).toBe(".a");
  expect(trimMarks(" *. ", stars)).toBe("");
});
