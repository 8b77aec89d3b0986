import {
  agentToolWarnings,
  agentUnfilledWarnings,
  isAllOfServer,
  isBuiltIn,
  McpListing,
  codeWarnings,
  doubtfulWarnings,
  missingReferences,
  namedByAgent,
  referencesOf,
  serverIn,
  stepToolWarnings,
  uncheckedFields,
  unfilledWarnings,
  unfitAgents,
  unreadWarnings,
  unsetInputs,
  unsetReads,
} from "../../shared/contracts/definition/index.ts";
import type {
  Agent,
  Known,
  MoneyRules,
  Orchestration,
  Reference,
} from "../../shared/contracts/definition/index.ts";
import type { Owner } from "../../shared/contracts/tenant.ts";
import type { FieldError } from "../../shared/errors.ts";
import { lookUpMcpServers } from "../../shared/store/definitions/mcp-servers.ts";
import { listIds, lookUpAgents, lookUpIds } from "../../shared/store/definitions/look-up.ts";
import type { Sql } from "../../shared/store/sql.ts";

/** For the documentation of routes that save definitions. */
export const WARNINGS =
  "`warnings` names agents, tools and orchestrations that are not stored yet, with the nearest stored name, and agents that cannot do what a step asks of them as they are now, such as those with more tools than a model can be offered: they may be saved later, and until then a run fails at the step that needs them. It also names keys of state that code reads, a merge takes, an extract_json searches or a loop goes through and nothing of the definition sets, names in code that nothing defines, integers in code that are read with other digits, methods in code that follow a locale elsewhere, texts that look like placeholders and go out as they are written, fields of a step that have no effect together with its others, conditions that read nothing of the run, ids and cases that look alike, fields of forms whose answers are not checked, and addresses of tools and MCP servers that workers refuse to call.";

const MAX_WARNINGS = 50;
const MAX_SUGGESTED = 500;

/**
 * What a request saves beside the definition that is checked: `agents` with the fields on which steps depend, and the names of
 * `tools`, of MCP servers (their tools are not known yet) and of orchestrations.
 */
export type Planned = {
  agents: Known["agents"];
  tools: ReadonlySet<string>;
  mcpServers: ReadonlySet<string>;
  orchestrations: ReadonlySet<string>;
};
export const NOTHING_PLANNED: Planned = {
  agents: new Map(),
  tools: new Set(),
  mcpServers: new Set(),
  orchestrations: new Set(),
};

/** The warnings about an orchestration, at most 50: see `WARNINGS`. */
export async function orchestrationWarnings(
  sql: Sql,
  owner: Owner,
  orchestration: Orchestration,
  { planned, money }: { planned: Planned; money: MoneyRules },
): Promise<FieldError[]> {
  const references = referencesOf(orchestration);
  const { known, listed } = await lookUp(sql, owner, references, planned);
  return [
    ...missingReferences(references, known),
    ...unfitAgents(orchestration, known, money),
    ...stepToolWarnings(orchestration, known.agents, listed),
    ...codeWarnings(orchestration),
    ...unsetReads(orchestration),
    ...unsetInputs(orchestration),
    ...unfilledWarnings(orchestration),
    ...unreadWarnings(orchestration),
    ...doubtfulWarnings(orchestration),
    ...uncheckedFields(orchestration),
  ].slice(0, MAX_WARNINGS);
}

/**
 * Warnings about the tools, agents and orchestrations that an agent names and that are not stored, about more tools than a model can be
 * offered, and about placeholders that nothing fills in.
 */
export async function agentWarnings(
  sql: Sql,
  owner: Owner,
  agent: Agent,
  planned: Planned,
): Promise<FieldError[]> {
  const references = namedByAgent(agent);
  const { known, listed } = await lookUp(sql, owner, references, planned);
  return [
    ...missingReferences(references, known),
    ...agentToolWarnings(agent, listed),
    ...agentUnfilledWarnings(agent),
  ].slice(0, MAX_WARNINGS);
}

