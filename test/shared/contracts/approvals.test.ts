import { describe, expect, test } from "vitest";
import { parseNewOrchestration } from "../../../shared/contracts/definition/index.ts";
import { layOut } from "../../../shared/contracts/definition/lay-out.ts";

const human = { id: "a", type: "human", human_prompt: "Publish?", human_timeout_seconds: 600 };
const parse = (fields: object, ...otherSteps: object[]) =>
  parseNewOrchestration({
    id: "o",
    name: "O",
    entry_step_id: "a",
    steps: [{ ...human, ...fields }, ...otherSteps],
  });
const errorsOf = (fields: object, ...otherSteps: object[]) => {
  const parsed = parse(fields, ...otherSteps);
  return parsed.ok ? [] : parsed.errors.map(({ path, message }) => `${path}: ${message}`);
};
const end = { id: "late", type: "end" };
const group = (after_seconds: number, ...approvers: string[]) => ({ after_seconds, approvers });

describe("a human step", () => {
  // Fails when a question that no person could answer, or that no time could end, is saved.
  test.each([
    [{ approvals_needed: 2, approvers: ["ann"] }, "approvals_needed: is 2, and approvers has 1 names"],
    [{ approvals_needed: 1 }, "approvals_needed: is 1, and approvers has 0 names"],
    [{ approvers: ["ann", "bob", "ann"] }, 'approvers[2]: "ann" is in the list twice'],
    [{ approvers: [""] }, "approvers[0]: "],
    [{ human_prompt: " \n" }, "human_prompt: is blank"],
    // One person would have two votes.
    [
      { approvers: ["Ann", "ann"], approvals_needed: 2 },
      'approvers[1]: "ann" is in the list as "Ann" already',
    ],
    [{ approvers: ["Ann  Lee", "ann lee"] }, 'approvers[1]: "ann lee" is in the list as "Ann  Lee" already'],
    [{ approvers: ["Ren\u00e9", "Rene\u0301"] }, "approvers[1]: "],
    [{ approvers: [" ann"] }, 'approvers[0]: " ann" begins or ends with a space'],
    [
      { approvers: ["ann"], escalate_to: [group(60, "ANN")] },
      "escalate_to[0].approvers: must name a person who is in no group before",
    ],
    [
      { approvers: ["ann"], approvals_needed: 1, human_fields: [{ key: "decision" }] },
      'human_fields[0].key: "decision" is reserved',
    ],
    [{ escalate_to: [group(60, "bob")] }, "approvers: is required with escalate_to"],
    [
      { approvers: ["ann"], escalate_to: [group(60, "ann")] },
      "escalate_to[0].approvers: must name a person who is in no group before",
    ],
    [
      { approvers: ["ann"], escalate_to: [group(60, "bob"), group(60, "cat")] },
      "escalate_to[1].after_seconds: must be more than 60",
    ],
    [
      { approvers: ["ann"], escalate_to: [group(600, "bob")] },
      "escalate_to[0].after_seconds: must be less than human_timeout_seconds, which is 600",
    ],
    [{ on_timeout: "route" }, "timeout_step_id: is required with on_timeout route"],
    [{ on_timeout: "route", timeout_step_id: "nowhere" }, 'timeout_step_id: there is no step "nowhere"'],
    [{ on_timeout: "give_up" }, "on_timeout: "],
    [
      { on_timeout: "default", human_fields: [{ key: "k", required: true }] },
      "human_fields[0].default: is required for this field",
    ],
    [
      { human_fields: [{ key: "k", type: "number", default: "5" }] },
      "human_fields[0].default: must be a number",
    ],
    [{ human_fields: [{ key: "k", min: 5, max: 4 }] }, "human_fields[0].max: must be at least min"],
    [{ human_fields: [{ key: "k", type: "boolean", max: 4 }] }, "human_fields[0].max: has no effect"],
  ])("with %j is refused: %s", (fields, message) => {
    const [error, ...others] = errorsOf(fields);
    expect(error).toContain(`steps[0].${message}`);
    expect(others).toEqual([]);
  });

  test("names the step after its timeout, which is part of the graph", () => {
    const routed = { on_timeout: "route", timeout_step_id: "late" };
    expect(errorsOf(routed, end)).toEqual([]);
    expect(errorsOf({ timeout_step_id: "late" }, end)).toEqual([
      "steps[0].timeout_step_id: is never followed: on_timeout is fail, and must be route",
    ]);
    expect(errorsOf({}, end)).toEqual([expect.stringContaining('"late" cannot be reached')]);
    // The null target ends the run. Without it no path would lead out of the cycle.
    const cycle = { next_step_id: "a", max_iterations: 3 };
    expect(errorsOf({ ...cycle, on_timeout: "route", timeout_step_id: null })).toEqual([]);
    expect(errorsOf(cycle)).toEqual([expect.stringContaining("no path leads")]);
  });

  // Fails when the track of a branch goes on with the step after the parallel step.
  test("in a branch ends the branch where its timeout leads to the step after it", () => {
    const parsed = parseNewOrchestration({
      id: "o",
      name: "O",
      entry_step_id: "f",
      steps: [
        { id: "f", type: "parallel", parallel_branches: [["a"]], next_step_id: "late" },
        { ...human, next_step_id: "late", on_timeout: "route", timeout_step_id: "late" },
        end,
      ],
    });
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
    expect(layOut(parsed.definition).steps[1]).toMatchObject({ timeout_step_id: null, next_step_id: null });
  });

  test("with a quorum, an escalation and defaults is saved", () => {
    expect(
      errorsOf({
        approvers: ["ann", "bob"],
        approvals_needed: 2,
        escalate_to: [group(60, "cat"), group(120, "cat", "dan")],
        on_timeout: "default",
        human_fields: [{ key: "note", default: "none", max: 100, required: true }],
      }),
    ).toEqual([]);
  });
});
