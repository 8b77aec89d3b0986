import { parseOrchestration } from "../../../shared/contracts/definition/index.ts";
import type { Orchestration, Step } from "../../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../../shared/contracts/event.ts";
import type { Usage } from "../../../shared/contracts/journal-entry.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type {
  Message,
  ModelAnswer,
  ModelRequest,
  Reply,
  StepContext,
  StepResult,
  ToolCall,
} from "../../../worker-node/engine/ports.ts";
import { runStep } from "../../../worker-node/engine/steps/index.ts";

export function orchestration(steps: object[], more: object = {}): Orchestration {
  const first = steps[0];
  const entry = first && "id" in first ? first.id : "";
  const parsed = parseOrchestration({ id: "orch", name: "Test", entry_step_id: entry, steps, ...more });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
  return parsed.definition;
}

/** The one step of an orchestration. */
export function step(fields: object): Step {
  const [only] = orchestration([{ id: "s", name: "Step", ...fields }]).steps;
  if (only === undefined) throw new Error("no step");
  return only;
}

export type ModelSays = string | { text?: string; calls: (Omit<ToolCall, "id"> & { id?: string })[] } | Error;

export type World = {
  context: StepContext;
  asked: {
    messages: readonly Message[];
    tools: string[];
    effectKey: string;
    model: string | null;
    toolChoice: string;
  }[];
  called: { name: string; args: Json; effectKey: string }[];
  shown: RunEvent[];
  committed: { data: Json; usage: readonly Usage[] }[];
};

/**
 * A world for one step: models answer from a list and fail when it is used up, tools answer by name. It keeps what was
 * asked of it; a turn's data goes through JSON, as in a journal.
 */
export function world(given: {
  state?: JsonObject;
  message?: string;
  says?: ModelSays[];
  agents?: { [id: string]: JsonObject };
  tools?: { [name: string]: (args: Json) => Json };
  turns?: Json[];
  blobs?: { [ref: string]: Json };
  evaluate?: StepContext["sandbox"]["evaluate"];
  transform?: StepContext["sandbox"]["transform"];
  confirm?: () => Promise<void>;
  crashAtTurn?: number;
  reply?: Reply;
}): World {
  const says = [...(given.says ?? [])];
  const seen: Omit<World, "context"> = { asked: [], called: [], shown: [], committed: [] };
  const unused = async (): Promise<Json> => {
    throw new Error("this test needs no sandbox");
  };
  const generate = async (request: ModelRequest): Promise<ModelAnswer> => {
    const { messages, tools, effectKey, model, toolChoice } = request;
    seen.asked.push({
      messages: [...messages],
      tools: tools.map((tool) => tool.name),
      effectKey,
      model,
      toolChoice,
    });
    const next = says.shift();
    if (next === undefined) throw new Error("the model was asked more often than the test expects");
    if (next instanceof Error) throw next;
    const usage = { provider: "test", model: "m", input_tokens: 10, output_tokens: 5, cost_micro_usd: 7 };
    if (typeof next === "string") {
      request.onText(next);
      return { text: next, tool_calls: [], usage };
    }
    const calls = next.calls.map((call, i) => ({ id: `call_${seen.asked.length}_${i}`, ...call }));
    return { text: next.text ?? "", tool_calls: calls, usage };
  };
  const context: StepContext = {
    effectBase: "run_1:s:1",
    effectSuffix: "",
    message: given.message ?? "the message",
    state: given.state ?? {},
    load: async (value) => {
      const ref =
        typeof value === "object" && value !== null && !Array.isArray(value) ? value["$ref"] : undefined;
      return typeof ref === "string" ? (given.blobs?.[ref] ?? null) : value;
    },
    models: { generate },
    tools: {
      async call({ tool, args, effectKey }) {
        const { name } = tool;
        if (typeof name !== "string") throw new Error("a tool without a name");
        seen.called.push({ name, args, effectKey });
        const answer = given.tools?.[name];
        if (answer === undefined) throw new Error("no such tool in this test");
        return answer(args);
      },
    },
    sandbox: { evaluate: given.evaluate ?? unused, transform: given.transform ?? unused },
    agent: async (id) => given.agents?.[id] ?? null,
    tool: async (name) =>
      given.tools?.[name] === undefined
        ? null
        : { name, tool_type: "http", url: "https://example.com/", inputSchema },
    turns: given.turns ?? [],
    reply: given.reply ?? null,
    note: (...events) => void seen.shown.push(...events),
    async turn(data, usage) {
      if (seen.committed.length + 1 === given.crashAtTurn) throw new Error("crash");
      seen.committed.push({ data: JSON.parse(JSON.stringify(data)), usage: [...usage] });
    },
    signal: new AbortController().signal,
    confirm: given.confirm ?? (async () => {}),
  };
  return { ...seen, context };
}

const inputSchema = { type: "object", properties: { query: { type: "string" } } };

/** The result of a step that has nobody to ask. */
export async function run(...given: Parameters<typeof runStep>): Promise<StepResult> {
  const result = await runStep(...given);
  if ("question" in result) throw new Error(`the step asks: ${result.question?.prompt}`);
  return result;
}
