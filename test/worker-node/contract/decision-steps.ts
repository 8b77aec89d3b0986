/** The contracts of the steps that decide where a run goes. */
import type { StepContract } from "./case.ts";

const choose = (route: string) => ({
  calls: [{ name: "choose_route", args: { route, reasoning: "It is so." } }],
});
const show = (id: string, text = id) => ({ id, type: "print", print_content: text, output_key: "shown" });

export const evaluator: StepContract = {
  does: "Lets a model choose one of the labels of `route_map`, and goes to its target. The label is stored under `output_key`.",
  cases: [
    {
      that: "goes to the target of the label that the model chooses",
      steps: [
        {
          id: "a",
          type: "evaluator",
          evaluator_prompt: "Is {input} good?",
          route_map: { good: null, bad: "b" },
          output_key: "verdict",
        },
        { id: "b", type: "print", print_content: "It is bad.", output_key: "text" },
      ],
      model: { a: [choose("bad")] },
      gives: {
        state: {
          verdict: "bad",
          text: "It is bad.",
        },
        calls: ["a:1:model.1"],
      },
    },
    {
      that: "sends the model the labels when its answer names none of them, and requests another answer",
      steps: [{ id: "a", type: "evaluator", route_map: { good: null, bad: null }, output_key: "verdict" }],
      model: { a: ["Well.", choose("good")] },
      gives: {
        state: { verdict: "good" },
        checkpoints: 2,
        calls: ["a:1:model.1", "a:1:model.2"],
      },
    },
    {
      that: "fails after three answers without a label, unless it has a `default_route`; it never guesses",
      steps: [{ id: "a", type: "evaluator", route_map: { good: null } }],
      model: { a: ["Well.", "Hm.", "Who knows?"] },
      gives: {
        state: {},
        calls: ["a:1:model.1", "a:1:model.2", "a:1:model.3"],
        error: {
          code: "no_route",
          message: "the model did not choose a route in 3 answers, and there is no default_route",
        },
      },
    },
    {
      that: "is visited again by a cycle, up to `max_iterations` results of a step in it",
      steps: [
        {
          id: "a",
          type: "evaluator",
          route_map: { good: null, again: "b" },
          output_key: "verdict",
          max_iterations: 2,
        },
        { id: "b", type: "print", print_content: "again", next_step_id: "a" },
      ],
      model: { a: [choose("again")], "a#2": [choose("good")] },
      gives: {
        state: { verdict: "good" },
        calls: ["a:1:model.1", "a:2:model.1"],
      },
    },
  ],
};

export const ifElse: StepContract = {
  does: "Goes to `if_true_step_id` or `if_false_step_id`, as the expression `if_condition` says. Without a target for its value it goes to `next_step_id`.",
  cases: [
    {
      that: "takes a condition in JavaScript or in the plain Python of imported definitions",
      steps: [
        {
          id: "a",
          type: "if_else",
          if_condition: "state.n > 3 and 'x' in state.tags",
          if_true_step_id: "b",
          if_false_step_id: "c",
          output_key: "yes",
        },
        show("b"),
        show("c"),
      ],
      state: { n: 4, tags: ["x"] },
      gives: { state: { yes: true, shown: "b" } },
    },
    {
      that: "ends the run where a target is written as null",
      steps: [
        {
          id: "a",
          type: "if_else",
          if_condition: "state.n > 3",
          if_true_step_id: null,
          if_false_step_id: "b",
        },
        show("b"),
      ],
      state: { n: 4 },
      gives: { state: {} },
    },
    {
      that: "fails where no field says how the run goes on",
      steps: [{ id: "a", type: "if_else", if_condition: "state.n > 3", if_true_step_id: "b" }, show("b")],
      state: { n: 1 },
      gives: {
        state: {},
        error: {
          code: "no_route",
          message: "the condition is false, and no field says where the run goes then",
        },
      },
    },
    {
      that: "fails when the condition fails: an error is not false",
      steps: [{ id: "a", type: "if_else", if_condition: "state.user.name == 'Ada'", if_true_step_id: null }],
      gives: {
        state: {},
        error: {
          code: "expression",
          message:
            "the expression failed: TypeError: cannot read property 'name' of undefined (line 1, column 11; state.user is absent)",
        },
      },
    },
  ],
};

export const switchStep: StepContract = {
  does: "Goes to the target of the case in `switch_cases` that is the value of `switch_expression` as a text, else to `switch_default_step_id`.",
  cases: [
    {
      that: "takes the case that has the value's text",
      steps: [
        {
          id: "a",
          type: "switch",
          switch_expression: "state.order.items.length",
          switch_cases: { "1": "b", "2": "c" },
          switch_default_step_id: null,
        },
        show("b"),
        show("c"),
      ],
      state: { order: { items: ["tea", "milk"] } },
      gives: {
        state: { shown: "c" },
        events: ["step_start", "step_complete", "switch_decision", "step_start", "final", "step_complete"],
      },
    },
    {
      that: "fails when no case fits and there is no default",
      steps: [
        { id: "a", type: "switch", switch_expression: "state.kind", switch_cases: { refund: "b" } },
        show("b"),
      ],
      state: { kind: "Refund" },
      gives: {
        state: {},
        error: { code: "no_route", message: 'no case is "Refund", and there is no switch_default_step_id' },
      },
    },
  ],
};

export const end: StepContract = {
  does: "Ends the run as completed, whatever follows.",
  cases: [
    {
      that: "ends the run at once",
      steps: [
        { id: "a", type: "if_else", if_condition: "state.done", if_true_step_id: "b", if_false_step_id: "c" },
        { id: "b", type: "end" },
        show("c"),
      ],
      state: { done: true },
      gives: {
        state: {},
        events: [
          "step_start",
          "step_complete",
          "if_decision",
          "step_start",
          "orchestration_end",
          "step_complete",
        ],
      },
    },
  ],
};
