/** The contracts of the steps that divide a run into tracks, or let it wait. */
import type { StepContract } from "./case.ts";

const llmStep = (id: string, fields: object = {}) => ({ id, type: "llm", output_key: id, ...fields });

export const parallel: StepContract = {
  does: "Runs its branches at the same time, each with its own view of state and its own checkpoints. A branch is a list of steps, or one step that is followed to the step after the `parallel`.",
  cases: [
    {
      that: "has the keys that all branches wrote, and under its `output_key` the outcome of each branch",
      steps: [
        {
          id: "a",
          type: "parallel",
          parallel_branches: [["x"], ["y", "z"]],
          output_key: "all",
          next_step_id: "m",
        },
        llmStep("x"),
        llmStep("y"),
        llmStep("z", { input_keys: ["y"] }),
        { id: "m", type: "merge", input_keys: ["x", "z"], merge_strategy: "dict", output_key: "both" },
      ],
      model: { "a[0].x": ["X"], "a[1].y": ["Y"], "a[1].z": ["Z"] },
      gives: {
        state: {
          x: "X",
          y: "Y",
          z: "Z",
          all: [
            { status: "completed", output: "X" },
            { status: "completed", output: "Z" },
          ],
          both: { x: "X", z: "Z" },
        },
      },
    },
    {
      that: "goes on with the other branches after a failure, with `on_branch_error` set to `collect`",
      steps: [
        {
          id: "a",
          type: "parallel",
          parallel_branches: [["x"], ["y"]],
          on_branch_error: "collect",
          output_key: "all",
        },
        llmStep("x"),
        llmStep("y"),
      ],
      model: { "a[0].x": [{ fails: "model_refused" }], "a[1].y": ["Y"] },
      gives: {
        state: {
          y: "Y",
          all: [
            {
              status: "failed",
              error: { code: "model_refused", message: "the model has failed", step_id: "x" },
            },
            { status: "completed", output: "Y" },
          ],
        },
      },
    },
    {
      that: "waits in one branch for a person while the other goes on",
      steps: [
        { id: "a", type: "parallel", parallel_branches: [["ask", "x"], ["y"]] },
        { id: "ask", type: "human", human_prompt: "Which?", output_key: "which" },
        llmStep("x", { input_keys: ["which"] }),
        llmStep("y"),
      ],
      persons: { "a[0].ask": "the first" },
      model: { "a[0].x": ["X"], "a[1].y": ["Y"] },
      gives: { state: { which: "the first", human_response: "the first", x: "X", y: "Y" } },
    },
  ],
};

