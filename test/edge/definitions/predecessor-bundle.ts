/** Bundles in the form in which the predecessor exports them: each step has the fields of all types. */
type Fields = { [field: string]: unknown };

/** Every field of a step that the predecessor writes, with its default. */
const ALL_FIELDS: Fields = {
  agent_id: null,
  prompt_template: null,
  route_map: {},
  route_descriptions: {},
  evaluator_prompt: null,
  model: null,
  parallel_branches: [],
  merge_strategy: "list",
  loop_count: 3,
  loop_step_ids: [],
  transform_code: null,
  human_prompt: null,
  human_fields: [],
  human_channel_id: null,
  human_timeout_seconds: 3600,
  input_keys: [],
  output_key: null,
  forced_tool: null,
  max_turns: 15,
  timeout_seconds: 300,
  allowed_tools: null,
  next_step_id: null,
  max_iterations: 3,
};

export const exportedStep = (id: string, type: string, fields: Fields = {}): Fields => ({
  ...ALL_FIELDS,
  id,
  name: `Step ${id}`,
  type,
  position_x: -10.5,
  position_y: 20,
  ...fields,
});

export const exportedAgent = (id: string, fields: Fields = {}): Fields => ({
  id,
  name: `Agent ${id}`,
  description: "",
  avatar: "default",
  type: "conversational",
  tools: [],
  repos: [],
  db_configs: [],
  system_prompt: "Do your part.",
  orchestration_id: null,
  model: null,
  provider: null,
  max_turns: null,
  ...fields,
});

export const exportedOrchestration = (id: string, steps: Fields[], fields: Fields = {}): Fields => ({
  id,
  name: `Orchestration ${id}`,
  description: "",
  avatar: "default",
  steps,
  entry_step_id: steps[0]?.["id"],
  state_schema: {},
  max_total_turns: 100,
  max_total_cost_usd: null,
  timeout_minutes: 30,
  trigger: "manual",
  created_at: "2026-04-08T10:00:00.000000",
  updated_at: "2026-04-09T10:00:00.000000",
  ...fields,
});

export const exportedTool = (name: string, url: string, fields: Fields = {}): Fields => ({
  name,
  generalName: name,
  description: "A tool",
  tool_type: "http",
  method: "POST",
  url,
  headers: {},
  inputSchema: { type: "object", properties: { text: { type: "string" } } },
  outputSchema: null,
  ...fields,
});

export const exportedBundle = (lists: {
  custom_tools?: unknown[];
  agents?: unknown[];
  orchestrations?: unknown[];
  mcp_servers?: unknown[];
}): Fields => ({
  synapse_export: true,
  version: "1.0",
  exported_at: "2026-05-01T08:00:00.000000",
  has_python_tools: false,
  custom_tools: [],
  agents: [],
  orchestrations: [],
  mcp_servers: [],
  ...lists,
});

