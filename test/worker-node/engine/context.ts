import { isFork, layOut, parseOrchestration } from "../../../shared/contracts/definition/index.ts";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { refusingFiles } from "../fakes.ts";
import type { LeafStep, Orchestration } from "../../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../../shared/contracts/event.ts";
import type { Usage } from "../../../shared/contracts/journal-entry.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type {
  Chat,
  ChildReply,
  ChildRequest,
  Message,
  ModelAnswer,
  ModelRequest,
  Reply,
  StepContext,
  StepResult,
  ToolCall,
} from "../../../worker-node/engine/ports.ts";
import { runStep } from "../../../worker-node/engine/steps/index.ts";

export function orchestration(steps: object[], fields: object = {}): Orchestration {
  const first = steps[0];
  const entry = first && "id" in first ? first.id : "";
  const parsed = parseOrchestration({ id: "orch", name: "Test", entry_step_id: entry, steps, ...fields });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
  return parsed.definition;
}

/** The one step of an orchestration. */
export function step(fields: object): LeafStep {
  const [only] = layOut(orchestration([{ id: "s", name: "Step", ...fields }])).steps;
  if (only === undefined || isFork(only)) throw new Error("no step");
  return only;
}

export type FakeAnswer =
  | string
  | { text?: string; calls: (Omit<ToolCall, "id"> & { id?: string })[]; parts?: Json }
  | Error;

/** The context of a step, and a record of what the step did. */
export type FakeContext = {
  context: StepContext;
  modelCalls: {
    messages: readonly Message[];
    tools: string[];
    effectKey: string;
    model: string | null;
    toolChoice: string;
  }[];
  toolCalls: { name: string; args: Json; effectKey: string }[];
  noted: RunEvent[];
  committedTurns: { data: Json; usage: readonly Usage[] }[];
  children: ChildRequest[];
  charged: Usage[];
  /** The effect keys of calls that have failed, and without which the step went on. */
  chargedFailed: string[];
};

/**
 * The context of one step. The model gives `answers` in order and fails after the last; tools answer by name. A turn's
 * data goes through JSON, as in a journal.
 */
