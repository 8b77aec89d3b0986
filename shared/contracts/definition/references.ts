import { suggestions } from "../../text/nearest-name.ts";
import { modelOf } from "../model-name.ts";
import { modelErrorText } from "./models.ts";
import type { MoneyRules } from "./models.ts";
import { coversTool, isToolPattern, TOOL_NAME } from "./tool-names.ts";
import { DELEGATE_TOOL } from "./agent.ts";
import type { FieldError } from "../../errors.ts";
import type { AgentDocument } from "./agent.ts";
import type { BuiltInName } from "./built-in-tools.ts";
import type { Orchestration, OrchestrationDocument } from "./orchestration.ts";

/** A definition that another one names, and the field that names it. `one`: the name must stand for one tool, not for all of a server (`server__*`). */
export type Reference = { path: string; kind: ReferenceKind; id: string; one?: true };
type ReferenceKind = "agents" | "tools" | "orchestrations";

/** The stored fields of an agent on which a step depends. */
type StoredAgent = { tools: readonly string[]; model: string | null; provider: string | null };

/** The definitions that exist for the owner, as far as they are named, and ids to suggest in place of others. */
export type Known = {
  agents: ReadonlyMap<string, StoredAgent>;
  tools: ReadonlySet<string>;
  orchestrations: ReadonlySet<string>;
  suggest: { [Kind in ReferenceKind]: readonly string[] };
};

/** The agents, the tools and the other orchestrations that the steps of an orchestration name. */
export function referencesOf({ id, steps }: Pick<OrchestrationDocument, "id" | "steps">): Reference[] {
  return steps.flatMap((step, index): Reference[] => {
    const at = `steps[${index}]`;
    if (step.type === "agent") return [{ path: `${at}.agent_id`, kind: "agents", id: step.agent_id }];
    if (step.type === "orchestration" && step.orchestration_id !== id)
      return [{ path: `${at}.orchestration_id`, kind: "orchestrations", id: step.orchestration_id }];
    return step.type === "tool"
      ? [{ path: `${at}.forced_tool`, kind: "tools", id: step.forced_tool, one: true }]
      : [];
  });
}

/** The tools, agents and orchestrations that an agent names. */
export function namedByAgent({
  tools,
  delegate_agent_ids: delegates,
  orchestration_id,
  orchestration_ids,
}: AgentDocument): Reference[] {
  const executed = orchestration_id === null ? [] : [{ path: "orchestration_id", id: orchestration_id }];
  const spawnable = orchestration_ids.map((id, index) => ({ path: `orchestration_ids[${index}]`, id }));
  return [
    ...tools.map((id, index): Reference => ({ path: `tools[${index}]`, kind: "tools", id })),
    ...delegates.map((id, index): Reference => ({
      path: `delegate_agent_ids[${index}]`,
      kind: "agents",
      id,
    })),
    ...[...executed, ...spawnable].map((named): Reference => ({ ...named, kind: "orchestrations" })),
  ];
}

/** Names that no stored definition can ever have. */
export function impossibleReferences(references: readonly Reference[]): FieldError[] {
  return references
    .filter(({ kind, id, one }) => kind === "tools" && !(one ? TOOL_NAME.test(id) : isToolPattern(id)))
    .map(({ path, id }) => ({ path, message: `no tool can have the name ${JSON.stringify(id)}` }));
}

const likeBuiltIn = (name: BuiltInName): string => `${name} is the built-in one that does the like`;

/** What takes the place of tools that the predecessor has by itself. */
const IN_PLACE: ReadonlyMap<string, string> = new Map([
  ["vault_create", likeBuiltIn("artifact_write")],
  ["vault_write", likeBuiltIn("artifact_write")],
  ["vault_patch", likeBuiltIn("artifact_write")],
  ["vault_read", likeBuiltIn("artifact_read")],
  ["vault_list", likeBuiltIn("artifact_list")],
  ["execute_python", likeBuiltIn("run_javascript")],
  ["scrape_url", likeBuiltIn("http_request")],
  ["run_sql_query", "save one of type sql under this name"],
  ["spawn_subtask", "delegate_agent_ids names agents to which an agent gives tasks"],
  [DELEGATE_TOOL, "an agent with delegate_agent_ids has it without naming it"],
]);

/** A warning for each definition that is not stored: it may come later, and until then the step that needs it fails. */
export function missingReferences(references: readonly Reference[], known: Known): FieldError[] {
  const suggest = suggestions();
  return references
    .filter(({ kind, id }) => !known[kind].has(id))
    .map(({ path, kind, id }) => ({
      path,
      message: `there is no ${kind.slice(0, -1)} "${id}" yet${insteadOf(kind, id) ?? suggest(id, known.suggest[kind])}`,
    }));
}

function insteadOf(kind: ReferenceKind, id: string): string | null {
  const inPlace = kind === "tools" ? IN_PLACE.get(id) : undefined;
  return inPlace === undefined ? null : `: ${inPlace}`;
}

/** Warnings about agents that exist and cannot do what a step asks of them as they are stored now. */
export function unfitAgents(
  orchestration: Orchestration,
  known: Known,
  { replaced, hasBudget = false }: MoneyRules = {},
): FieldError[] {
  const suggest = suggestions();
  const isLimited = orchestration.max_total_cost_usd !== null || hasBudget;
  return orchestration.steps.flatMap((step, index) => {
    const agent = step.type === "agent" ? known.agents.get(step.agent_id) : undefined;
    if (agent === undefined || step.type !== "agent") return [];
    const unknownTools = (step.allowed_tools ?? [])
      .map((name, i) => ({ name, path: `steps[${index}].allowed_tools[${i}]` }))
      .filter(
        ({ name }) =>
          name !== DELEGATE_TOOL &&
          !agent.tools.some((tool) => coversTool(tool, name) || coversTool(name, tool)),
      )
      .map(({ name, path }) => ({
        path,
        message: `the agent "${step.agent_id}" has no tool "${name}"${suggest(name, agent.tools)}`,
      }));
    const requested = modelOf(step.model) === null ? modelOf(agent.model, agent.provider) : null;
    const message = requested === null ? null : modelErrorText(requested, isLimited, replaced);
    return message === null
      ? unknownTools
      : [...unknownTools, { path: `steps[${index}].agent_id`, message: `its agent's model ${message}` }];
  });
}
