/** The fields of a definition that a caller may see: a tenant's key does not see all of a shared one. */
import { z } from "zod";
import { SHARED, type Principal } from "../../shared/contracts/tenant.ts";
import type { StoredDefinition } from "../../shared/store/definitions/stored-definition.ts";
import type { DefinitionKind } from "../../shared/contracts/definition/index.ts";

/** For the documentation of routes that read definitions. */
export const PARTLY_SHOWN =
  "Of a definition that all tenants share, a tenant's key gets no prompts, templates, code, addresses and headers, unless it is `public`; `partly_shown` is true then.";

/**
 * The fields of shared definitions that every tenant sees: those that it needs to run the definition, and the graph. Prompts, templates,
 * code, expressions, addresses and headers are left out. A new field is hidden until it is added here.
 */
const shown: Record<DefinitionKind | "steps", ReadonlySet<string>> = {
  orchestrations: fields(
    "id name description avatar steps entry_step_id state_schema max_total_turns max_total_cost_usd timeout_minutes trigger public",
  ),
  steps: fields(
    "id name type input_keys output_key next_step_id max_iterations timeout_seconds retry position_x position_y model agent_id",
    "max_turns forced_tool allowed_tools output_schema route_map default_route parallel_branches merge_strategy loop_count loop_step_ids",
    "concurrency on_branch_error human_fields human_timeout_seconds on_timeout timeout_step_id approvals_needed if_true_step_id",
    "if_false_step_id switch_cases switch_default_step_id orchestration_id on_child_error cache_responses_enabled",
    "cache_response_ttl_seconds",
  ),
  agents: fields(
    "id name description avatar type tools model provider max_turns orchestration_id orchestration_ids delegate_agent_ids compact_at_chars public",
  ),
  tools: fields("name generalName description tool_type inputSchema outputSchema parallel public"),
  mcp_servers: fields("name label description server_type wait_timeout_seconds public"),
};

function fields(...names: string[]): ReadonlySet<string> {
  return new Set(names.join(" ").split(" "));
}

const Fields = z.record(z.string(), z.unknown());
const WithSteps = z.looseObject({ steps: z.array(Fields) });

/**
 * The fields of a definition that this caller may see: all of its own definitions, and of definitions that are marked `public`. Of any
 * other shared definition a tenant's key gets no prompts, code, addresses and headers, and `partly_shown` is added. No definition has
 * this field, so a save of that copy is refused: it would lose the prompts.
 */
export function visibleFields(
  { tenant }: Principal,
  kind: DefinitionKind,
  { owner, definition }: StoredDefinition,
): Record<string, unknown> {
  const all = Fields.parse(JSON.parse(definition));
  if (tenant === null || owner !== SHARED || all["public"] === true) return all;
  const visible = { ...only(shown[kind], all), partly_shown: true };
  if (kind !== "orchestrations") return visible;
  return { ...visible, steps: WithSteps.parse(all).steps.map((step) => only(shown.steps, step)) };
}

function only(names: ReadonlySet<string>, of: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(of).filter(([name]) => names.has(name)));
}
