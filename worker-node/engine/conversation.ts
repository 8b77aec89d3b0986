import { inCallOrder, Turn } from "./conversation-turns.ts";
import { openCallsOf } from "./open-calls.ts";
import { effectKey, noSummary, requestAnswer, textOf } from "./model-call.ts";
import type { Usage } from "../../shared/contracts/journal-entry.ts";
import type { Answer, Appended, Summary } from "./conversation-turns.ts";
import type { McpPending } from "./mcp-pending.ts";
import type { OpenCall } from "./open-calls.ts";
import type { ModelCall } from "./model-call.ts";
import type { CallFiles, Message, StepContext } from "./ports.ts";

/** The outcome of a tool call. `files`: the files that it has written, which are committed with its result. */
type CallOutcome = {
  content: string;
  isUnknown: boolean;
  effects: readonly string[];
  usage: readonly Usage[];
  files: CallFiles;
};

/**
 * `turns`: those of all conversations of a visit, in the order of their commits. `in`: the name of the call that delegated the task of this
 * conversation; null: it is the step's own.
 */
type VisitTurns = { turns: Turn[]; in: string | null };

/**
 * A conversation of a step with a model. After a crash it continues from its last commit, not from its beginning.
 *
 * The messages of `opening` are composed again in each execution. The messages after them come from the committed turns, so
 * a committed answer is never requested, or paid for, again.
 */
export class Conversation {
  readonly #context: StepContext;
  readonly #opening: readonly Message[];
  readonly #visit: VisitTurns;
  readonly #appended: Appended[];
  #repairs: number;
  #summary: Summary | null;
  /** How many answers there were at the last summary. */
  #answersAtSummary: number;
  /** The names of calls whose outcome is unknown, by the ids of the tool calls. */
  readonly #unknown = new Map<string, string>();
  #hasNoSummary = false;
  #uncommitted: Appended[] = [];
  #newEffects: string[] = [];
  #usage: Usage[] = [];

  constructor(
    context: StepContext,
    opening: readonly Message[],
    visit: VisitTurns = { turns: context.turns.map((data) => Turn.parse(data)), in: null },
  ) {
    const own = visit.turns.filter((turn) => (turn.in ?? null) === visit.in);
    this.#context = context;
    this.#opening = opening;
    this.#visit = visit;
    this.#appended = own.flatMap((turn) => turn.messages);
    this.#repairs = own.filter((turn) => turn.repair).length;
    for (const { messages, unknown } of own) this.#noteUnknown(messages, unknown);
    const summaryAt = own.findLastIndex((turn) => turn.summary !== undefined);
    this.#summary = own[summaryAt]?.summary ?? null;
    this.#answersAtSummary = answersIn(own.slice(0, summaryAt + 1).flatMap((turn) => turn.messages));
  }

