/** The contracts of the steps that change state or show it, without a call to the outside. */
import type { StepContract } from "./case.ts";

const show = (id: string, text = id) => ({ id, type: "print", print_content: text, output_key: "shown" });

export const transform: StepContract = {
  does: "Runs `transform_code`, JavaScript that reads `state` and sets `result`, in a sandbox without network, clock and files.",
  cases: [
    {
      that: "stores its `result`, which may be any JSON value",
      steps: [
        {
          id: "a",
          type: "transform",
          transform_code: "result = { total: state.items.reduce((sum, n) => sum + n, 0) }",
          output_key: "order",
        },
      ],
      state: { items: [1, 2, 3] },
      gives: { state: { order: { total: 6 } }, events: ["step_start", "transform_result", "step_complete"] },
    },
    {
      that: "changes nothing in state but its `output_key`",
      steps: [
        {
          id: "a",
          type: "transform",
          transform_code: "state.items.push(4); result = state.items.length",
          output_key: "n",
          next_step_id: "b",
        },
        show("b", "{state.items}"),
      ],
      state: { items: [1] },
      gives: { state: { n: 2, shown: "[1]" } },
    },
    {
      that: "fails with the error of its code",
      steps: [{ id: "a", type: "transform", transform_code: "result = state.order.total", output_key: "n" }],
      gives: {
        state: {},
        error: {
          code: "transform",
          message:
            "transform_code failed: TypeError: cannot read property 'total' of undefined (line 1, column 21; state.order is absent)",
        },
      },
    },
  ],
};

export const extractJson: StepContract = {
  does: "Finds JSON in the text of each of the `input_keys`: the whole text, else fenced blocks, else objects and lists in brackets. Several values become a list. A comma too many and line breaks in strings are mended; of a value with another fault no part is taken. A text without JSON goes to the model, once.",
  cases: [
    {
      that: "finds an object in a text",
      steps: [{ id: "a", type: "extract_json", input_keys: ["answer"], output_key: "order" }],
      state: { answer: 'Here it is: {"total": 12}. Anything else?' },
      gives: { state: { order: { total: 12 } }, events: ["step_start", "final", "step_complete"] },
    },
    {
      that: "finds an object that the text has in quotes, as models encode JSON twice",
      steps: [{ id: "a", type: "extract_json", input_keys: ["answer"], output_key: "order" }],
      state: { answer: '"{\\"total\\": 12}"' },
      gives: { state: { order: { total: 12 } } },
    },
    {
      that: "asks the model once for the JSON of a text that has none",
      steps: [{ id: "a", type: "extract_json", input_keys: ["answer"], output_key: "order" }],
      state: { answer: '{"total": 12, "items": ["te' },
      model: { a: ['{"total": 12, "items": ["te"]}'] },
      gives: { state: { order: { total: 12, items: ["te"] } }, calls: ["a:1:model.1"] },
    },
    {
      that: "fails when the model's answer has no JSON either",
      steps: [{ id: "a", type: "extract_json", input_keys: ["answer"], output_key: "order" }],
      state: { answer: "I would rather not." },
      model: { a: ["There is none."] },
      gives: {
        state: {},
        calls: ["a:1:model.1"],
        error: {
          code: "no_json",
          message: "there is no JSON in the text, and none in what a model made of it: input_keys answer",
        },
      },
    },
  ],
};

export const merge: StepContract = {
  does: "Brings the values of `input_keys` together: a `list` of `{source, data}`, a `dict` by source, or one text (`concat`). The source is the step that writes the key.",
  cases: [
    {
      that: "makes one text of the values, each below its source",
      steps: [
        { ...show("a", "first"), name: "Draft", output_key: "draft", next_step_id: "b" },
        {
          id: "b",
          type: "merge",
          merge_strategy: "concat",
          input_keys: ["draft", "notes"],
          output_key: "all",
        },
      ],
      state: { notes: "short" },
      gives: { state: { draft: "first", all: "[Draft (a)]\nfirst\n\n[notes]\nshort" } },
    },
    {
      that: "keeps all values in a `dict`: two sources of one name have their keys too",
      steps: [
        { id: "a", type: "print", print_content: "first", output_key: "draft", next_step_id: "b" },
        { id: "b", type: "merge", merge_strategy: "dict", input_keys: ["draft", "a"], output_key: "all" },
      ],
      state: { a: "short" },
      gives: { state: { draft: "first", all: { "a (draft)": "first", "a (a)": "short" } } },
    },
    {
      that: "fails when a key is missing: a result with a gap would look complete",
      steps: [{ id: "a", type: "merge", input_keys: ["draft"], output_key: "all" }],
      gives: {
        state: {},
        error: { code: "missing_input", message: "state has no draft: no step has written it" },
      },
    },
  ],
};
export const print: StepContract = {
  does: "Renders `print_content`, shows it to the viewers, and stores it under `output_key`.",
  cases: [
    {
      that: "fills in the message and values of state, also inside of values",
      steps: [{ id: "a", type: "print", print_content: "{input}: {state.order.total}", output_key: "text" }],
      message: "Total",
      state: { order: { total: 12 } },
      gives: { state: { text: "Total: 12" }, events: ["step_start", "final", "step_complete"] },
    },
    {
      that: "fails for a key that state does not have: a text with a gap would look complete",
      steps: [{ id: "a", type: "print", print_content: "{state.order}", input_keys: ["order"] }],
      gives: {
        state: {},
        error: { code: "template", message: "the template reads {state.order}, which state does not have" },
      },
    },
  ],
};
