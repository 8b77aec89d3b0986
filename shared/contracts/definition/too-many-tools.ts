import { coversTool, isAllOfServer, MAX_OFFERED_TOOLS, toolsInBoth } from "./tool-names.ts";
import type { FieldError } from "../../errors.ts";
import type { AgentDocument } from "./agent.ts";
import type { OrchestrationDocument } from "./orchestration.ts";
import type { Known } from "./references.ts";

/** The names of the tools that MCP servers are known to have, and `server__*` of each; a server that was not listed yet has none here. */
type Listed = ReadonlySet<string>;

/** A warning about an agent with more tools than a model can be offered: a run fails in each of its steps that does not allow fewer. */
export function agentToolWarnings({ tools }: Pick<AgentDocument, "tools">, listed: Listed): FieldError[] {
  const count = toolCount(tools, listed);
  if (count <= MAX_OFFERED_TOOLS) return [];
  return [
    {
      path: "tools",
      message: `stand for ${count} tools, ${limit()}, or restrict each step with allowed_tools`,
    },
  ];
}

/** A warning about each step whose agent, as it is stored now, has more tools in it than a model can be offered. */
export function stepToolWarnings(
  { steps }: Pick<OrchestrationDocument, "steps">,
  agents: Known["agents"],
  listed: Listed,
): FieldError[] {
  return steps.flatMap((step, index) => {
    const agent = step.type === "agent" ? agents.get(step.agent_id) : undefined;
    if (agent === undefined || step.type !== "agent") return [];
    const tools = step.allowed_tools === null ? agent.tools : toolsInBoth(agent.tools, step.allowed_tools);
    const count = toolCount(tools, listed);
    if (count <= MAX_OFFERED_TOOLS) return [];
    const message = `"${step.agent_id}" has ${count} tools, ${limit()}, or those of this step in allowed_tools`;
    return [{ path: `steps[${index}].agent_id`, message }];
  });
}

function toolCount(patterns: readonly string[], listed: Listed): number {
  const names = patterns.flatMap((pattern) =>
    isAllOfServer(pattern)
      ? [...listed].filter((name) => name !== pattern && coversTool(pattern, name))
      : [pattern],
  );
  return new Set(names).size;
}

function limit(): string {
  return `and a model can be offered ${MAX_OFFERED_TOOLS}: name the tools that it needs in place of server__*`;
}
