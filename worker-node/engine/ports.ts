import type { FormField } from "../../shared/contracts/definition/human.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Usage } from "../../shared/contracts/journal-entry.ts";

/** What a step asks of the world while it runs. The engine touches nothing else: no clock, no network, no store. */
export type StepContext = {
  /** `run:step path:visit`, extended by `:call` and, after a definite answer that is tried again, `:try`. */
  effectBase: string;
  /** `:try` where the try before had a definite answer, else empty: then the call may have happened, and keeps its key. */
  effectSuffix: string;
  message: string;
  /** State as the journal tells it; references are loaded by `load`. A step never changes it: it answers `set`. */
  state: Readonly<JsonObject>;
  /** Loads the value behind a `Reference`, or answers the value itself. */
  load(value: Json): Promise<Json>;
  models: Models;
  tools: Tools;
  sandbox: Sandbox;
  agent(id: string): Promise<JsonObject | null>;
  tool(name: string): Promise<JsonObject | null>;
  /** What an earlier, interrupted execution of this visit had reached, in order: the `data` of its turns. */
  turns: readonly Json[];
  /** What has become of the question that this visit has asked; null: it is to ask. */
  reply: Reply | null;
  /** Shows events as they happen; they are committed with the next checkpoint, or within a moment. */
  note(...events: RunEvent[]): void;
  /** Commits a checkpoint inside the step (with the usage so far) and answers once it is durable. */
  turn(data: Json, usage: readonly Usage[]): Promise<void>;
  /** Aborted on cancel, on a timeout, when the lease is lost. Every call to the outside takes it. */
  signal: AbortSignal;
  /** Asks, before each call to the outside, whether this worker still may move the run. Throws if not. */
  confirm(): Promise<void>;
};

/** `openForMs`: since the question was asked. `expired`: its time went by without an answer. */
export type Reply = { is: "answered"; answer: Json; openForMs: number } | { is: "open" } | { is: "expired" };

/** What a step answers that has to ask a person first: the run sleeps until there is a reply, then the step runs again. */
export type StepQuestion = {
  /** Null: what it has asked before. */
  ask: { prompt: string; fields: readonly FormField[]; timeoutMs: number } | null;
  /** Told with the question. */
  events: RunEvent[];
};

/** What a step answers. */
export type StepResult = {
  /** Keys of state that it writes. */
  set: JsonObject;
  /** The label, case or branch it chose: routing makes a target of it. Absent: the step's `next_step_id`. */
  route?: { target: string | null };
  /** Events that belong to the result: they are committed with it, before `step_complete`. */
  events: RunEvent[];
  /** Events shown after `step_complete` (routing decisions, as the original orders them). */
  after?: RunEvent[];
  /** Model calls that no `turn` has reported yet. */
  usage: readonly Usage[];
  /** What the step answers with: the run's response if it is the last. */
  response?: Json;
  effects: readonly string[];
  /** How long it has taken before this execution of it, if it has. */
  waitedMs?: number;
  /** True for `end`: the run completes here, whatever follows. */
  ends?: boolean;
};

export type Message =
  | { role: "system" | "user"; content: string }
  | { role: "assistant"; content: string; tool_calls?: ToolCall[] }
  | { role: "tool"; tool_call_id: string; tool_name: string; content: string };

export type ToolCall = { id: string; name: string; args: Json };

export type ToolSpec = { name: string; description: string; parameters: JsonObject };

export type ModelRequest = {
  /** `provider/model`, or one of the original's prefixes; null: the default model. */
  model: string | null;
  messages: readonly Message[];
  tools: readonly ToolSpec[];
  /** `required`: the model must call one of the tools (providers that cannot force one may still answer with text). */
  toolChoice: "auto" | "required";
  effectKey: string;
  signal: AbortSignal;
  /** Called with each piece of text as it arrives. */
  onText(text: string): void;
};

export type ModelAnswer = { text: string; tool_calls: ToolCall[]; usage: Omit<Usage, "call"> };

/** Model calls. Every failure is thrown: a RetryableError (with the provider's Retry-After if it named one) or a TerminalError. */
export type Models = { generate(request: ModelRequest): Promise<ModelAnswer> };

/** Tool calls. A tool that fails throws, like a model. */
export type Tools = {
  call(request: { tool: JsonObject; args: Json; effectKey: string; signal: AbortSignal }): Promise<Json>;
};

/** JavaScript in a QuickJS sandbox: no network, no clock, memory and time limits. Errors are TerminalErrors. */
export type Sandbox = {
  /** The value of one expression over `state`; `True`, `False`, `None` are defined. */
  evaluate(expression: string, state: JsonObject): Promise<Json>;
  /** Runs a program that reads `state` and sets `result`; answers `result`. */
  transform(code: string, state: JsonObject): Promise<Json>;
};
