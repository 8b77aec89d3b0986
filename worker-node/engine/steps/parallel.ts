import { namesOf } from "../events.ts";
import { outputOf } from "../run-state.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import type { EndedTrack, Fork } from "../../../shared/journal/track.ts";
import type { Forker } from "../ports.ts";

/** Runs its branches at the same time. State has what they have written afterwards; `output_key` has the outcome of each branch. */
export const parallel: Forker<"parallel"> = {
  begin: async (step) => {
    const count = step.parallel_branches.length;
    return {
      in: "branches",
      count,
      events: [{ type: "parallel_start", ...namesOf(step), branch_count: count }],
    };
  },
  track: (step, index) => ({ type: "branch_start", ...namesOf(step), branch_index: index }),
  join: (step, fork) => {
    const outcomes = outcomesOf(fork);
    return {
      set: outputOf(step, outcomes),
      events: [{ type: "parallel_complete", ...namesOf(step), branch_count: fork.count }],
      usage: [],
      response: outcomes,
      effects: [],
    };
  },
};

/** The outcome of each branch: the value of its last `output_key`, or its error. */
function outcomesOf({ ended }: Fork): Json[] {
  return ended.map((track) => ({ ...outcomeOf(track) }));
}

function outcomeOf({ output, error }: EndedTrack) {
  return error === null
    ? { status: "completed", output }
    : { status: "failed", error: { code: error.code, message: error.message, step_id: error.step_id } };
}