export function fakeContext(options: {
  state?: JsonObject;
  loopVariables?: JsonObject;
  sources?: { [key: string]: string | (string | null)[] };
  message?: string;
  answers?: FakeAnswer[];
  windowTokens?: number;
  agents?: { [id: string]: JsonObject };
  tools?: { [name: string]: (args: Json) => Json | Promise<Json> };
  /** The tools whose definitions have `parallel: true`. */
  parallel?: string[];
  turns?: Json[];
  blobs?: { [ref: string]: Json };
  evaluate?: StepContext["sandbox"]["evaluate"];
  transform?: StepContext["sandbox"]["transform"];
  confirm?: () => Promise<void>;
  crashAtTurn?: number;
  files?: StepContext["files"];
  isLastTry?: boolean;
  reply?: Reply;
  chat?: Chat;
  child?: (request: ChildRequest) => ChildReply;
  callMcp?: StepContext["tools"]["callMcp"];
  ask?: StepContext["ask"];
  pause?: StepContext["pause"];
}): FakeContext {
  const answers = [...(options.answers ?? [])];
  const seen: Omit<FakeContext, "context"> = {
    modelCalls: [],
    toolCalls: [],
    noted: [],
    committedTurns: [],
    children: [],
    charged: [],
    chargedFailed: [],
  };
  const unused = async (): Promise<Json> => {
    throw new Error("this test needs no sandbox");
  };
  const generate = async (request: ModelRequest): Promise<ModelAnswer> => {
    const { messages, tools, effectKey, model, toolChoice } = request;
    seen.modelCalls.push({
      messages: [...messages],
      tools: tools.map((tool) => tool.name),
      effectKey,
      model,
      toolChoice,
    });
    const next = answers.shift();
    if (next === undefined) throw new Error("the model is called more often than the test expects");
    if (next instanceof Error) throw next;
    const usage = { provider: "test", model: "m", input_tokens: 10, output_tokens: 5, cost_micro_usd: 7 };
    if (typeof next === "string") {
      request.onText(next);
      return { text: next, tool_calls: [], usage };
    }
    const calls = next.calls.map((call, i) => ({ id: `call_${seen.modelCalls.length}_${i}`, ...call }));
    const { text = "", parts } = next;
    return { text, tool_calls: calls, usage, ...(parts === undefined ? {} : { parts }) };
  };
  const call: StepContext["tools"]["call"] = async ({ tool, args, effectKey }) => {
    const { name } = tool;
    if (typeof name !== "string") throw new Error("a tool without a name");
    seen.toolCalls.push({ name, args, effectKey });
    const answer = options.tools?.[name];
    if (answer === undefined) throw new Error("no such tool in this test");
    return answer(args);
  };
  const context: StepContext = {
    runId: RunId.parse("run_2483e1773407_1780499750067"),
    tenantId: TenantId.parse("acme"),
    effectBase: "run_1:s:1",
    effectSuffix: "",
    isLastTry: () => options.isLastTry ?? false,
    message: options.message ?? "the message",
    state: options.state ?? {},
    loopVariables: async () => options.loopVariables ?? {},
    way: () => ({ from: null, said: [] }),
    sourceOf: (key) => options.sources?.[key] ?? key,
    load: async (value) => {
      const ref =
        typeof value === "object" && value !== null && !Array.isArray(value) ? value["$ref"] : undefined;
      return typeof ref === "string" ? (options.blobs?.[ref] ?? null) : value;
    },
    models: { generate },
    windowTokens: async () => options.windowTokens ?? 128_000,
    mcpServer: async () => null,
    tools: {
      toolsOf: async () => [],
      call,
      callMcp:
        options.callMcp ??
        (async (request) => ({ is: "result", value: await call({ ...request, files: refusingFiles }) })),
    },
    files: options.files ?? refusingFiles,
    filesOfCall: () => ({ ...(options.files ?? refusingFiles), written: [] }),
    sandbox: { evaluate: options.evaluate ?? unused, transform: options.transform ?? unused },
    agent: async (id) => options.agents?.[id] ?? null,
    tool: async (name) =>
      options.tools?.[name] === undefined
        ? null
        : {
            name,
            tool_type: "http",
            url: "https://example.com/",
            inputSchema,
            parallel: options.parallel?.includes(name) ?? false,
          },
    chat: options.chat ?? null,
    turns: options.turns ?? [],
    reply: options.reply ?? null,
    note: (...events) => void seen.noted.push(...events),
    async turn(data, usage) {
      if (seen.committedTurns.length + 1 === options.crashAtTurn) throw new Error("crash");
      seen.committedTurns.push({ data: JSON.parse(JSON.stringify(data)), usage: [...usage] });
    },
    signal: new AbortController().signal,
    confirm: options.confirm ?? (async () => {}),
    checkCost: () => {},
    child: async (request) => {
      seen.children.push(request);
      return options.child?.(request) ?? { is: "open" };
    },
    ask: options.ask ?? (async () => ({ is: "open" })),
    pause: options.pause ?? (async () => false),
    charge: (usage) => void seen.charged.push(usage),
    chargeFailed: (key) => void seen.chargedFailed.push(key),
  };
  return { ...seen, context };
}

const inputSchema = { type: "object", properties: { query: { type: "string" } } };

/** The result of a step that asks no person. */
export async function run(...options: Parameters<typeof runStep>): Promise<StepResult> {
  const result = await runStep(...options);
  if ("waitsForCalls" in result) throw new Error("the step waits for another run");
  if ("waitFor" in result) throw new Error(`the step waits: ${JSON.stringify(result.waitFor)}`);
  return result;
}
