import type { PureExecutor } from "../ports.ts";

/** Completes the run, whatever `next_step_id` says. */
export const end: PureExecutor<"end"> = async (step) => ({
  set: {},
  events: [{ type: "orchestration_end", orch_step_id: step.id }],
  usage: [],
  effects: [],
  ends: true,
});
