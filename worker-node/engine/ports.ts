import type { AnsweredBy, Vote } from "../../shared/contracts/approval.ts";
import type { FileReference } from "../../shared/contracts/artifact.ts";
import type { ChatHistory, Summary } from "../../shared/contracts/chat.ts";
import type { FormField } from "../../shared/contracts/definition/human.ts";
import type { LeafStep, Step, StepOf } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { EndRecord, ForkRecord, Usage } from "../../shared/contracts/journal-entry.ts";
import type { NewArtifact } from "../../shared/store/files/new-artifact.ts";
import type { McpOutcome, McpRequest } from "./mcp-pending.ts";
import type { RetryableError } from "./step-errors.ts";
import type { Fork } from "../../shared/journal/track.ts";
import type { Way } from "./way.ts";

/** Runs one step of a type. An error that it throws fails or retries the step; it never returns an error as output. */
export type Executor<Type extends LeafStep["type"]> = (
  step: StepOf<Type>,
  context: StepContext,
) => Promise<StepResult | StepWait | CallsWait>;

/** Runs one step of a type without effects: it makes no call to the outside and waits for nothing, so its repetition does no harm. */
export type PureExecutor<Type extends LeafStep["type"]> = (
  step: StepOf<Type>,
  context: PureContext,
) => Promise<StepResult>;

/** What a step without effects can reach: values that it reads, and code over them. */
export type PureContext = Pick<
  StepContext,
  "message" | "state" | "loopVariables" | "sourceOf" | "load" | "sandbox"
>;

/**
 * How a step type divides a run into tracks, one for each branch or iteration, and joins them when all have ended. Pure,
 * except for `load`.
 */
export type Forker<Type extends "parallel" | "loop"> = {
  /** The tracks of a visit, with the events of its beginning. @throws TerminalError when the step cannot begin */
  begin(
    step: StepOf<Type>,
    context: Pick<StepContext, "state" | "load" | "loopVariables">,
  ): Promise<Pick<ForkRecord, "in" | "count"> & { events: RunEvent[] }>;
  /** The event with which a track begins. */
  track(step: StepOf<Type>, index: number, fork: Pick<Fork, "count">): RunEvent;
  /** The visit's result. The fold of the journal adds what `joinedKeys` says. */
  join(step: StepOf<Type>, fork: Fork, steps: readonly Step[]): StepResult;
};

/** Everything that a step can reach while it runs. The engine uses nothing else: no clock, no network, no store. */
export type StepContext = {
  runId: RunId;
  tenantId: TenantId;
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
  loopVariables(): JsonObject | Promise<JsonObject>;
  /**
   * How a merge names the source of a key of state: `Draft (draft_a)`, the step that writes it, or the key itself. A key that
   * several branches have written has the source of each branch's value; null: the branch does not write it.
   */
  sourceOf(key: string): string | (string | null)[];
  /** How the run has come to this step: its prompt has what evaluators and persons have said on the way. */
  way(): Way;
  /** The value behind a `Reference`; any other value as it is. */
  load(value: Json): Promise<Json>;
  models: Models;
  /** The tokens that a model takes in one request. Null: the model of steps that name none. */
  windowTokens(model: string | null): Promise<number>;
  tools: Tools;
  files: Files;
  /** The files that one tool call can reach: those that it writes are committed by the turn that gets them. */
  filesOfCall(): CallFiles;
  sandbox: Sandbox;
  agent(id: string): Promise<JsonObject | null>;
  /** The session of a chat turn; null: the run is no chat turn. */
  chat: Chat | null;
  tool(name: string): Promise<JsonObject | null>;
  mcpServer(name: string): Promise<JsonObject | null>;
  /** Whether the step would have no further try after this error. */
  isLastTry(error: RetryableError): boolean;
  /** The committed turns of this visit, in order: the `data` of each. */
  turns: readonly Json[];
  /** The state of the wait that this visit opened; null: it has opened none. */
  reply: Reply | null;
  /**
   * Starts a run, once however often the visit is repeated, and returns its state.
   * @throws TerminalError `unknown_orchestration`, `child_depth`, `child_limit` or `child_input_too_large`
   */
  child(request: ChildRequest): Promise<ChildReply>;
  /** Asks a person a question for a call of the visit, once however often the visit is repeated, and returns its state. */
  ask(question: CallQuestion): Promise<CallAnswer>;
  /**
   * Waits `ms` for a call, with the slot. False: that is too long. The step must return that it waits, and is executed again after the
   * time, or earlier for another reason.
   */
  pause(call: string, ms: number): Promise<boolean>;
  /** Charges usage before the step fails: a failed step returns no usage. */
  charge(usage: Usage): void;
  /** Charges a call of a model that has failed, and without which the step goes on, with the step's result. `key`: its effect key. */
  chargeFailed(key: string): void;
  /** Publishes events while the step runs: they are committed with the next checkpoint, or within a moment. */
  note(...events: RunEvent[]): void;
  /**
   * Commits a checkpoint inside the step, with the usage so far, and with the files of a call; without `files`, with those that
   * the step itself has written. Resolves once it is durable.
   */
  turn(data: Json, usage: readonly Usage[], files?: CallFiles): Promise<void>;
  /** Aborted on cancel, on a timeout, and when another worker moves the run. Every call to the outside takes it. */
  signal: AbortSignal;
  /** The step calls it before each call to the outside. Throws unless this worker may still move the run. */
  confirm(): Promise<void>;
  /**
   * Throws when the run has reached its money limit. Model calls check it. Work whose result only another model call can use must check it
   * first.
   */
  checkCost(): void;
};

