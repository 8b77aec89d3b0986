import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { addDeltas, DELTA_RULE } from "../../../shared/events/delta-text.ts";

const first = (text: string, step = "a") => ({ type: "llm_delta", orch_step_id: step, first: true, text });
const delta = (text: string, step = "a") => ({ type: "llm_delta", orch_step_id: step, text });
const event = (type: string, step = "a") => ({ type, orch_step_id: step });
const pickedUp = { type: "worker_picked_up" };

const histories: [string, Parameters<typeof addDeltas>[0], Record<string, string>][] = [
  ["one answer", [first("Here is "), delta("the "), delta("plan")], { a: "Here is the plan" }],
  [
    "a retry",
    [first("Here is "), event("step_retry"), first("Here is "), delta("the plan")],
    { a: "Here is the plan" },
  ],
  [
    "a takeover",
    [first("Here is "), pickedUp, first("Here is the "), delta("plan")],
    { a: "Here is the plan" },
  ],
  [
    "the turns of an agent, the second one after a takeover",
    [
      first("Let me look."),
      event("tool_execution"),
      event("tool_result"),
      first("Found"),
      pickedUp,
      first("Found: 42"),
    ],
    { a: "Found: 42" },
  ],
  [
    "a run that another worker goes on with after a step has ended",
    [
      first("the draft"),
      event("step_complete"),
      pickedUp,
      event("step_start", "b"),
      first("the review", "b"),
    ],
    { a: "the draft", b: "the review" },
  ],
  ["a second visit of a step", [first("one"), event("step_complete"), first("two")], { a: "two" }],
  [
    "one step in two iterations that stream at once, one of which is tried again",
    [
      { ...first("p"), path: "each[0].a" },
      { ...first("q"), path: "each[1].a" },
      { ...delta("1"), path: "each[0].a" },
      { ...event("step_retry"), path: "each[1].a" },
      { ...delta("2"), path: "each[0].a" },
      { ...first("r"), path: "each[1].a" },
    ],
    { "each[0].a": "p12", "each[1].a": "r" },
  ],
  [
    "a takeover after which the text begins anew",
    [first("Here is "), pickedUp, event("llm_restart"), first("The "), delta("plan")],
    { a: "The plan" },
  ],
  [
    "a takeover after which the model goes on with its text",
    [first("Here is "), pickedUp, delta("the plan")],
    { a: "Here is the plan" },
  ],
  ["an answer without text after a takeover", [first("Here"), pickedUp, event("llm_restart")], {}],
  ["a retry that answers without text", [first("Here"), event("step_retry"), event("tool_execution")], {}],
];

describe("the text of a step", () => {
  test.each(histories)("is right after %s, for live, late and resumed viewers", (_, events, texts) => {
    const all = [...events];
    expect(Object.fromEntries(addDeltas(all))).toEqual(texts);
    for (let cut = 0; cut <= all.length; cut++) {
      const resumed = addDeltas(all.slice(cut), addDeltas(all.slice(0, cut)));
      expect(Object.fromEntries(resumed)).toEqual(texts);
    }
  });
});

test("the API's document has the rule by which deltas are joined", async () => {
  const document = await readFile(new URL("../../../docs/api.md", import.meta.url), "utf8");
  expect(document.replaceAll(/\s+/g, " ")).toContain(DELTA_RULE);
});
