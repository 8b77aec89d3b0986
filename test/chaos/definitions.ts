/** The orchestrations of a chaos run: every type of step, with loops, retries, parks and failures. */
import type { JsonObject } from "../../shared/contracts/json.ts";

type Step = { id: string; type: string } & JsonObject;

const model = (name: string): string => `openai-compatible/${name}`;
const print = (id: string, next?: string): Step => ({
  id,
  type: "print",
  print_content: `${id}: {input}`,
  output_key: id,
  ...(next !== undefined && { next_step_id: next }),
});

const quick = { attempts: 6, base_seconds: 0.2, max_seconds: 2 };

const noter: JsonObject = {
  id: "agent_noter",
  name: "Noter",
  type: "conversational",
  tools: ["note_down"],
  system_prompt: "Note it down, then say so.",
  model: model("gpt-4.1-mini"),
};

/** The agents: one with a tool of HTTP, one with a tool of an MCP server. */
export const agents: (JsonObject & { id: string })[] = [
  { ...noter, id: "agent_noter" },
  { ...noter, id: "agent_mcp", tools: ["notes__note"] },
];

/** What a client does that sends a message to a chat session instead of starting an orchestration. */
export const CHAT = "chat";

export const toolAt = (url: string): JsonObject => ({
  name: "note_down",
  description: "Notes a text down.",
  tool_type: "http",
  method: "POST",
  url,
  headers: {},
  inputSchema: { type: "object", properties: { text: { type: "string" } }, required: ["text"] },
});

const nested = (id: string, orchestration_id: string): Step => ({
  id,
  type: "orchestration",
  orchestration_id,
  input: "{input}",
  output_key: id,
  // A child may be poisoned, and a cancel of the parent cancels it.
  on_child_error: "continue",
  timeout_seconds: 600,
});

/** Name → steps; the first one is the entry step. */
const steps: Record<string, Step[]> = {
  chaos_print: [print("one", "two"), print("two", "three"), print("three")],
  chaos_llm: [
    print("before", "write"),
    {
      id: "write",
      type: "llm",
      model: model("gpt-4.1-mini"),
      prompt_template: "Write about {input}",
      retry: quick,
      output_key: "text",
      next_step_id: "after",
    },
    print("after"),
  ],
  chaos_slow: [
    print("before", "write"),
    {
      id: "write",
      type: "llm",
      model: model("o3"),
      prompt_template: "Write slowly about {input}",
      retry: quick,
      output_key: "text",
      next_step_id: "after",
    },
    print("after"),
  ],
  chaos_agent: [
    {
      id: "work",
      type: "agent",
      agent_id: "agent_noter",
      prompt_template: "Work on {input}",
      retry: quick,
      output_key: "notes",
      max_turns: 4,
      next_step_id: "after",
    },
    print("after"),
  ],
  chaos_loop: [
    {
      id: "count",
      type: "transform",
      transform_code: "result = (state.n || 0) + 1",
      output_key: "n",
      max_iterations: 6,
      next_step_id: "enough",
    },
    {
      id: "enough",
      type: "if_else",
      if_condition: "state.n < 4",
      if_true_step_id: "count",
      if_false_step_id: "which",
      max_iterations: 6,
    },
    {
      id: "which",
      type: "switch",
      switch_expression: "state.n % 2",
      switch_cases: { "0": "even", "1": "odd" },
    },
    print("even"),
    print("odd"),
  ],
  chaos_park: [
    print("before", "ask"),
    {
      id: "ask",
      type: "llm",
      model: model("o4-mini"),
      prompt_template: "Later about {input}",
      retry: { ...quick, attempts: 8 },
      output_key: "text",
      next_step_id: "after",
    },
    print("after"),
  ],
  chaos_asks: [
    print("before", "ask"),
    {
      id: "ask",
      type: "human",
      human_prompt: "Go on with {input}?",
      human_fields: [{ key: "decision", type: "select", options: ["approve"], required: true }],
      // Longer than most faults, so that replies are lost meanwhile, and short enough for its end to be observed.
      human_timeout_seconds: 15,
      output_key: "verdict",
      // Two questions: an answer to the first must not count for the second.
      max_iterations: 2,
      next_step_id: "after",
    },
    { ...print("after", "again"), max_iterations: 2 },
    // The limits of the other steps end the loop, and the run then ends.
    { id: "again", type: "if_else", if_condition: "true", if_true_step_id: "ask", next_step_id: null },
  ],
  chaos_fan: [
    {
      id: "fan",
      type: "parallel",
      // A model and a tool, a loop with calls, and a timer that parks: each branch loses its worker and continues independently.
      parallel_branches: [["write", "note"], ["rounds"], ["nap", "later"]],
      timeout_seconds: 600,
      output_key: "all",
      next_step_id: "after",
    },
    {
      id: "write",
      type: "llm",
      model: model("gpt-4.1-mini"),
      prompt_template: "Write about {input}",
      retry: quick,
      output_key: "text",
    },
    { id: "note", type: "tool", forced_tool: "note_down", retry: quick, output_key: "noted" },
    { id: "rounds", type: "loop", loop_count: 3, loop_step_ids: ["tick", "call"], timeout_seconds: 600 },
    print("tick"),
    { id: "call", type: "tool", forced_tool: "note_down", retry: quick, output_key: "called" },
    { id: "nap", type: "wait", wait_seconds: 7 },
    { id: "later", type: "tool", forced_tool: "note_down", retry: quick, output_key: "later" },
    print("after"),
  ],
  chaos_family: [
    {
      id: "both",
      type: "parallel",
      parallel_branches: [["left"], ["right", "note"]],
      timeout_seconds: 600,
      next_step_id: "after",
    },
    nested("left", "chaos_llm"),
    nested("right", "chaos_agent"),
    { id: "note", type: "tool", forced_tool: "note_down", retry: quick, output_key: "noted" },
    print("after"),
  ],
  chaos_mcp: [
    {
      id: "both",
      type: "parallel",
      parallel_branches: [["noted"], ["work"]],
      timeout_seconds: 600,
      next_step_id: "after",
    },
    { id: "noted", type: "tool", forced_tool: "notes__note", retry: quick, output_key: "noted" },
    {
      id: "work",
      type: "agent",
      agent_id: "agent_mcp",
      prompt_template: "Work on {input}",
      retry: quick,
      output_key: "notes",
      max_turns: 4,
    },
    print("after"),
  ],
  chaos_fails: [
    print("before", "never"),
    {
      id: "never",
      type: "llm",
      model: model("gpt-4o"),
      prompt_template: "Never {input}",
      retry: { ...quick, attempts: 2 },
      output_key: "text",
    },
  ],
};

/** What the load starts: each orchestration, and turns of chat sessions. */
export const workNames = [...Object.keys(steps), CHAT];

export const orchestrations: (JsonObject & { id: string })[] = Object.entries(steps).map(([id, list]) => ({
  id,
  name: id,
  entry_step_id: list[0]?.id ?? "",
  max_total_turns: 40,
  timeout_minutes: 15,
  steps: list.map((step) => ({ name: step.id, timeout_seconds: 30, ...step })),
}));
