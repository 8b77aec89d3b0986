/** The contracts of the steps that call a model or a tool. */
import type { JsonObject } from "../../../shared/contracts/json.ts";
import type { StepContract } from "./case.ts";

const answer = (args: JsonObject) => ({ calls: [{ name: "final_answer", args }] });
const delegate = (agent_id: string, task: string) => ({
  name: "delegate_to_agent",
  args: { agent_id, task },
});
const person = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer", minimum: 0 } },
  required: ["name", "age"],
};
const choose = (route: string, reasoning: string) => ({
  calls: [{ name: "choose_route", args: { route, reasoning } }],
});
const search = (query: string) => ({ calls: [{ name: "search", args: { query } }] });

export const llm: StepContract = {
  does: "Calls a model once. Its prompt has the run's message as the goal; the reason of the evaluator that has led to the step, and of each one whose label is in `input_keys`; what persons have answered in the run so far; the values of `input_keys`; on a later visit the present value of `output_key`; and the task in `prompt_template`. The prompts of agents, and of models that fill in a tool's arguments, are made in the same way.",
  cases: [
    {
      that: "stores the model's text under `output_key`",
      steps: [{ id: "a", type: "llm", prompt_template: "Greet {state.name}", output_key: "greeting" }],
      state: { name: "Ada" },
      model: { a: ["Hello Ada"] },
      gives: {
        state: { greeting: "Hello Ada" },
        events: ["step_start", "final", "step_complete"],
        calls: ["a:1:model.1"],
      },
    },
    {
      that: "gets the reason of the evaluator that has sent the run back, and the text that it replaces",
      steps: [
        { id: "a", type: "llm", prompt_template: "Write.", output_key: "text", next_step_id: "review" },
        {
          id: "review",
          name: "Review",
          type: "evaluator",
          evaluator_prompt: "Is it good?",
          input_keys: ["text"],
          route_map: { good: null, again: "a" },
          output_key: "verdict",
        },
      ],
      model: {
        a: ["A draft"],
        review: [choose("again", "The end is missing.")],
        "a#2": ["A text"],
        "review#2": [choose("good", "It has an end.")],
      },
      gives: {
        state: { text: "A text", verdict: "good" },
        prompts: {
          "a:1:model.1": "## Goal of the workflow\nhello\n\n## Your task\nWrite.",
          "a:2:model.1":
            "## Goal of the workflow\nhello\n\n## Decision of Review\nagain: The end is missing.\n\n" +
            "## Present value of text, which you replace\nA draft\n\n## Your task\nWrite.",
        },
      },
    },
    {
      that: "gets the reason behind a label in its `input_keys`, and what persons have answered on the way",
      steps: [
        {
          id: "a",
          type: "evaluator",
          evaluator_prompt: "Is it clear?",
          route_map: { clear: "b", unclear: "ask" },
          output_key: "verdict",
        },
        { id: "ask", name: "Clarify", type: "human", human_prompt: "Which tea?", next_step_id: "b" },
        { id: "b", type: "print", print_content: "On.", next_step_id: "c" },
        { id: "c", type: "llm", prompt_template: "Write.", input_keys: ["verdict"], output_key: "text" },
      ],
      model: { a: [choose("unclear", "There are many teas.")], c: ["A text"] },
      persons: { ask: { kind: "green" } },
      gives: {
        state: { verdict: "unclear", human_response: { kind: "green" }, text: "A text" },
        prompts: {
          "c:1:model.1":
            "## Goal of the workflow\nhello\n\n## Decision of a\nunclear: There are many teas.\n\n" +
            '## Answer of a person in Clarify\n{"kind":"green"}\n\n## Input: verdict\nunclear\n\n## Your task\nWrite.',
        },
      },
    },
    {
      that: "has an answer that its template or `input_keys` name once, there; and without an `output_key` only the newest answer",
      steps: [
        { id: "a", type: "human", human_prompt: "How long?", next_step_id: "ask" },
        { id: "ask", type: "human", human_prompt: "Which tea?", output_key: "tea", next_step_id: "b" },
        { id: "b", type: "llm", prompt_template: "Write about {state.tea.kind}.", next_step_id: "c" },
        { id: "c", type: "llm", prompt_template: "Write.", input_keys: ["tea"], next_step_id: "d" },
        {
          id: "d",
          type: "llm",
          prompt_template: "Write about {state.human_response.kind}.",
          next_step_id: "e",
        },
        { id: "e", type: "llm", prompt_template: "Write." },
      ],
      persons: { a: { length: "short" }, ask: { kind: "green" } },
      model: { b: ["B"], c: ["C"], d: ["D"], e: ["E"] },
      gives: {
        state: { tea: { kind: "green" }, human_response: { kind: "green" } },
        prompts: {
          "b:1:model.1": "## Goal of the workflow\nhello\n\n## Your task\nWrite about green.",
          "c:1:model.1":
            '## Goal of the workflow\nhello\n\n## Input: tea\n{"kind":"green"}\n\n## Your task\nWrite.',
          "d:1:model.1": "## Goal of the workflow\nhello\n\n## Your task\nWrite about green.",
          "e:1:model.1":
            '## Goal of the workflow\nhello\n\n## Answer of a person in ask\n{"kind":"green"}\n\n## Your task\nWrite.',
        },
      },
    },
    {
      that: "has the answers of its own branch, and after the join no name of a person whose answer it cannot tell",
      steps: [
        {
          id: "a",
          type: "parallel",
          parallel_branches: [
            ["ask", "b"],
            ["check", "c"],
          ],
          next_step_id: "d",
        },
        { id: "ask", type: "human", human_prompt: "Which tea?", next_step_id: "b" },
        { id: "b", type: "llm", prompt_template: "B?", output_key: "b" },
        { id: "check", type: "human", human_prompt: "Which cup?", next_step_id: "c" },
        { id: "c", type: "llm", prompt_template: "C?", output_key: "c" },
        { id: "d", type: "llm", prompt_template: "D?", output_key: "d" },
      ],
      persons: { "a[0].ask": "green", "a[1].check": "white" },
      model: { "a[0].b": ["B"], "a[1].c": ["C"], d: ["D"] },
      gives: {
        state: { human_response: "white", b: "B", c: "C", d: "D" },
        prompts: {
          "a[0].b:1:model.1":
            "## Goal of the workflow\nhello\n\n## Answer of a person in ask\ngreen\n\n## Your task\nB?",
          "a[1].c:1:model.1":
            "## Goal of the workflow\nhello\n\n## Answer of a person in check\nwhite\n\n## Your task\nC?",
          "d:1:model.1":
            "## Goal of the workflow\nhello\n\n## Newest answer of a person\nwhite\n\n## Your task\nD?",
        },
      },
    },
    {
      that: "has at most 3,000 characters of an answer, and of a reason, that neither its template nor `input_keys` name",
      steps: [
        { id: "a", type: "human", human_prompt: "Why?", output_key: "why", next_step_id: "b" },
        { id: "b", type: "llm", prompt_template: "B?" },
      ],
      persons: { a: `${"x".repeat(3_000)}yz` },
      model: { b: ["B"] },
      gives: {
        state: { why: `${"x".repeat(3_000)}yz`, human_response: `${"x".repeat(3_000)}yz` },
        prompts: {
          "b:1:model.1": `## Goal of the workflow\nhello\n\n## Answer of a person in a\n${"x".repeat(3_000)}\n[2 characters left out]\n\n## Your task\nB?`,
        },
      },
    },
    {
      that: "gets the reason of an evaluator also in the branches and iterations to which it has led",
      steps: [
        { id: "a", type: "evaluator", route_map: { more: "fan" } },
        { id: "fan", type: "parallel", parallel_branches: [["b"], ["c"]] },
        { id: "b", type: "llm", prompt_template: "B?", output_key: "b", next_step_id: "b2" },
        { id: "b2", type: "llm", prompt_template: "B2?", output_key: "b2" },
        { id: "c", type: "llm", prompt_template: "C?", output_key: "c" },
      ],
      model: {
        a: [choose("more", "Two are missing.")],
        "fan[0].b": ["B"],
        "fan[0].b2": ["B2"],
        "fan[1].c": ["C"],
      },
      gives: {
        state: { b: "B", b2: "B2", c: "C" },
        prompts: {
          "fan[0].b:1:model.1":
            "## Goal of the workflow\nhello\n\n## Decision of a\nmore: Two are missing.\n\n## Your task\nB?",
          "fan[0].b2:1:model.1": "## Goal of the workflow\nhello\n\n## Your task\nB2?",
          "fan[1].c:1:model.1":
            "## Goal of the workflow\nhello\n\n## Decision of a\nmore: Two are missing.\n\n## Your task\nC?",
        },
      },
    },
    {
      that: "fails the run when the model fails, and goes to no other step",
      steps: [
        { id: "a", type: "llm", output_key: "text", next_step_id: "b" },
        { id: "b", type: "print", print_content: "never" },
      ],
      model: { a: [{ fails: "model_refused" }] },
      gives: {
        state: {},
        calls: ["a:1:model.1"],
        error: { code: "model_refused", message: "the model has failed" },
      },
    },
    {
      that: "has a value of its `output_schema` as its answer: the model gets the faults of an answer that does not fit, once",
      steps: [{ id: "a", type: "llm", prompt_template: "Who?", output_key: "who", output_schema: person }],
      model: { a: [answer({ name: "Ada", age: -1 }), answer({ name: "Ada", age: 36 })] },
      gives: {
        state: { who: { name: "Ada", age: 36 } },
        events: ["step_start", "final", "step_complete"],
        calls: ["a:1:model.1", "a:1:model.2"],
        checkpoints: 2,
      },
    },
    {
      that: "fails when the second answer does not fit its `output_schema` either",
      steps: [{ id: "a", type: "llm", prompt_template: "Who?", output_key: "who", output_schema: person }],
      model: { a: ["I do not know.", answer({ name: "Ada" })] },
      gives: {
        state: {},
        calls: ["a:1:model.1", "a:1:model.2"],
        error: { code: "output_invalid", message: "the answer does not fit output_schema: age is missing" },
      },
    },
    {
      that: "fails when the prompt needs a key that state does not have",
      steps: [{ id: "a", type: "llm", prompt_template: "Greet {state.name}", input_keys: ["name"] }],
      gives: {
        state: {},
        calls: [],
        error: { code: "template", message: "the template reads {state.name}, which state does not have" },
      },
    },
  ],
};

