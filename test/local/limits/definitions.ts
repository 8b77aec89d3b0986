/** The orchestrations and tools of the floods. */
import type { Clients } from "./clients.ts";
import { laneToolUrl } from "./lane-rows.ts";
import type { Peer } from "./peer.ts";
import { runToolUrl } from "./run-rows.ts";

const model = (name: string) => ({
  id: "a",
  type: "llm",
  model: name,
  prompt_template: "{input}",
  output_key: "x",
});
const oneStep = (name: string, step: object) => ({ name, entry_step_id: "a", steps: [{ id: "a", ...step }] });
const calls = (tool: string) => ({ type: "tool", forced_tool: tool, output_key: "x" });
const toolAt = (url: string) => ({
  description: "Takes a moment",
  tool_type: "http",
  method: "GET",
  url,
  inputSchema: { type: "object", properties: {} },
});
const text = { type: "string", default: "" };

/** Saves the orchestrations and the tools. */
export async function saveFloodDefinitions(clients: Clients, peer: Peer): Promise<void> {
  const documents = {
    "tools/lane": toolAt(laneToolUrl(peer)),
    "tools/run": toolAt(runToolUrl(peer)),
    "orchestrations/orch_model": oneStep("M", model("demo/writer")),
    "orchestrations/orch_paid": oneStep("P", model("demo/fast")),
    "orchestrations/orch_short": oneStep("S", { type: "print", print_content: "hi" }),
    "orchestrations/orch_asks": oneStep("A", { type: "human", human_prompt: "Go on?" }),
    "orchestrations/orch_calls": oneStep("C", calls("lane")),
    "orchestrations/orch_runs": oneStep("R", calls("run")),
    ...Object.fromEntries(
      ["orch_at_once", "orch_requests", "orch_tokens"].map((name) => [
        `orchestrations/${name}`,
        oneStep("L", model(`openai-compatible/${name}`)),
      ]),
    ),
    "orchestrations/orch_mails": {
      ...oneStep("E", { type: "tool", forced_tool: "send_email", input_keys: ["to", "subject", "text"] }),
      state_schema: {
        to: { type: "string", default: "ann@example.com" },
        subject: { type: "string", default: "hi" },
        text: { type: "string", default: "hello" },
      },
    },
    "orchestrations/orch_files": {
      ...oneStep("F", { type: "tool", forced_tool: "artifact_write", input_keys: ["name", "content"] }),
      state_schema: { name: text, content: text },
    },
    "orchestrations/orch_family": {
      name: "Family",
      entry_step_id: "each",
      max_total_cost_usd: 1,
      state_schema: { items: { type: "array", default: [] } },
      steps: [
        { id: "each", type: "loop", for_each: "items", loop_step_ids: ["child"], concurrency: 50 },
        { id: "child", type: "orchestration", orchestration_id: "orch_paid", on_child_error: "continue" },
      ],
    },
    "agents/agent_model": { name: "Agent", model: "demo/fast", system_prompt: "Answer." },
  };
  for (const [path, document] of Object.entries(documents))
    await clients.must("PUT", `/api/v2/${path}`, document);
}