export const loop: StepContract = {
  does: "Repeats its steps, `loop_count` times or for each item of the list that `for_each` names. Afterwards each `output_key` of its steps is the list of its values.",
  cases: [
    {
      that: "goes on with the state of the round before",
      steps: [
        { id: "a", type: "loop", loop_count: 3, loop_step_ids: ["add"], output_key: "lists" },
        { id: "add", type: "transform", transform_code: "result = (state.n ?? 0) + 1", output_key: "n" },
      ],
      gives: { state: { n: [1, 2, 3], lists: { add: [1, 2, 3] } } },
    },
    {
      that: "has the list of each step by its name, with its id where the name alone would stand for another list too",
      steps: [
        { id: "a", type: "loop", loop_count: 2, loop_step_ids: ["x", "y", "z"], output_key: "lists" },
        { id: "x", name: "Draft", type: "print", print_content: "x", output_key: "x" },
        { id: "y", name: "Draft", type: "print", print_content: "y", output_key: "y" },
        { id: "z", name: "errors", type: "print", print_content: "z", output_key: "z" },
      ],
      gives: {
        state: {
          x: ["x", "x"],
          y: ["y", "y"],
          z: ["z", "z"],
          lists: { "Draft (x)": ["x", "x"], "Draft (y)": ["y", "y"], "errors (z)": ["z", "z"] },
        },
      },
    },
    {
      that: "gives each item of a list an iteration of its own, with `{item}` and `{index}`",
      steps: [
        { id: "a", type: "loop", for_each: "state.teas", concurrency: 2, loop_step_ids: ["taste"] },
        llmStep("taste", { prompt_template: "{index}: {item.name}", output_key: "notes" }),
      ],
      state: { teas: [{ name: "green" }, { name: "black" }] },
      model: { "a[0].taste": ["grassy"], "a[1].taste": ["malty"] },
      gives: { state: { notes: ["grassy", "malty"] } },
    },
    {
      that: "has empty lists after an empty list",
      steps: [
        {
          id: "a",
          type: "loop",
          for_each: "state.teas",
          loop_step_ids: ["taste"],
          output_key: "lists",
          next_step_id: "b",
        },
        llmStep("taste", { output_key: "notes" }),
        { id: "b", type: "print", print_content: "{state.notes}", output_key: "shown" },
      ],
      state: { teas: [] },
      gives: { state: { notes: [], lists: { taste: [] }, shown: "[]" }, calls: [] },
    },
    {
      that: "has null in a list for an iteration that did not come to the step",
      steps: [
        { id: "a", type: "loop", for_each: "state.teas", loop_step_ids: ["choose", "note"] },
        {
          id: "choose",
          type: "switch",
          switch_expression: "item.rare",
          switch_cases: { true: "note", false: null },
        },
        { id: "note", type: "print", print_content: "{item.name}", output_key: "rare" },
      ],
      state: { teas: [{ name: "green", rare: false }] },
      gives: { state: { rare: [null] } },
    },
    {
      that: "has each value in the list of the step that wrote it last, where two steps write one key",
      steps: [
        {
          id: "a",
          type: "loop",
          for_each: "state.teas",
          loop_step_ids: ["plain", "choose", "rare"],
          output_key: "lists",
          next_step_id: "b",
        },
        { id: "plain", type: "print", print_content: "plain {item.name}", output_key: "note" },
        {
          id: "choose",
          type: "if_else",
          if_condition: "item.rare",
          if_true_step_id: "rare",
          if_false_step_id: "b",
        },
        { id: "rare", type: "print", print_content: "rare {item.name}", output_key: "note" },
        { id: "b", type: "end" },
      ],
      state: {
        teas: [
          { name: "green", rare: false },
          { name: "white", rare: true },
        ],
      },
      gives: {
        state: {
          note: ["plain green", "rare white"],
          lists: { plain: ["plain green", null], rare: [null, "rare white"] },
        },
      },
    },
    {
      that: "ends an iteration where a decision leads to the step after the loop",
      steps: [
        {
          id: "a",
          type: "loop",
          for_each: "state.teas",
          loop_step_ids: ["choose", "note"],
          next_step_id: "b",
        },
        {
          id: "choose",
          type: "if_else",
          if_condition: "item.rare",
          if_true_step_id: "note",
          if_false_step_id: "b",
        },
        { id: "note", type: "print", print_content: "{item.name}", output_key: "rare" },
        { id: "b", type: "print", print_content: "{state.rare}", output_key: "shown" },
      ],
      state: {
        teas: [
          { name: "green", rare: false },
          { name: "white", rare: true },
        ],
      },
      gives: { state: { rare: [null, "white"], shown: '[null,"white"]' } },
    },
    {
      that: "has the `{item}` of the loop around it where it has none of its own",
      steps: [
        { id: "a", type: "loop", for_each: "state.teas", loop_step_ids: ["again"] },
        { id: "again", type: "loop", loop_count: 2, loop_step_ids: ["note"] },
        { id: "note", type: "print", print_content: "{item.name} {index}", output_key: "notes" },
      ],
      state: { teas: [{ name: "green" }, { name: "black" }] },
      gives: {
        state: {
          notes: [
            ["green 0", "green 1"],
            ["black 0", "black 1"],
          ],
        },
      },
    },
    {
      that: "goes through a list in the item of the loop around it",
      steps: [
        { id: "a", type: "loop", for_each: "state.shelves", loop_step_ids: ["shelf"] },
        { id: "shelf", type: "loop", for_each: "item.teas", loop_step_ids: ["note"] },
        { id: "note", type: "print", print_content: "{item} {index}", output_key: "notes" },
      ],
      state: { shelves: [{ teas: ["green", "black"] }, { teas: [] }] },
      gives: { state: { notes: [["green 0", "black 1"], []] } },
    },
    {
      that: "fails when `for_each` names no list",
      steps: [{ id: "a", type: "loop", for_each: "state.teas", loop_step_ids: ["taste"] }, llmStep("taste")],
      state: { teas: "green" },
      gives: {
        state: {},
        calls: [],
        error: { code: "no_list", message: "for_each reads state.teas, which is no list" },
      },
    },
  ],
};