export const agent: StepContract = {
  does: "Lets a saved agent work with its tools, turn by turn, until it answers without a call of a tool. Each turn is a checkpoint.",
  cases: [
    {
      that: "makes the calls that the agent asks for, and stores its answer",
      steps: [{ id: "a", type: "agent", agent_id: "agent_reader", output_key: "found" }],
      agents: { agent_reader: { tools: ["search"] } },
      tools: { search: { hits: 2 } },
      model: { a: [search("tea"), search("green tea"), "Two hits."] },
      gives: {
        state: { found: "Two hits." },
        checkpoints: 5,
        calls: ["a:1:model.1", "a:1:tool.1.1", "a:1:model.2", "a:1:tool.2.1", "a:1:model.3"],
      },
    },
    {
      that: "makes the calls of one answer at the same time where the tool is parallel, and commits each result by itself",
      steps: [{ id: "a", type: "agent", agent_id: "agent_reader", output_key: "found" }],
      agents: { agent_reader: { tools: ["search"] } },
      tools: { search: { hits: 2 } },
      parallel: ["search"],
      model: {
        a: [
          { calls: [...search("tea").calls, ...search("milk").calls, ...search("sugar").calls] },
          "Six hits.",
        ],
      },
      gives: {
        state: { found: "Six hits." },
        checkpoints: 5,
        calls: ["a:1:model.1", "a:1:tool.1.1", "a:1:tool.1.2", "a:1:tool.1.3", "a:1:model.2"],
      },
    },
    {
      that: "lets the agent give tasks to the agents of its `delegate_agent_ids`, whose turns are checkpoints too",
      steps: [{ id: "a", type: "agent", agent_id: "agent_lead", output_key: "report" }],
      agents: {
        agent_lead: { delegate_agent_ids: ["agent_reader"] },
        agent_reader: { tools: ["search"] },
      },
      tools: { search: { hits: 2 } },
      model: {
        a: [{ calls: [delegate("agent_reader", "Count tea")] }, "There are two."],
        "a/tool.1.1": [search("tea"), "Two hits."],
      },
      gives: {
        state: { report: "There are two." },
        events: [
          "step_start",
          "tool_execution",
          "tool_execution",
          "tool_result",
          "tool_result",
          "final",
          "step_complete",
        ],
        checkpoints: 6,
        calls: [
          "a:1:model.1",
          "a:1:tool.1.1.model.1",
          "a:1:tool.1.1.tool.1.1",
          "a:1:tool.1.1.model.2",
          "a:1:model.2",
        ],
      },
    },
    {
      that: "has a value of its `output_schema` as its answer, which the agent gives when its tools have answered",
      steps: [{ id: "a", type: "agent", agent_id: "agent_reader", output_key: "who", output_schema: person }],
      agents: { agent_reader: { tools: ["search"] } },
      tools: { search: { hits: 2 } },
      model: {
        a: [search("Ada"), answer({ name: "Ada", age: "36" }), answer({ name: "Ada", age: 36 })],
      },
      gives: {
        state: { who: { name: "Ada", age: 36 } },
        calls: ["a:1:model.1", "a:1:tool.1.1", "a:1:model.2", "a:1:model.3"],
      },
    },
    {
      that: "gives the agent the reason when a tool refuses a call, and the agent goes on",
      steps: [{ id: "a", type: "agent", agent_id: "agent_reader", output_key: "found" }],
      agents: { agent_reader: { tools: ["search"] } },
      tools: { search: { refuses: "the query is too short" } },
      model: { a: [search(""), "I found nothing."] },
      gives: { state: { found: "I found nothing." }, calls: ["a:1:model.1", "a:1:tool.1.1", "a:1:model.2"] },
    },
    {
      that: "runs another orchestration with the tool `spawn_run`, and waits for it without a slot",
      steps: [{ id: "a", type: "agent", agent_id: "agent_lead", output_key: "found" }],
      agents: { agent_lead: { tools: ["spawn_run"], orchestration_ids: ["child"] } },
      model: {
        a: [
          { calls: [{ name: "spawn_run", args: { orchestration_id: "child", message: "owls" } }] },
          "Two owls.",
        ],
      },
      children: { a: "two owls" },
      gives: { state: { found: "Two owls." }, calls: ["a:1:model.1", "a:1:model.2"] },
    },
    {
      that: "has the response of an orchestration for its answer when the agent is an orchestrator",
      steps: [{ id: "a", type: "agent", agent_id: "agent_boss", output_key: "found" }],
      agents: { agent_boss: { type: "orchestrator", orchestration_id: "child" } },
      children: { a: "two owls" },
      gives: { state: { found: "two owls" }, calls: [] },
    },
    {
      that: "fails when the agent still calls tools after `max_turns` answers",
      steps: [{ id: "a", type: "agent", agent_id: "agent_reader", max_turns: 1 }],
      agents: { agent_reader: { tools: ["search"] } },
      tools: { search: { hits: 2 } },
      model: { a: [search("tea")] },
      gives: {
        state: {},
        calls: ["a:1:model.1", "a:1:tool.1.1"],
        error: { code: "max_turns", message: "the agent has not answered in 1 turns" },
      },
    },
    {
      that: "fails before its first call when a tool of the agent is not stored",
      steps: [{ id: "a", type: "agent", agent_id: "agent_reader" }],
      agents: { agent_reader: { tools: ["serach"] } },
      gives: { state: {}, calls: [], error: { code: "unknown_tool", message: 'there is no tool "serach"' } },
    },
  ],
};