  /** The conversation about a task that a tool call of this one delegates. Its turns are committed in the same visit. */
  ofTask(at: string, context: StepContext, opening: readonly Message[]): Conversation {
    return new Conversation(context, opening, { turns: this.#visit.turns, in: at });
  }

  /** Whether a delegate has begun the task that the call of this name gives it. */
  hasBegunTask(at: string): boolean {
    return this.#visit.turns.some((turn) => turn.in === at);
  }

  /** What a call of an MCP tool waits for, by its effect key; null: nothing that is committed. */
  pending(key: string): McpPending | null {
    return this.#visit.turns.findLast((turn) => turn.pending?.key === key)?.pending ?? null;
  }

  /** Whether an earlier execution has published that the call is made. */
  isBegun(at: string): boolean {
    return this.hasBegunTask(at) || this.pending(effectKey(this.#context, at)) !== null;
  }

  /** Commits what a call waits for, before anything waits for it. */
  async commitPending(pending: McpPending): Promise<void> {
    await this.#append({ messages: [], usage: [], effects: [], pending });
  }

  /** How many answers the model has given, in all executions of the visit. */
  get answerCount(): number {
    return answersIn(this.#appended);
  }

  /** Whether the request for the next answer was refused as too long, and a summary has been committed since. */
  get isShortened(): boolean {
    return this.#summary?.refused === true && this.#answersAtSummary === this.answerCount;
  }

  /** How many answers were corrected because they did not fit the step's `output_schema`. */
  get repairCount(): number {
    return this.#repairs;
  }

  /** What the model gets: the opening, a summary of the oldest messages or null, and the messages after these. */
  get parts(): { opening: readonly Message[]; summary: Summary | null; recent: Appended[] } {
    const recent = inCallOrder(this.#appended.slice(this.#summary?.until ?? 0));
    return { opening: this.#opening, summary: this.#summary, recent };
  }

  /** The last message after the opening. */
  get last(): Appended | undefined {
    return this.#appended.at(-1);
  }

  /**
   * The tool calls of the last answer that have no result yet. The model may repeat a call with an unknown outcome. Such a call keeps its
   * name and so its effect key: a tool that knows the key does not act twice.
   */
  get openCalls(): OpenCall[] {
    return openCallsOf(this.#appended, this.#unknown, (call) => this.#nameOf(call));
  }

  /** Adds the usage of a run that the step has started. */
  charge(usage: Usage): void {
    this.#usage.push(usage);
  }

  /** Usage since the last commit. */
  get usage(): readonly Usage[] {
    return this.#usage;
  }

  /** The effect keys of the visit so far. */
  get effects(): readonly string[] {
    return [...this.#visit.turns.flatMap((turn) => turn.effects), ...this.#newEffects];
  }

  add(message: Appended): void {
    this.#appended.push(message);
    this.#uncommitted.push(message);
  }

  /** Gives every tool call of the last answer the same result: providers refuse a conversation with an open call. */
  closeCalls(content: string): void {
    for (const call of this.openCalls) {
      this.add({ role: "tool", tool_call_id: call.id, tool_name: call.name, content });
    }
  }

  /** The effect key of a call, which becomes an effect of the step. Throws unless this worker may still move the run. */
  async effect(call: string): Promise<string> {
    const key = await this.confirmedKey(call);
    this.#newEffects.push(key);
    return key;
  }

  /** The effect key of a call whose result `commitResult` commits. Throws unless this worker may still move the run. */
  async confirmedKey(call: string): Promise<string> {
    await this.#context.confirm();
    return effectKey(this.#context, call);
  }

  /**
   * Calls the model and adds its answer.
   * @param suffix of the call's name: a second request for the same answer has another body, and so another effect key
   */
  async callModel(modelCall: ModelCall, suffix = ""): Promise<Answer> {
    const { opening, summary, recent } = this.parts;
    const about = summary === null ? [] : [{ role: "user" as const, content: summary.text }];
    const messages = [...opening, ...about, ...recent];
    const name = `model.${this.answerCount + 1}${suffix}`;
    const message = await this.#generate(name, messages, modelCall);
    this.add(message);
    return message;
  }

  /** Calls a model for a summary of the conversation. The conversation does not contain this call. Null: there is none. */
  async callForSummary(model: string | null, messages: readonly Message[]): Promise<string | null> {
    const number = this.#visit.turns.filter(({ summary }) => summary !== undefined).length + 1;
    const name = `summary.${number}`;
    const key = effectKey(this.#context, this.#nameOf(name));
    const answer = await this.#generate(name, messages, { model, tools: [], toolChoice: "auto" }).catch(
      (error: unknown) => noSummary(this.#context, key, error),
    );
    this.#hasNoSummary = answer === null;
    return answer === null ? null : textOf(answer);
  }

  /** The model has made no summary in this try. It is not asked again at each of its answers, which would be paid for. */
  get hasNoSummary(): boolean {
    return this.#hasNoSummary;
  }

  async #generate(callName: string, messages: readonly Message[], modelCall: ModelCall): Promise<Answer> {
    const answers = this.#visit.turns.reduce((sum, turn) => sum + turn.usage.length, 0);
    const call = this.#nameOf(callName);
    const effect = () => this.effect(call);
    const { answer, usage } = await requestAnswer(this.#context, { answers, messages, modelCall, effect });
    this.#usage.push({ call, ...usage });
    return answer;
  }

  /**
   * Commits the messages since the last commit, with their usage and effects, as a turn.
   * @param more `repair`: the turn corrects an answer. `summary`: it stands for the oldest messages from now on
   */
  async commit(more: Pick<Turn, "repair" | "summary"> = {}): Promise<void> {
    await this.#append({
      messages: this.#uncommitted,
      usage: this.#usage,
      effects: this.#newEffects,
      ...more,
    });
    if (more.repair) this.#repairs += 1;
    if (more.summary !== undefined) this.#answersAtSummary = this.answerCount;
    this.#summary = more.summary ?? this.#summary;
    this.#uncommitted = [];
    this.#newEffects = [];
    this.#usage = [];
  }

  /**
   * Adds and commits the result of one tool call. Results of calls that were made at the same time may come in any order:
   * the model gets them in the order of the calls.
   */
  async commitResult(
    { id, name, at }: OpenCall,
    { content, isUnknown, effects, usage, files }: CallOutcome,
  ): Promise<void> {
    const message = { role: "tool" as const, tool_call_id: id, tool_name: name, content };
    const turn = { messages: [message], usage: [...usage], effects: [...effects] };
    await this.#append(isUnknown ? { ...turn, unknown: at } : turn, files);
    this.#appended.push(message);
    this.#noteUnknown([message], isUnknown ? at : undefined);
  }

  /**
   * The effect key of a call whose beginning is committed before it is made. `wasBegun`: an earlier execution has committed it,
   * and the call may have happened or not.
   */
  async begin(at: string): Promise<{ key: string; wasBegun: boolean }> {
    const key = await this.confirmedKey(at);
    const wasBegun = this.#visit.turns.some(({ begun }) => begun === key);
    if (!wasBegun) await this.#append({ messages: [], usage: [], effects: [], begun: key });
    return { key, wasBegun };
  }

  #noteUnknown(messages: readonly Appended[], at: string | undefined): void {
    for (const message of messages) {
      if (message.role !== "tool") continue;
      if (at === undefined) this.#unknown.delete(message.tool_call_id);
      else this.#unknown.set(message.tool_call_id, at);
    }
  }

  async #append(turn: Turn, files?: CallFiles): Promise<void> {
    // A turn that cannot be read back would stop the run in every execution, so it is not written.
    const data = Turn.parse(this.#visit.in === null ? turn : { ...turn, in: this.#visit.in });
    await this.#context.turn(data, turn.usage, files);
    this.#visit.turns.push(data);
  }

  #nameOf(call: string): string {
    return this.#visit.in === null ? call : `${this.#visit.in}.${call}`;
  }
}

function answersIn(messages: readonly Appended[]): number {
  return messages.filter((message) => message.role === "assistant").length;
}
