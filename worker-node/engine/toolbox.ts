import {
  builtInTools,
  isAllOfServer,
  isBuiltIn,
  McpTool,
  parseTool,
  serverIn,
  sqlArguments,
} from "../../shared/contracts/definition/index.ts";
import { RetryableError, TerminalError, ToolRejection } from "./step-errors.ts";
import { listArtifacts, readArtifact, writeArtifact } from "./artifact-tools.ts";
import { namesOf } from "./events.ts";
import { runJavascript } from "./run-javascript.ts";
import { asText } from "./run-state.ts";
import { clip } from "./prompt.ts";
import { argumentErrors, argumentsOf, missingArguments } from "./tool-arguments.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { StepContext, ToolCall, ToolSpec } from "./ports.ts";

const PREVIEW_CHARS = 500;
/** Characters of a tool's result that a model gets; a note says how many are left out. */
const RESULT_CHARS = 100_000;

/** Codes of answers that the tool's definition has caused, and not the call. */
const WRONG_TOOL: ReadonlySet<string> = new Set(["tool_unauthorized", "tool_redirected"]);
/** Codes of a call without an answer, which an agent hears of: it may do without this tool. */
const SILENT_TOOL: ReadonlySet<string> = new Set(["tool_timeout", "mcp_unreachable"]);

/** The tools that a step may use, by name: `stored` is the definition that a call needs, `spec` what a model sees of it. */
export type Toolbox = ReadonlyMap<string, { stored: JsonObject; spec: ToolSpec }>;

/** A tool's result, or why there is none where the model can do something about it. */
export type ToolResult = { ok: true; value: Json } | Refused;
type Refused = { ok: false; code: string; reason: string };

/**
 * The origin of a call: an agent, which can react to its failure; a model that filled in the arguments of a tool step; or the
 * run's state.
 */
type CallBy = "agent" | "model" | "state";

/** The most tools that a model is offered: providers take no more in a request. */
const MAX_TOOLS = 128;

/**
 * Loads tools; `server__*` stands for all tools of an MCP server. A tool that does not exist fails the step: an agent without its
 * tools would only pretend to work. A tool that is saved under the name of a server's tool comes before it.
 * @throws TerminalError `unknown_tool`, `bad_tool` or `too_many_tools`; what `toolsOf` throws for a server that was never listed
 */
export async function openToolbox(names: readonly string[], context: StepContext): Promise<Toolbox> {
  const tools = new Map<string, { stored: JsonObject; spec: ToolSpec }>();
  const servers = new Map<string, Promise<JsonObject[]>>();
  for (const name of names) {
    const own = isAllOfServer(name) ? null : ((await context.tool(name)) ?? builtIn(name));
    for (const stored of own === null ? await fromServer(name, servers, context) : [own]) {
      const spec = specOf(stored, name);
      tools.set(spec.name, { stored, spec });
    }
  }
  if (tools.size <= MAX_TOOLS) return tools;
  throw new TerminalError(
    "too_many_tools",
    `the step has ${tools.size} tools, and a model can be offered ${MAX_TOOLS}: name them in place of server__*`,
  );
}

function builtIn(name: string): JsonObject | null {
  return isBuiltIn(name) ? { tool_type: "built_in", name } : null;
}

/** The tools of MCP servers that a name means. `servers`: the tools of those that were read already. */
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
  const meant = isAllOfServer(name) ? offered : offered.filter((tool) => tool["name"] === name);
  if (meant.length > 0 || isAllOfServer(name)) return meant;
  throw new TerminalError("unknown_tool", `the MCP server "${server}" has no tool "${name}"`);
}

async function toolsOfServer(server: string, name: string, context: StepContext): Promise<JsonObject[]> {
  const stored = await context.mcpServer(server);
  if (stored !== null) return context.tools.toolsOf({ server: stored, signal: context.signal });
  throw new TerminalError("unknown_tool", `there is no tool "${name}", and no MCP server "${server}"`);
}

function specOf(stored: JsonObject, name: string): ToolSpec {
  if (stored["tool_type"] === "built_in" && isBuiltIn(name)) {
    const { description, inputSchema } = builtInTools[name];
    return { name, description, parameters: inputSchema };
  }
  const listed = McpTool.safeParse(stored);
  const parsed = listed.success ? listed.data : parsedTool(stored);
  if (parsed === null)
    throw new TerminalError("bad_tool", `the definition of the tool "${name}" cannot be used`);
  return {
    name: listed.success ? listed.data.name : name,
    description: parsed.description,
    parameters: parsed.inputSchema,
  };
}

