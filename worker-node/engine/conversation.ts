import { z } from "zod";
import { Usage } from "../../shared/contracts/journal-entry.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import { RetryableError } from "./step-errors.ts";
import type { AnswerText } from "./deltas.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Message, StepContext, ToolSpec } from "./ports.ts";

const ToolCall = z.object({ id: z.string(), name: z.string(), args: JsonValue });
type ToolCall = z.infer<typeof ToolCall>;
const Appended = z.discriminatedUnion("role", [
  z.object({ role: z.literal("user"), content: z.string() }),
  z.object({
    role: z.literal("assistant"),
    content: z.string(),
    tool_calls: z.array(ToolCall),
    parts: JsonValue.default(null),
  }),
  z.object({ role: z.literal("tool"), tool_call_id: z.string(), tool_name: z.string(), content: z.string() }),
]);
type Appended = z.infer<typeof Appended>;

/** What one turn adds to a conversation: the `data` of the turn's checkpoint. */
const Turn = z.object({ messages: z.array(Appended), usage: z.array(Usage), effects: z.array(z.string()) });

/** The usage in a turn's `data`. The turn has charged it; the step's checkpoint adds it to its totals. */
export function usageOfTurn(data: Json): Usage[] {
  return Turn.parse(data).usage;
}

/** The `data` of a turn that adds nothing to a conversation but what its calls used, and their effect keys. */
export function turnOfUsage(usage: readonly Usage[], effects: readonly string[] = []): JsonObject {
  return Turn.parse({ messages: [], usage, effects });
}

/**
 * The text of an answer that has no tool calls.
 * @throws RetryableError `empty_answer`: a model that had nothing to say often has at the next try
 */
export function textOf({ content }: { content: string }): string {
  if (content.trim() !== "") return content;
  // The answer was definite: the next call is another one.
  throw new RetryableError("empty_answer", "the model answered with no text", { answered: true });
}

/** How to call a model: its name, the tools it gets, and what publishes its text as it arrives. */
export type ModelCall = {
  model: string | null;
  tools: readonly ToolSpec[];
  toolChoice: "auto" | "required";
  text?: AnswerText;
};

/** The effect key of a call, from its name inside the visit. After a crash the same call has the same key. */
export function effectKey(context: StepContext, call: string): string {
  return `${context.effectBase}:${call}${context.effectSuffix}`;
}

/**
 * A step's conversation with a model. After a crash it continues from its last commit, not from its beginning.
 *
 * The messages of `opening` are composed again in each execution. The messages after them come from the committed turns, so
 * a committed answer is never requested, or paid for, again.
 */
export class Conversation {
  readonly #context: StepContext;
  readonly #opening: readonly Message[];
  readonly #appended: Appended[];
  readonly #effects: string[];
  #uncommitted: Appended[] = [];
  #newEffects: string[] = [];
  #usage: Usage[] = [];

  constructor(context: StepContext, opening: readonly Message[]) {
    const turns = context.turns.map((data) => Turn.parse(data));
    this.#context = context;
    this.#opening = opening;
    this.#appended = turns.flatMap((turn) => turn.messages);
    this.#effects = turns.flatMap((turn) => turn.effects);
  }

  /** How many answers the model has given, in all executions of the visit. */
  get answerCount(): number {
    return this.#appended.filter((message) => message.role === "assistant").length;
  }

  /** The last message after the opening. */
  get last(): Appended | undefined {
    return this.#appended.at(-1);
  }

  /** The calls of the last answer that have no result, each with its number in that answer, from 1. */
  get openCalls(): { call: ToolCall; number: number }[] {
    const at = this.#appended.findLastIndex(({ role }) => role === "assistant");
    const answer = this.#appended[at];
    if (answer?.role !== "assistant") return [];
    const closed = new Set(
      this.#appended.slice(at + 1).map((message) => (message.role === "tool" ? message.tool_call_id : "")),
    );
    return answer.tool_calls
      .map((call, index) => ({ call, number: index + 1 }))
      .filter(({ call }) => !closed.has(call.id));
  }

  /** Whether there is anything to commit. */
  get isChanged(): boolean {
    return this.#uncommitted.length > 0;
  }

  /** Adds what a run has used that the agent has started. */
  charge(usage: readonly Usage[]): void {
    this.#usage.push(...usage);
  }

  /** Usage of answers since the last commit. */
  get usage(): readonly Usage[] {
    return this.#usage;
  }

  get effects(): readonly string[] {
    return [...this.#effects, ...this.#newEffects];
  }

  add(message: Appended): void {
    this.#appended.push(message);
    this.#uncommitted.push(message);
  }

  /** Gives every tool call of the last answer the same result: providers refuse a conversation with an open call. */
  closeCalls(content: string): void {
    const last = this.last;
    if (last?.role !== "assistant") return;
    for (const call of last.tool_calls) {
      this.add({ role: "tool", tool_call_id: call.id, tool_name: call.name, content });
    }
  }

  /** The effect key of a call, which becomes an effect of the step. Throws unless this worker may still move the run. */
  async effect(call: string): Promise<string> {
    await this.#context.confirm();
    const key = effectKey(this.#context, call);
    this.#newEffects.push(key);
    return key;
  }

  /** Calls the model and adds its answer. */
  async callModel({
    model,
    tools,
    toolChoice,
    text: published,
  }: ModelCall): Promise<Extract<Appended, { role: "assistant" }>> {
    const call = `model.${this.answerCount + 1}`;
    const answer = await this.#context.models.generate({
      model,
      messages: [...this.#opening, ...this.#appended],
      tools,
      toolChoice,
      effectKey: await this.effect(call),
      signal: this.#context.signal,
      onText: (piece) => published?.push(piece),
      onRestart: () => published?.restart(),
    });
    published?.flush();
    const { text, tool_calls, parts = null } = answer;
    const message = { role: "assistant" as const, content: text, tool_calls, parts };
    this.add(message);
    this.#usage.push({ call, ...answer.usage });
    return message;
  }

  /** Commits the messages since the last commit, with their usage and effects, as a turn. */
  async commit(): Promise<void> {
    // What could not be read back would stop the run for ever, so it is not written.
    const data = Turn.parse({ messages: this.#uncommitted, usage: this.#usage, effects: this.#newEffects });
    await this.#context.turn(data, this.#usage);
    this.#effects.push(...this.#newEffects);
    this.#uncommitted = [];
    this.#newEffects = [];
    this.#usage = [];
  }
}