export const tool: StepContract = {
  does: "Calls one tool. With a `prompt_template` or a `model`, a model fills in the arguments; else they are the values of `input_keys` by name, and a tool with one argument gets the run's message.",
  cases: [
    {
      that: "takes its arguments from state, without a model",
      steps: [{ id: "a", type: "tool", forced_tool: "search", input_keys: ["query"], output_key: "hits" }],
      state: { query: "tea" },
      tools: { search: ["green", "black"] },
      gives: {
        state: { hits: ["green", "black"] },
        events: ["step_start", "tool_execution", "tool_result", "final", "step_complete"],
        calls: ["a:1:tool.1"],
      },
    },
    {
      that: "lets a model fill in the arguments, and commits them before the call",
      steps: [
        {
          id: "a",
          type: "tool",
          forced_tool: "search",
          prompt_template: "Search for {input}",
          output_key: "hits",
        },
      ],
      message: "tea",
      tools: { search: ["green"] },
      model: { a: [search("tea")] },
      gives: { state: { hits: ["green"] }, checkpoints: 2, calls: ["a:1:model.1", "a:1:tool.1"] },
    },
    {
      that: "fails when the tool refuses the call: no error becomes a result",
      steps: [{ id: "a", type: "tool", forced_tool: "search", input_keys: ["query"], output_key: "hits" }],
      state: { query: "" },
      tools: { search: { refuses: "the query is too short" } },
      gives: {
        state: {},
        calls: ["a:1:tool.1"],
        error: { code: "tool_rejected", message: "The tool refused the call: the query is too short" },
      },
    },
  ],
};