/** Research that a person may send back, two branches, a merge, and a review that may ask for a revision. */
export const researchAndReview = (model: string | null = null): Fields =>
  exportedOrchestration(
    "orch_imported",
    [
      exportedStep("research", "agent", {
        agent_id: "agent_reader",
        prompt_template: "Find facts about {state.user_input}",
        input_keys: ["judged"],
        output_key: "facts",
        next_step_id: "judge",
      }),
      exportedStep("judge", "evaluator", {
        evaluator_prompt: "Are these facts enough?",
        model,
        route_map: { enough: "write", unclear: "ask" },
        route_descriptions: { enough: "Go on", unclear: "Ask a person" },
        input_keys: ["facts"],
        output_key: "judged",
      }),
      exportedStep("ask", "human", {
        human_prompt: "What is missing?\n{state.facts}",
        human_fields: [
          { key: "note", label: "Your note", type: "textarea" },
          { key: "depth", label: "How deep", type: "select", options: ["short", "long"] },
        ],
        input_keys: ["facts"],
        next_step_id: "research",
      }),
      exportedStep("write", "parallel", {
        parallel_branches: [["draft"], ["examples"]],
        next_step_id: "together",
      }),
      exportedStep("draft", "agent", {
        agent_id: "agent_author",
        input_keys: ["facts"],
        output_key: "text",
        next_step_id: "together",
      }),
      exportedStep("examples", "agent", {
        agent_id: "agent_reader",
        input_keys: ["facts", "text"],
        output_key: "examples",
        next_step_id: "together",
      }),
      exportedStep("together", "merge", {
        merge_strategy: "concat",
        input_keys: ["text", "examples"],
        output_key: "all",
        next_step_id: "review",
      }),
      exportedStep("review", "evaluator", {
        evaluator_prompt: "Is this good?",
        model,
        route_map: { approved: "sum_up", needs_revision: "revise" },
        input_keys: ["all"],
        output_key: "reviewed",
      }),
      exportedStep("revise", "agent", {
        agent_id: "agent_author",
        input_keys: ["all", "reviewed"],
        output_key: "all",
        next_step_id: "review",
      }),
      exportedStep("sum_up", "llm", {
        prompt_template: "Sum it up.",
        input_keys: ["all"],
        output_key: "summary",
      }),
    ],
    { max_total_turns: 300, timeout_minutes: 45 },
  );

/** Branches as the first step, to which an evaluator may go back, and two of whose labels have one target. */
export const market = (model: string | null = null): Fields =>
  exportedOrchestration("orch_market_like", [
    exportedStep("gather", "parallel", {
      parallel_branches: [["news"], ["prices"], ["people"]],
      next_step_id: "merge_all",
    }),
    ...["news", "prices", "people"].map((id) =>
      exportedStep(id, "agent", {
        agent_id: "agent_reader",
        prompt_template: `Find ${id}`,
        output_key: `${id}_found`,
        next_step_id: "merge_all",
        max_turns: 35,
      }),
    ),
    exportedStep("merge_all", "merge", {
      merge_strategy: "concat",
      input_keys: ["news_found", "prices_found", "people_found"],
      output_key: "found",
      next_step_id: "verdict",
      max_turns: 35,
    }),
    exportedStep("verdict", "evaluator", {
      evaluator_prompt: "Go or no go?",
      model,
      route_map: { go: "report", no_go: "report", need_more: "gather" },
      input_keys: ["found"],
      output_key: "verdict",
    }),
    exportedStep("report", "agent", {
      agent_id: "agent_author",
      input_keys: ["found", "verdict"],
      output_key: "report",
    }),
  ]);

/** Steps that are not in the order of their execution, a person who approves by a select, and a branch that ends at once. */
export const approval = (model: string | null = null): Fields =>
  exportedOrchestration("orch_approval_like", [
    exportedStep("plan", "agent", { agent_id: "agent_author", output_key: "plan", next_step_id: "sort" }),
    exportedStep("told", "llm", {
      prompt_template: "Tell them.",
      input_keys: ["result"],
      output_key: "told",
    }),
    exportedStep("sort", "evaluator", {
      evaluator_prompt: "What now?",
      model,
      route_map: { needs_approval: "ask", ready: "build", blocked: null },
      input_keys: ["plan"],
      output_key: "sorted",
    }),
    exportedStep("build", "agent", {
      agent_id: "agent_reader",
      input_keys: ["plan", "approval"],
      output_key: "result",
      next_step_id: "told",
    }),
    exportedStep("ask", "human", {
      human_prompt: "Build this?",
      human_fields: [{ key: "decision", label: "Decision", type: "select", options: ["approve", "change"] }],
      human_timeout_seconds: 86400,
      input_keys: ["plan"],
      output_key: "approval",
      next_step_id: "decide",
    }),
    exportedStep("decide", "evaluator", {
      evaluator_prompt: "Approved?",
      model,
      route_map: { approved: "build", again: "plan" },
      input_keys: ["approval"],
    }),
  ]);
