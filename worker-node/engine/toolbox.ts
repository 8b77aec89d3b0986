import { parseTool } from "../../shared/contracts/definition/index.ts";
import { TerminalError, ToolRejection } from "./errors.ts";
import { named } from "./events.ts";
import { asText } from "./run-state.ts";
import { clip } from "./prompt.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { StepContext, ToolCall, ToolSpec } from "./ports.ts";

const PREVIEW_CHARS = 500;
/** Characters of a tool's answer that a model is told; what is left out is said. */
const TOLD_CHARS = 100_000;

/** The tools that a step may use, by name: `stored` is what calls one, `spec` what a model is told of it. */
export type Toolbox = ReadonlyMap<string, { stored: JsonObject; spec: ToolSpec }>;

/** Loads tools. One that does not exist fails the step: an agent without its tools would only pretend to work. */
export async function openToolbox(names: readonly string[], context: StepContext): Promise<Toolbox> {
  const box = new Map<string, { stored: JsonObject; spec: ToolSpec }>();
  for (const name of names) {
    const stored = await context.tool(name);
    if (stored === null) throw new TerminalError("unknown_tool", `there is no tool "${name}"`);
    const parsed = parseTool(stored);
    if (!parsed.ok)
      throw new TerminalError("bad_tool", `the definition of the tool "${name}" cannot be used`);
    const { description, inputSchema } = parsed.definition;
    box.set(name, { stored, spec: { name, description, parameters: inputSchema } });
  }
  return box;
}

export function specsOf(box: Toolbox): ToolSpec[] {
  return [...box.values()].map((tool) => tool.spec);
}

/**
 * Makes one tool call and shows it. Answers what the model is told: the tool's answer, or why there is none where the
 * model can do something about it (a tool that it does not have, a call that the tool refuses). All else is thrown.
 */
export async function callTool(
  call: ToolCall,
  box: Toolbox,
  effectKey: string,
  step: Step,
  context: StepContext,
): Promise<{ ok: true; value: Json } | { ok: false; reason: string }> {
  const tool = box.get(call.name);
  context.note({ type: "tool_execution", ...named(step), tool_name: call.name, args: call.args });
  let answer: { ok: true; value: Json } | { ok: false; reason: string };
  if (tool === undefined) {
    const offered = [...box.keys()].join(", ") || "none";
    answer = { ok: false, reason: `There is no tool "${call.name}" for you here. Your tools: ${offered}.` };
  } else {
    answer = await attempt(tool.stored, call.args, effectKey, context);
  }
  const preview = clip(told(answer), PREVIEW_CHARS - 40);
  context.note({ type: "tool_result", ...named(step), tool_name: call.name, preview });
  return answer;
}

async function attempt(
  tool: JsonObject,
  args: Json,
  effectKey: string,
  context: StepContext,
): Promise<{ ok: true; value: Json } | { ok: false; reason: string }> {
  try {
    return { ok: true, value: await context.tools.call({ tool, args, effectKey, signal: context.signal }) };
  } catch (error) {
    if (error instanceof ToolRejection)
      return { ok: false, reason: `The tool refused the call: ${error.message}` };
    throw error;
  }
}

/** A tool's answer as a model reads it. */
export function told(answer: { ok: true; value: Json } | { ok: false; reason: string }): string {
  return answer.ok ? clip(asText(answer.value), TOLD_CHARS) : answer.reason;
}
