import {
  builtInTools,
  isAllOfServer,
  isBuiltIn,
  MAX_OFFERED_TOOLS,
  McpTool,
  parseToolOnce,
  serverIn,
  sqlArguments,
} from "../../shared/contracts/definition/index.ts";
import { mcpCalls } from "./mcp-call.ts";
import { listArtifacts, readArtifact, writeArtifact } from "./artifact-tools.ts";
import { callingOnce } from "./call-once.ts";
import { reconciling } from "./reconcile-call.ts";
import { runJavascript } from "./run-javascript.ts";
import { TerminalError } from "./step-errors.ts";
import type { BuiltInName } from "../../shared/contracts/definition/built-in-tools.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { OfferedTool, CallToPerform } from "./offered-tool.ts";
import type { StepContext, ToolSpec } from "./ports.ts";

/** The tools that a step may use, by name. */
export type Toolbox = ReadonlyMap<string, OfferedTool>;

const SPAWN = "spawn_run" satisfies BuiltInName;

/**
 * Loads tools; `server__*` stands for all tools of an MCP server. A tool that does not exist fails the step: an agent without its
 * tools would only pretend to work. A saved tool has precedence over a server's tool of the same name.
 * @param ofEngine `first`: tools that have precedence over all others of their names. `spawn`: the built-in tool `spawn_run` of an agent
 * @throws TerminalError `unknown_tool`, `bad_tool` or `too_many_tools`; what `toolsOf` throws for a server that was never listed
 */
export async function openToolbox(
  names: readonly string[],
  step: Step,
  context: StepContext,
  { first = [], spawn }: { first?: readonly OfferedTool[]; spawn?: OfferedTool } = {},
): Promise<Toolbox> {
  const tools = new Map<string, OfferedTool>();
  const servers = new Map<string, Promise<JsonObject[]>>();
  for (const name of names) {
    const own = isAllOfServer(name) ? null : ((await context.tool(name)) ?? builtIn(name));
    for (const stored of own === null ? await fromServer(name, servers, context) : [own]) {
      const isSpawn = stored["tool_type"] === "built_in" && name === SPAWN;
      const tool = isSpawn && spawn !== undefined ? spawn : offeredTool(stored, name, step, context);
      tools.set(tool.spec.name, tool);
    }
  }
  for (const tool of first) tools.set(tool.spec.name, tool);
  if (tools.size <= MAX_OFFERED_TOOLS) return tools;
  throw new TerminalError(
    "too_many_tools",
    `the step has ${tools.size} tools, and a model can be offered ${MAX_OFFERED_TOOLS}: name them in place of server__*`,
  );
}

function builtIn(name: string): JsonObject | null {
  return isBuiltIn(name) ? { tool_type: "built_in", name } : null;
}

/** The tools of MCP servers that a name stands for. `servers`: the tools of those that were read already. */
async function fromServer(
  name: string,
  servers: Map<string, Promise<JsonObject[]>>,
  context: StepContext,
): Promise<JsonObject[]> {
  const server = serverIn(name);
  if (server === null) throw new TerminalError("unknown_tool", `there is no tool "${name}"`);
  const listed = servers.get(server) ?? toolsOfServer(server, name, context);
  servers.set(server, listed);
  const offered = await listed;
  const named = isAllOfServer(name) ? offered : offered.filter((tool) => tool["name"] === name);
  if (named.length > 0 || isAllOfServer(name)) return named;
  const where = `GET /api/v2/mcp-servers/${server} has those that it has, and in left_out why others cannot be offered`;
  throw new TerminalError("unknown_tool", `the MCP server "${server}" has no tool "${name}": ${where}`);
}

async function toolsOfServer(server: string, name: string, context: StepContext): Promise<JsonObject[]> {
  const stored = await context.mcpServer(server);
  if (stored !== null) return context.tools.toolsOf({ server: stored, signal: context.signal });
  throw new TerminalError("unknown_tool", `there is no tool "${name}", and no MCP server "${server}"`);
}

function offeredTool(stored: JsonObject, name: string, step: Step, context: StepContext): OfferedTool {
  const { signal, tenantId } = context;
  const call = async ({ args, effect, files }: CallToPerform): Promise<Json> =>
    context.tools.call({ tenantId, tool: stored, args, effectKey: await effect(), signal, files });
  if (stored["tool_type"] === "built_in" && isBuiltIn(name)) {
    const { description, inputSchema, parallel } = builtInTools[name];
    const ofEngine = engineTools.get(name);
    const inEngine = async (performed: CallToPerform): Promise<Json> => {
      await performed.effect();
      return ofEngine?.(performed, context) ?? null;
    };
    return {
      spec: { name, description, parameters: inputSchema },
      parallel,
      perform: ofEngine ? inEngine : call,
    };
  }
  // A parse that fails takes longer than all else here, so other types are not tried.
  const listed = stored["tool_type"] === "mcp" ? McpTool.safeParse(stored) : null;
  if (listed?.success) {
    const { name: ownName, description, inputSchema } = listed.data;
    const spec = { name: ownName, description, parameters: inputSchema };
    return { spec, parallel: false, perform: mcpCalls(stored, step, context) };
  }
  const parsed = parseToolOnce(stored);
  if (!parsed.ok) throw new TerminalError("bad_tool", `the definition of the tool "${name}" cannot be used`);
  const { definition } = parsed;
  const { description } = definition;
  if (definition.tool_type === "sql")
    return { spec: { name, description, parameters: sqlArguments }, parallel: false, perform: call };
  const { inputSchema, parallel, reconcile, retry_safe } = definition;
  const careful = reconcile === null ? callingOnce(stored, context) : reconciling(stored, reconcile, context);
  return {
    spec: { name, description, parameters: inputSchema },
    parallel,
    perform: reconcile === null && retry_safe ? call : careful,
  };
}

/** Built-in tools that need nothing but the step's own ports. */
const engineTools = new Map<BuiltInName, (call: CallToPerform, context: StepContext) => Promise<Json>>([
  ["run_javascript", ({ args }, context) => runJavascript(args, context)],
  ["artifact_write", ({ args, files }) => writeArtifact(args, { files })],
  ["artifact_read", ({ args, files }) => readArtifact(args, { files })],
  ["artifact_list", ({ args, files }) => listArtifacts(args, { files })],
  [SPAWN, spawnElsewhere],
]);

async function spawnElsewhere(): Promise<never> {
  const message = "spawn_run is a tool of agents: use a step of type orchestration here";
  throw new TerminalError("bad_tool", message);
}

/** The tools as models see them. */
export function specsOf(tools: Toolbox): ToolSpec[] {
  return [...tools.values()].map((tool) => tool.spec);
}
