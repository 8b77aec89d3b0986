import { TenantId } from "../../shared/contracts/ids.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { saveDefinitionIf } from "../../shared/store/definitions/agents-and-tools.ts";
import { saveOrchestration } from "../../shared/store/definitions/orchestrations.ts";
import type { Sql } from "../../shared/store/sql.ts";

export const TENANT = TenantId.parse("bench");
export const STEPS = 5;

/**
 * `orch_bench`: five steps without effects. `orch_tools`: five calls of a tool, each of which waits for the commit before it.
 * `orch_two` and `orch_one`: two steps without effects, and one. `orch_parent`: `orch_one` as a child, and one step after it.
 */
export type Orchestration =
  | "orch_bench"
  | "orch_tools"
  | "orch_two"
  | "orch_one"
  | "orch_parent"
  | "orch_rounds"
  | "orch_asks"
  | "orch_agent";

/** The bench's tenant, with limits that are never reached, its tool at `toolUrl`, and its orchestrations. */
export async function makeDefinitions(sql: Sql, toolUrl: string): Promise<void> {
  await sql`
    insert into tenants (tenant_id, max_concurrent_runs, max_queued_runs, requests_per_second)
    values (${TENANT}, 1000, 1000000, 1000000)`;
  const tool = {
    name: "nothing",
    description: "Does nothing",
    tool_type: "http",
    method: "GET",
    url: toolUrl,
  };
  await saveDefinitionIf(sql, "tools", TENANT, {
    id: "nothing",
    name: "nothing",
    definition: JSON.stringify(tool),
  });
  const print = (i: number) => ({ type: "print", print_content: `step ${i} of {state.user_input}` });
  await save(sql, "orch_bench", print);
  await save(sql, "orch_two", print, 2);
  await save(sql, "orch_one", print, 1);
  await save(
    sql,
    "orch_parent",
    (i) => (i === 1 ? { type: "orchestration", orchestration_id: "orch_one" } : print(i)),
    2,
  );
  await save(sql, "orch_tools", () => ({ type: "tool", forced_tool: "nothing" }));
}

/** `orch_rounds` from now on: a loop of as many rounds, each of one step without effects. */
export async function makeRounds(sql: Sql, loop_count: number): Promise<void> {
  const loop = { id: "s1", type: "loop", loop_count, loop_step_ids: ["round"], timeout_seconds: 3_600 };
  const round = { id: "round", type: "print", print_content: "round {index}", output_key: "round" };
  await saveSteps(sql, "orch_rounds", [loop, round], { max_total_turns: 100_000 });
}

/** `orch_asks`: a question without an answer. */
export async function makeQuestion(sql: Sql): Promise<void> {
  const question = { id: "s1", type: "human", human_prompt: "Go on?", human_timeout_seconds: 86_400 };
  await saveSteps(sql, "orch_asks", [question]);
}

/** `orch_agent`: one step of an agent that a server at OPENAI_COMPATIBLE_BASE_URL answers. */
export async function makeAgent(sql: Sql): Promise<void> {
  const agent = { id: "writer", name: "Writer", model: "openai-compatible/bench", tools: [] };
  await saveDefinitionIf(sql, "agents", TENANT, {
    id: agent.id,
    name: agent.name,
    definition: JSON.stringify(agent),
  });
  await saveSteps(sql, "orch_agent", [
    { id: "s1", type: "agent", agent_id: agent.id, prompt_template: "Write" },
  ]);
}

async function save(
  sql: Sql,
  id: Orchestration,
  stepOf: (i: number) => JsonObject,
  count = STEPS,
): Promise<void> {
  const steps = Array.from({ length: count }, (_, i) => ({
    id: `s${i + 1}`,
    name: `Step ${i + 1}`,
    ...stepOf(i + 1),
    output_key: `o${i + 1}`,
    next_step_id: i + 1 < count ? `s${i + 2}` : null,
  }));
  await saveSteps(sql, id, steps);
}

async function saveSteps(
  sql: Sql,
  id: Orchestration,
  steps: JsonObject[],
  fields: JsonObject = {},
): Promise<void> {
  const definition = JSON.stringify({ id, name: "Bench", entry_step_id: "s1", steps, ...fields });
  await saveOrchestration(sql, TENANT, { id, name: "Bench", description: "", definition });
}
