import { expect, test } from "vitest";
import { judge, verdictText } from "./checks.ts";
import { stepKey, stepsOf } from "./peer.ts";
import type { Job } from "./peer.ts";

const one: Job = { id: "a", kind: "one" };
const five: Job = { id: "b", kind: "five" };

/** Every step of these jobs, once. */
function once(...jobs: Job[]): Map<string, number> {
  return new Map(
    jobs.flatMap((job) =>
      Array.from({ length: stepsOf(job) }, (_, i) => [stepKey(job.id, i + 1), 1] as const),
    ),
  );
}

test("jobs of which each step was executed once are neither lost nor repeated", () => {
  const verdict = judge([one, five], { one: [once(one)], five: [once(five), once(five)] });
  expect(verdict).toEqual({ acknowledged: 2, lost: [], repeated: [] });
  expect(verdictText(verdict)).toBe("2 jobs acknowledged, none lost, none repeated");
});

test("a job of which one step is missing is lost, also when only one witness misses it", () => {
  const partly = once(five);
  partly.delete("b/s4");
  expect(judge([five], { one: [], five: [partly] }).lost).toEqual(["b"]);
  expect(judge([five], { one: [], five: [once(five), partly] }).lost).toEqual(["b"]);
});

test("a job of which no witness gives an account is lost", () => {
  expect(judge([one], { one: [], five: [] }).lost).toEqual(["a"]);
});

test("a step that was executed twice is repeated, also when only one witness saw it", () => {
  const executedTwice = once(five).set("b/s2", 2);
  expect(judge([five], { one: [], five: [once(five), executedTwice] }).repeated).toEqual(["b/s2"]);
});

test("an id that was acknowledged to two submissions is repeated", () => {
  const verdict = judge([one, one], { one: [once(one)], five: [] });
  expect(verdict.repeated).toEqual(["a"]);
  expect(verdictText(verdict)).toBe("2 jobs acknowledged, 1 repeated (a)");
});

test("an execution without an acknowledgement is no fault: the acknowledgement may have been cut off", () => {
  expect(judge([], { one: [once(one)], five: [] })).toEqual({ acknowledged: 0, lost: [], repeated: [] });
});