/** What a model is told of a saved tool; null: its definition cannot be used. */
function parsedTool(stored: JsonObject): { description: string; inputSchema: JsonObject } | null {
  const parsed = parseTool(stored);
  if (!parsed.ok) return null;
  const { definition } = parsed;
  return definition.tool_type === "sql" ? { ...definition, inputSchema: sqlArguments } : definition;
}

export function specsOf(tools: Toolbox): ToolSpec[] {
  return [...tools.values()].map((tool) => tool.spec);
}

/**
 * Makes one tool call and publishes it. A call of a tool that the model does not have, with arguments that the tool's
 * schema does not allow, that the tool refuses, or whose answer cannot be used, returns the reason for the model. So does an
 * agent's call that the tool did not answer in time, or whose answer means that the tool's own headers or address are wrong: the
 * agent may go on without the tool. In a tool step a timeout is tried again, as its `retry` says, and the others fail the step. Any
 * other failure is thrown.
 */
export async function callTool(
  call: ToolCall & { by: CallBy },
  tools: Toolbox,
  effectKey: string,
  step: Step,
  context: StepContext,
): Promise<ToolResult> {
  const tool = tools.get(call.name);
  const args = argumentsOf(call.args);
  context.note({ type: "tool_execution", ...namesOf(step), tool_name: call.name, args: args ?? call.args });
  let result: ToolResult;
  if (tool === undefined) {
    const offered = [...tools.keys()].join(", ") || "none";
    result = refused(`There is no tool "${call.name}" for you here. Your tools: ${offered}.`);
  } else if (args === null)
    result = refused("The call was not made: the arguments must be one JSON object, at most 64 levels deep.");
  else {
    const { stored, spec } = tool;
    const wrong =
      call.by === "state"
        ? missingArguments(args, spec.parameters).map((name) => `the argument ${name} is missing`)
        : argumentErrors(args, spec.parameters);
    result =
      wrong.length > 0
        ? refused(`The call was not made: ${wrong.join("; ")}.`)
        : await invoke({ tool: stored, args, by: call.by }, effectKey, context);
  }
  noteResult(call.name, result, step, context);
  return result;
}

/** Publishes the result of a call. */
export function noteResult(tool_name: string, result: ToolResult, step: Step, context: StepContext): void {
  const preview = clip(textForModel(result), PREVIEW_CHARS - 40);
  context.note({ type: "tool_result", ...namesOf(step), tool_name, preview });
}
/** Built-in tools that need nothing but the step's own ports. */
const engineTools = new Map<string, (args: JsonObject, context: StepContext) => Promise<Json>>([
  ["run_javascript", runJavascript],
  ["artifact_write", writeArtifact],
  ["artifact_read", readArtifact],
  ["artifact_list", listArtifacts],
]);

async function invoke(
  { by, ...call }: { tool: JsonObject; args: JsonObject; by: CallBy },
  effectKey: string,
  context: StepContext,
): Promise<ToolResult> {
  try {
    const name = call.tool["tool_type"] === "built_in" ? call.tool["name"] : null;
    if (name === "spawn_run")
      throw new TerminalError(
        "bad_tool",
        "spawn_run is a tool of agents: use a step of type orchestration here",
      );
    const ofEngine = typeof name === "string" ? engineTools.get(name) : undefined;
    const value = ofEngine
      ? await ofEngine(call.args, context)
      : await context.tools.call({ ...call, effectKey, signal: context.signal, files: context.files });
    return { ok: true, value };
  } catch (error) {
    if (by === "agent" && error instanceof RetryableError && SILENT_TOOL.has(error.code)) {
      const why = error.code === "tool_timeout" ? "the tool did not answer in time" : error.message;
      const note = "It may have been carried out all the same.";
      return refused(`The call has no result: ${why}. ${note}`, error.code);
    }
    if (by === "agent" && error instanceof TerminalError && WRONG_TOOL.has(error.code)) {
      return refused(
        `The call has no result, and other arguments may not help: ${error.message}`,
        error.code,
      );
    }
    if (!(error instanceof ToolRejection)) throw error;
    const what = error.code === "tool_rejected" ? "The tool refused the call" : "The call has no result";
    return refused(`${what}: ${error.message}`, error.code);
  }
}

function refused(reason: string, code = "tool_rejected"): Refused {
  return { ok: false, code, reason };
}

/** A tool's result as a model reads it. */
export function textForModel(result: ToolResult): string {
  return result.ok ? clip(asText(result.value), RESULT_CHARS) : result.reason;
}