export const human: StepContract = {
  does: "Asks a person. The run is paused, and takes no slot, until the answer is there; the answer is stored under `output_key` and under `human_response`.",
  cases: [
    {
      that: "goes on with the answer, and asks once",
      steps: [
        {
          id: "a",
          type: "human",
          human_prompt: "Publish {state.title}?",
          human_fields: [{ key: "decision", type: "select", options: ["yes", "no"] }],
          output_key: "answer",
          next_step_id: "b",
        },
        { id: "b", type: "print", print_content: "{state.answer.decision}", output_key: "shown" },
      ],
      state: { title: "Tea" },
      persons: { a: { decision: "yes" } },
      gives: {
        state: { answer: { decision: "yes" }, human_response: { decision: "yes" }, shown: "yes" },
        events: [
          "step_start",
          "human_input_required",
          "human_response",
          "step_complete",
          "step_start",
          "final",
          "step_complete",
        ],
      },
    },
    {
      that: "takes the defaults of its fields for the answer when `on_timeout` is `default`",
      steps: [
        {
          id: "a",
          type: "human",
          human_prompt: "Publish?",
          human_fields: [{ key: "decision", type: "select", options: ["yes", "no"], default: "no" }],
          human_timeout_seconds: 60,
          on_timeout: "default",
          output_key: "answer",
        },
      ],
      persons: { a: { silent: true } },
      gives: { state: { answer: { decision: "no" }, human_response: { decision: "no" } } },
    },
    {
      that: "goes to `timeout_step_id` when no answer came and `on_timeout` is `route`",
      steps: [
        {
          id: "a",
          type: "human",
          human_prompt: "Publish?",
          human_timeout_seconds: 60,
          on_timeout: "route",
          timeout_step_id: "late",
          next_step_id: "b",
        },
        { id: "b", type: "print", print_content: "in time", output_key: "shown" },
        { id: "late", type: "print", print_content: "too late", output_key: "shown" },
      ],
      persons: { a: { silent: true } },
      gives: { state: { human_response: null, shown: "too late" } },
    },
    {
      that: "fails when no answer came in `human_timeout_seconds`",
      steps: [{ id: "a", type: "human", human_prompt: "Publish?", human_timeout_seconds: 60 }],
      persons: { a: { silent: true } },
      gives: { state: {}, error: { code: "human_timeout", message: "no answer came within 60 s" } },
    },
  ],
};

export const wait: StepContract = {
  does: "Waits for a duration (`wait_seconds`) or until a time (`wait_until`), a year at most. The run is paused, and takes no slot, until then.",
  cases: [
    {
      that: "goes on when the time has passed",
      steps: [
        { id: "a", type: "wait", wait_seconds: "{state.seconds}", next_step_id: "b" },
        { id: "b", type: "print", print_content: "later", output_key: "shown" },
      ],
      state: { seconds: 3_600 },
      gives: {
        state: { shown: "later" },
        events: ["step_start", "timer_started", "step_complete", "step_start", "final", "step_complete"],
      },
    },
    {
      that: "goes on immediately when the time is over already",
      steps: [{ id: "a", type: "wait", wait_until: "2020-01-01T00:00:00Z" }],
      gives: { state: {}, events: ["step_start", "step_complete"] },
    },
    {
      that: "fails when `wait_until` is not a time",
      steps: [{ id: "a", type: "wait", wait_until: "{state.when}" }],
      state: { when: "tomorrow" },
      gives: {
        state: {},
        error: {
          code: "wait_time",
          message:
            'wait_until is "tomorrow": it must be a time as RFC 3339 writes it, such as 2026-06-04T09:15:30Z',
        },
      },
    },
  ],
};