/** A file attached to a chat message: its text, or a data URI of the image. */
export type AttachedFile = { file: FileReference } & ({ text: string } | { image: string });

/** What a chat turn knows of its session. `images`: of its message, as data URIs. The history ends before the turn and never changes. */
export type Chat = {
  images: readonly string[];
  /** The files that are attached to its message. */
  attached(): Promise<AttachedFile[]>;
  history(): Promise<ChatHistory>;
  /** Stores a summary for later turns. Of two summaries of one turn the first stays. */
  saveSummary(summary: Summary): Promise<void>;
};

/**
 * The state of a visit's question or timer. `openForMs`: time since it was opened. `expired`: its time is over, and no answer
 * came. `level`: how often the question has gone to a further group. `closed`: a client's retry of the run closed it `leftMs`
 * before its time; the visit opens another.
 */
export type Reply =
  | { is: "answered"; answer: Json; by: AnsweredBy; votes: readonly Vote[]; openForMs: number }
  | { is: "open"; openForMs: number; dueInMs: number; level: number; prompt: string }
  | { is: "expired"; votes: readonly Vote[]; openForMs: number }
  | { is: "closed"; leftMs: number };

/** A question to a person, or a timer. */
export type NewStepWait =
  | ({ kind: "human"; prompt: string; fields: readonly FormField[]; timeoutMs: number } & Approvals)
  | { kind: "timer"; timeoutMs: number };

/**
 * `approvers`: the only persons that may answer a question; empty: any person with the key. `approvalsNeeded`: how many of them must
 * approve; null: one answer is enough. `level`: the number of its escalations.
 */
type Approvals = { approvers: readonly string[]; approvalsNeeded: number | null; level: number };

/** Returned by a step that waits for an answer or a time: its track parks until then, and the step runs again. */
export type StepWait = {
  /** Null when the visit's wait is open already, and stays as it is. */
  waitFor: NewStepWait | null;
  /** The step runs again after this time, if the wait is still open; absent: when the wait is over. */
  againInMs?: number;
  /** Committed with the park. */
  events: RunEvent[];
};

/** A run that a step starts. `call`: the name of the call of the visit that starts it; empty: the visit has only this one. */
export type ChildRequest = {
  call: string;
  orchestrationId: string;
  message: string;
  state: JsonObject;
  /** How long the step waits for the run's end, from the park on, in milliseconds; null: as long as the run may take. */
  timeoutMs: number | null;
  /** True: the step waits for the run's end. False: the step goes on at once. */
  waits: boolean;
};

/**
 * The state of a run that a step has started. `open`: the step has to wait, for its end or for room in the queue.
 * `started`: the step does not wait for it. `expired`: the time of the wait is over, and the run is cancelled. `usage`: what the
 * run has used so far. `openForMs`: time since the wait began.
 */
export type ChildReply =
  | { is: "ended"; runId: string; end: EndRecord; usage: Usage; openForMs: number }
  | { is: "started"; runId: string }
  | { is: "expired"; runId: string; usage: Usage }
  | { is: "open" };

/** A question that a call asks a person. `call`: its name in the visit. `event`: what clients learn of it, without its id. */
export type CallQuestion = {
  call: string;
  prompt: string;
  fields: readonly FormField[];
  timeoutMs: number;
  event: Extract<RunEvent, { type: "human_input_required" }>;
};

/** The state of a question of a call. `expired`: no answer came in time. */
export type CallAnswer =
  | { is: "open" }
  | { is: "expired"; questionId: string }
  | { is: "answered"; questionId: string; answer: Json; by: AnsweredBy };

/** Returned by a step whose calls have to wait for runs, persons or times: its track parks until then, and the step runs again. */
export type CallsWait = { waitsForCalls: true };

