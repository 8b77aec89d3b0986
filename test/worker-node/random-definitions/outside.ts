/**
 * The models, tools, persons and child runs of random definitions. Each answer follows from the place of the call in the run and from
 * what it was asked, so that a run has the same answers however often it is disturbed.
 */
import { createHash } from "node:crypto";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type { ModelAnswer, ModelRequest, Tools } from "../../../worker-node/engine/ports.ts";
import { TerminalError, ToolRejection } from "../../../worker-node/engine/step-errors.ts";
import { usage } from "../execution/execution-harness.ts";

const http = { tool_type: "http", description: "", url: "https://tools.example.com/" };
const inputSchema = { type: "object", properties: { query: { type: "string" } } };

/** The agents and tools that the steps name. */
export const named: { [id: string]: JsonObject } = {
  agent: { id: "agent", name: "Agent", tools: ["fetch", "look"] },
  lead: { id: "lead", name: "Lead", delegate_agent_ids: ["agent"] },
  fetch: { name: "fetch", ...http, inputSchema },
  look: { name: "look", ...http, inputSchema, parallel: true },
  fails: { name: "fails", ...http, inputSchema },
};

/** A text without the ids of runs, which differ each time. */
export function withoutRunIds(text: string): string {
  return text.replaceAll(/run_[0-9a-f]+_\d+/g, "run_x");
}

/** A hash of the values, from 0 to 2^32. */
function hashOf(...values: Json[]): number {
  return createHash("sha256")
    .update(withoutRunIds(JSON.stringify(values)))
    .digest()
    .readUInt32BE();
}

/** A call's place: its name without the run, and without what distinguishes the tries of one call. */
function placeOf(effectKey: string): { place: string; step: string; call: string } {
  const [, place = "", path = "", call = ""] = /^[^:]*:((.*?):\d+:([^:]*))/.exec(effectKey) ?? [];
  return { place, step: path.split(".").at(-1) ?? "", call };
}

/** The answer of the model: to agents first some calls of tools, and to evaluators one of their labels. */
export function modelAnswer({ effectKey, messages, tools }: ModelRequest): ModelAnswer {
  const { place, step, call } = placeOf(effectKey);
  const hash = hashOf(place, JSON.parse(JSON.stringify(messages)));
  const turn = Number(/model\.(\d+)$/.exec(call)?.[1] ?? 1);
  const textAnswer = (text: string): ModelAnswer => ({ text, tool_calls: [], usage });
  const calls = (name: string, count: number, args: (i: number) => JsonObject): ModelAnswer => {
    const made = Array.from({ length: count }, (_, i) => ({ id: `${place}.${i}`, name, args: args(i) }));
    return { text: "", tool_calls: made, usage };
  };
  const offered = tools.map(({ name }) => name);
  if (step.startsWith("extract_json")) return textAnswer(`Here: {"n": ${hash % 100}}`);
  if (offered.includes("choose_route"))
    return hash % 4 === 0
      ? textAnswer("Well.")
      : calls("choose_route", 1, () => ({ route: hash % 2 === 0 ? "left" : "right", reasoning: "so" }));
  const query = (i: number): JsonObject => ({ query: `q${(hash + i) % 1_000}` });
  if (step.startsWith("planned_tool")) return calls("fetch", 1, query);
  if (offered.length === 0 || turn > 1 + (hashOf(place.split("model")[0] ?? "") % 3))
    return textAnswer(`t${hash}`);
  if (offered.includes("delegate_to_agent"))
    return calls("delegate_to_agent", 1, (i) => ({ agent_id: "agent", task: `task ${hash + i}` }));
  return calls(hash % 2 === 0 ? "fetch" : "look", 1 + (hash % 3), query);
}

type ToolRequest = Parameters<Tools["call"]>[0];

/** The answer of a tool. Some refuse a call of an agent, which goes on. */
export function toolAnswer({ tool: { name }, args, effectKey }: ToolRequest): Json {
  const { place, step } = placeOf(effectKey);
  if (name === "fails") throw new TerminalError("broken", "this tool never works");
  const hash = hashOf(place, args);
  const isOfAgent = step.startsWith("agent") || step.startsWith("lead");
  if (isOfAgent && hash % 5 === 0) throw new ToolRejection("not this query");
  return { found: hash % 1_000 };
}

/** What a person answers to a question; null: nothing, until its deadline. */
export function personAnswer(wait_id: string): JsonObject | null {
  const { step } = placeOf(`run:${wait_id}:`);
  if (step.startsWith("human_silent")) return null;
  const hash = hashOf(wait_id);
  if (step.startsWith("human_routed") && hash % 2 === 0) return null;
  return { decision: hash % 3 === 0 ? "yes" : "no", note: `n${hash}` };
}

/** How a child ends: its response, or null when it has failed. */
export function childAnswer(wait_id: string, input: Json): string | null {
  const hash = hashOf(wait_id, input);
  return hash % 4 === 0 ? null : `child ${hash}`;
}
