import type { FormField } from "../../shared/contracts/definition/human.ts";
import type { LeafStep, Step, StepOf } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { ForkRecord, Usage } from "../../shared/contracts/journal-entry.ts";
import type { Fork } from "../../shared/journal/track.ts";

/** Runs one step of a type. An error that it throws fails or retries the step; it never returns an error as output. */
export type Executor<Type extends LeafStep["type"]> = (
  step: StepOf<Type>,
  context: StepContext,
) => Promise<StepResult | StepQuestion>;

/** How a step type divides a run into tracks, one for each branch or iteration, and joins them when all have ended. Pure, except for `load`. */
export type Forker<Type extends "parallel" | "loop"> = {
  /** The tracks of a visit, with the events of its beginning. @throws TerminalError when the step cannot begin */
  begin(
    step: StepOf<Type>,
    context: Pick<StepContext, "state" | "load">,
  ): Promise<Pick<ForkRecord, "in" | "count"> & { events: RunEvent[] }>;
  /** The event with which a track begins. */
  track(step: StepOf<Type>, index: number, fork: Pick<Fork, "count">): RunEvent;
  /** The visit's result. The fold of the journal adds what `joinedKeys` says. */
  join(step: StepOf<Type>, fork: Fork, steps: readonly Step[]): StepResult;
};

/** Everything that a step can reach while it runs. The engine uses nothing else: no clock, no network, no store. */
export type StepContext = {
  /** `run:step path:visit`: the beginning of every effect key. */
  effectBase: string;
  /**
   * The end of every effect key: `:r<n>` after n retries of the run by a client, `:<n>` after n refusals by the other
   * side. Empty after a try without a definite answer: that call may have happened, so the next one keeps its key.
   */
  effectSuffix: string;
  message: string;
  /** State as committed. `load` reads its references. A step never changes state: it returns `set`. */
  state: Readonly<JsonObject>;
  /** What code and templates of a step in a loop also see: `index`, and with `for_each` the `item`. Empty outside of loops. */
  each(): Promise<JsonObject>;
  /**
   * How a merge names the source of a key of state: `Draft (draft_a)`, the step that writes it, or the key itself. A key that
   * several branches have written has the source of each branch's value; null: the branch does not write it.
   */
  sourceOf(key: string): string | (string | null)[];
  /** The value behind a `Reference`; any other value as it is. */
  load(value: Json): Promise<Json>;
  models: Models;
  tools: Tools;
  sandbox: Sandbox;
  agent(id: string): Promise<JsonObject | null>;
  tool(name: string): Promise<JsonObject | null>;
  mcpServer(name: string): Promise<JsonObject | null>;
  /** The committed turns of this visit, in order: the `data` of each. */
  turns: readonly Json[];
  /** The state of the question that this visit asked; null when it has to ask. */
  reply: Reply | null;
  /** Publishes events while the step runs: they are committed with the next checkpoint, or within a moment. */
  note(...events: RunEvent[]): void;
  /** Commits a checkpoint inside the step, with the usage so far. Resolves once it is durable. */
  turn(data: Json, usage: readonly Usage[]): Promise<void>;
  /** Aborted on cancel, on a timeout, and when another worker moves the run. Every call to the outside takes it. */
  signal: AbortSignal;
  /** To be called before each call to the outside. Throws unless this worker may still move the run. */
  confirm(): Promise<void>;
  /** Throws when the run has reached its money limit. Model calls check it; so must work that only another model call can use. */
  checkCost(): void;
};

/** `openForMs`: time since the question was asked. `expired`: its time passed without an answer. */
export type Reply = { is: "answered"; answer: Json; openForMs: number } | { is: "open" } | { is: "expired" };

/** What a step returns that needs a person's answer: the run parks until there is one, then the step runs again. */
export type StepQuestion = {
  /** Null when the visit's question is open already. */
  question: { prompt: string; fields: readonly FormField[]; timeoutMs: number } | null;
  /** Committed with the park. */
  events: RunEvent[];
};

/** What a step returns when it is done. */
export type StepResult = {
  /** The state keys that the step writes. */
  set: JsonObject;
  /** Where the step's decision leads. Absent: to the step's `next_step_id`. */
  route?: { target: string | null };
  /** Events of the result, committed with it, before `step_complete`. */
  events: RunEvent[];
  /** Events after `step_complete`: routing decisions. Imported definitions expect this order. */
  after?: RunEvent[];
  /** Model calls that no `turn` has reported. */
  usage: readonly Usage[];
  /** The step's answer: the run's response if this is its last step. */
  response?: Json;
  effects: readonly string[];
  /** How long the visit had waited for an answer before this execution of the step. */
  waitedMs?: number;
  /** True for `end`: the run completes here, whatever follows. */
  ends?: boolean;
};

export type Message =
  | { role: "system" | "user"; content: string }
  | { role: "assistant"; content: string; tool_calls?: ToolCall[]; parts?: Json }
  | { role: "tool"; tool_call_id: string; tool_name: string; content: string };

export type ToolCall = { id: string; name: string; args: Json };

export type ToolSpec = { name: string; description: string; parameters: JsonObject };

export type ModelRequest = {
  /** `provider/model`, or a model with one of the prefixes of imported definitions; null: the default model. */
  model: string | null;
  messages: readonly Message[];
  tools: readonly ToolSpec[];
  /** `required`: the model must call one of the tools (providers that cannot force one may still answer with text). */
  toolChoice: "auto" | "required";
  effectKey: string;
  signal: AbortSignal;
  /** Called with each piece of text as it arrives. */
  onText(text: string): void;
  /** Called when the text so far turns out to be no part of the answer: it was thought aloud. */
  onRestart?(): void;
  /** Called with what the call has used so far, also when it fails later. The last time counts. Null: it has used nothing. */
  onUsage?(usage: ModelAnswer["usage"] | null): void;
  /** A limit on money holds: refuse a model without a known price. */
  mustHavePrice?: boolean;
  /** The most tokens of the answer, where less than the model's own limit is paid for. */
  maxOutputTokens?: number;
};

/** `parts`: what the provider wants back with the next request, if it is more than text and calls. Steps only carry it. */
export type ModelAnswer = {
  text: string;
  tool_calls: ToolCall[];
  usage: Omit<Usage, "call">;
  parts?: Json;
};

/** Model calls. Every failure is thrown: a RetryableError (with the provider's Retry-After if it named one) or a TerminalError. */
export type Models = { generate(request: ModelRequest): Promise<ModelAnswer> };

/** Tool calls. A tool that fails throws, like a model. `toolsOf`: the tools of a stored MCP server. */
export type Tools = {
  toolsOf(request: { server: JsonObject; signal: AbortSignal }): Promise<JsonObject[]>;
  call(request: { tool: JsonObject; args: Json; effectKey: string; signal: AbortSignal }): Promise<Json>;
};

/** JavaScript in a QuickJS sandbox: no network, no clock, memory and time limits. Errors are TerminalErrors. */
export type Sandbox = {
  /** The value of one expression over `state` and the names in `loopVariables`; `True`, `False`, `None` are defined. */
  evaluate(expression: string, state: JsonObject, loopVariables?: JsonObject): Promise<Json>;
  /** Runs a program that reads `state` and the names in `loopVariables`, and sets `result`; returns `result`. */
  transform(code: string, state: JsonObject, loopVariables?: JsonObject): Promise<Json>;
};
