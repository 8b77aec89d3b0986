/** The contract of the step that runs another orchestration. */
import type { StepContract } from "./case.ts";

export const orchestration: StepContract = {
  does: "Runs another orchestration as a run of its own, a child. The run is paused, and takes no slot, until the child has ended; the child's response is stored under `output_key`.",
  cases: [
    {
      that: "goes on with the response of the child, which it starts once",
      steps: [
        {
          id: "a",
          type: "orchestration",
          orchestration_id: "child",
          input: "Describe the {state.animal}",
          output_key: "found",
          next_step_id: "b",
        },
        { id: "b", type: "print", print_content: "Found: {state.found}", output_key: "shown" },
      ],
      state: { animal: "owl" },
      children: { a: "It hunts at night." },
      gives: {
        state: { found: "It hunts at night.", shown: "Found: It hunts at night." },
        events: [
          "step_start",
          "child_started",
          "child_completed",
          "final",
          "step_complete",
          "step_start",
          "final",
          "step_complete",
        ],
      },
    },
    {
      that: "fails when the child fails",
      steps: [{ id: "a", type: "orchestration", orchestration_id: "child" }],
      children: { a: { fails: "model_refused" } },
      gives: {
        state: {},
        error: {
          code: "child_failed",
          message:
            "the run run_2483e1773407_1780499750067 that the step waited for failed: model_refused, the child has failed",
        },
      },
    },
    {
      that: "has the error of a failed child for its value, with `on_child_error` set to `continue`",
      steps: [
        {
          id: "a",
          type: "orchestration",
          orchestration_id: "child",
          on_child_error: "continue",
          output_key: "found",
          next_step_id: "b",
        },
        { id: "b", type: "print", print_content: "{state.found.error.code}", output_key: "shown" },
      ],
      children: { a: { fails: "model_refused" } },
      gives: {
        state: {
          found: {
            error: {
              code: "child_failed",
              message:
                "the run run_2483e1773407_1780499750067 that the step waited for failed: model_refused, the child has failed",
            },
            run_id: "run_2483e1773407_1780499750067",
          },
          shown: "child_failed",
        },
      },
    },
    {
      that: "waits in one branch for its child while the other goes on",
      steps: [
        { id: "a", type: "parallel", parallel_branches: [["nested", "x"], ["y"]] },
        { id: "nested", type: "orchestration", orchestration_id: "child", output_key: "found" },
        { id: "x", type: "llm", input_keys: ["found"], output_key: "x" },
        { id: "y", type: "llm", output_key: "y" },
      ],
      children: { "a[0].nested": "two owls" },
      model: { "a[0].x": ["X"], "a[1].y": ["Y"] },
      gives: { state: { found: "two owls", x: "X", y: "Y" } },
    },
    {
      that: "fails when there is no such orchestration",
      steps: [{ id: "a", type: "orchestration", orchestration_id: "chlid" }],
      gives: {
        state: {},
        error: { code: "unknown_orchestration", message: 'there is no orchestration "chlid"' },
      },
    },
  ],
};