/** Returned by a step that is done. */
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
  /** Of a human step: the source of its answer; null: no answer came in time. */
  answeredBy?: AnsweredBy | null;
  /** How long the visit had waited for an answer before this execution of the step. */
  waitedMs?: number;
  /** True for `end`: the run completes here, whatever follows. */
  ends?: boolean;
};

/** A message of a conversation with a model. `images`: data URIs, which the model gets after the text. */
export type Message =
  | { role: "system"; content: string }
  | { role: "user"; content: string; images?: readonly string[] }
  | { role: "assistant"; content: string; tool_calls?: ToolCall[]; parts?: Json }
  | { role: "tool"; tool_call_id: string; tool_name: string; content: string };

/** A tool call in an answer of a model. `args`: as the model wrote them, which may be no object. */
export type ToolCall = { id: string; name: string; args: Json };

/** A tool as a model sees it. `parameters`: the JSON schema of its arguments. */
export type ToolSpec = { name: string; description: string; parameters: JsonObject };

/** One call of a model. */
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
  /** Called when all text so far is no part of the answer: the model has thought it aloud. */
  onRestart?(): void;
  /** Called when the text that follows goes on with what an earlier execution has published. */
  onContinue?(): void;
  /** Called with the usage of the call so far, also when the call fails later. The last report counts. Null: it has used nothing. */
  onUsage?(usage: ModelAnswer["usage"] | null): void;
  /** The tenant of the call: the tenants take turns at a provider. */
  tenant?: TenantId;
  /** A limit on money holds: refuse a model without a known price. */
  mustHavePrice?: boolean;
  /** The most tokens of the answer, where less than the model's own limit is paid for. */
  maxOutputTokens?: number;
  /** Where the provider can, it makes the answer in the background: a lost connection does not end it. */
  background?: BackgroundRequest;
};

/** How a call uses a response that its provider makes in the background. */
export type BackgroundRequest = {
  /** The id of a response that an earlier call has begun: the call gets its answer. Null: the call begins one. */
  attachTo: string | null;
  /** Called with the id of a response that the call has begun. */
  onBegun(id: string): void;
  /** Called when the response has ended without an answer, was cancelled or is unknown: no later call may get it. */
  onEnded(): void;
};

/**
 * A model's answer. `parts`: what the provider wants back with the next request, if that is more than text and calls. Steps pass it on
 * unread.
 */
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
  /** `tenantId`: the run's. `files`: where an answer goes that the tool wants as a file. */
  call(request: {
    tenantId: TenantId;
    tool: JsonObject;
    args: Json;
    effectKey: string;
    signal: AbortSignal;
    files: Pick<Files, "write">;
    /** The context and the correlation id of the run that the tool gets, where it is called by HTTP. */
    traceparent?: string;
    correlationId?: string;
  }): Promise<Json>;
  /** Calls a tool of an MCP server, or goes on with a call that has waited. */
  callMcp(request: McpRequest): Promise<McpOutcome>;
};

/** JavaScript in a QuickJS sandbox: no network, no clock, memory and time limits. Errors are TerminalErrors. */
export type Sandbox = {
  /** The value of one expression over `state` and the names in `loopVariables`; `True`, `False`, `None` are defined. */
  evaluate(expression: string, state: JsonObject, loopVariables?: JsonObject): Promise<Json>;
  /** Runs a program that reads `state` and the names in `loopVariables`, and sets `result`; returns `result`. */
  transform(code: string, state: JsonObject, loopVariables?: JsonObject): Promise<Json>;
};

/** A file as a tool's answer shows it. */
export type ShownFile = {
  name: string;
  content_type: string;
  bytes: number;
  sha256: string;
  scope: "run" | "session" | "attachment";
  url: string;
};

/** The files that a step can reach. All that it writes is committed with its next checkpoint, or not at all. */
export type Files = {
  /**
   * @throws ToolRejection for a file that is too large, one too many, or of a session where there is none; what `bytes` throws; a
   *   RetryableError or TerminalError of the object store
   */
  write(
    file: { name: string; content_type: string; scope: "run" | "session" },
    bytes: AsyncIterable<Uint8Array> | Uint8Array,
  ): Promise<FileReference>;
  /** A part of the newest file with this name, as text or in base64. @throws ToolRejection when there is no such file */
  read(
    name: string,
    offset: number,
    length: number,
  ): Promise<ShownFile & { offset: number; length: number; content?: string; content_base64?: string }>;
  list(): Promise<ShownFile[]>;
};

/**
 * The files of one tool call. Each call has its own, so that no file is committed with the result of another call that is made at the same
 * time.
 */
export type CallFiles = Files & { readonly written: readonly NewArtifact[] };