/** `listed`: the names of all tools, and `server__*`, of the MCP servers to which named tools, and `server__*` of named agents, belong. */
async function lookUp(
  sql: Sql,
  owner: Owner,
  references: readonly Reference[],
  planned: Planned,
): Promise<{ known: Known; listed: ReadonlySet<string> }> {
  const named = (kind: Reference["kind"]) => [
    ...new Set(references.filter((r) => r.kind === kind && !planned[kind].has(r.id)).map(({ id }) => id)),
  ];
  const [agentIds, toolNames, orchestrationIds] = [named("agents"), named("tools"), named("orchestrations")];
  const [agents, tools, orchestrations] = await Promise.all([
    agentIds.length === 0 ? [] : lookUpAgents(sql, owner, agentIds),
    toolNames.length === 0 ? [] : lookUpIds(sql, "tools", owner, toolNames),
    orchestrationIds.length === 0 ? [] : lookUpIds(sql, "orchestrations", owner, orchestrationIds),
  ]);
  const stored = new Set<string>([...tools, ...toolNames.filter(isBuiltIn)]);
  const isPlanned = (name: string) => planned.mcpServers.has(serverIn(name) ?? "");
  const unknown = toolNames.filter((name) => !stored.has(name) && !isPlanned(name));
  const namedAgents = new Map([...agents.map((agent) => [agent.id, agent] as const), ...planned.agents]);
  const ofAgents = [...namedAgents.values()].flatMap(({ tools: own }) =>
    own.filter((name) => isAllOfServer(name) && !isPlanned(name)),
  );
  const { offered, unlisted } = await lookUpMcpTools(sql, owner, [...unknown, ...ofAgents]);
  // The lists of names are read only when one is missing, which is rare: suggestions are made from them.
  const [otherAgents, otherTools, otherOrchestrations] = await Promise.all([
    agents.length === agentIds.length ? [] : listIds(sql, "agents", owner, MAX_SUGGESTED),
    unknown.every((name) => offered.has(name) || unlisted(name))
      ? []
      : listIds(sql, "tools", owner, MAX_SUGGESTED),
    orchestrations.length === orchestrationIds.length
      ? []
      : listIds(sql, "orchestrations", owner, MAX_SUGGESTED),
  ]);
  const known: Known = {
    agents: namedAgents,
    tools: new Set([
      ...planned.tools,
      ...toolNames.filter((name) => !unknown.includes(name) || offered.has(name) || unlisted(name)),
    ]),
    orchestrations: new Set([...planned.orchestrations, ...orchestrations]),
    suggest: {
      agents: [...planned.agents.keys(), ...otherAgents],
      tools: [...planned.tools, ...offered, ...otherTools],
      orchestrations: [...planned.orchestrations, ...otherOrchestrations],
    },
  };
  return { known, listed: offered };
}

/**
 * The tools of the MCP servers to which these names belong. `offered`: the names of their tools, and `server__*` for each server.
 * `unlisted`: whether a name belongs to a stored server whose tools are not known yet.
 */
async function lookUpMcpTools(
  sql: Sql,
  owner: Owner,
  names: readonly string[],
): Promise<{ offered: Set<string>; unlisted(name: string): boolean }> {
  const ids = [...new Set(names.flatMap((name) => serverIn(name) ?? []))];
  const servers = ids.length === 0 ? [] : await lookUpMcpServers(sql, owner, ids);
  const pending = new Set(servers.flatMap(({ id, listing }) => (listing === null ? [id] : [])));
  const offered = servers.flatMap(({ id, listing }) =>
    listing === null
      ? []
      : [`${id}__*`, ...McpListing.parse(JSON.parse(listing)).tools.map(({ name }) => name)],
  );
  return { offered: new Set(offered), unlisted: (name) => pending.has(serverIn(name) ?? "") };
}
