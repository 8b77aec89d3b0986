import { z } from "zod";
import { Usage } from "../../shared/contracts/journal-entry.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import type { Json } from "../../shared/contracts/json.ts";
import type { Message, StepContext, ToolSpec } from "./ports.ts";

const ToolCall = z.object({ id: z.string(), name: z.string(), args: JsonValue });
const Appended = z.discriminatedUnion("role", [
  z.object({ role: z.literal("user"), content: z.string() }),
  z.object({ role: z.literal("assistant"), content: z.string(), tool_calls: z.array(ToolCall) }),
  z.object({ role: z.literal("tool"), tool_call_id: z.string(), tool_name: z.string(), content: z.string() }),
]);
type Appended = z.infer<typeof Appended>;

/** What one turn adds to a conversation: the `data` of a turn's checkpoint. */
const Turn = z.object({ messages: z.array(Appended), usage: z.array(Usage), effects: z.array(z.string()) });

/** The usage that a turn has reported, read from its `data`; execution adds it to what the step's result reports. */
export function usageOfTurn(data: Json): Usage[] {
  return Turn.parse(data).usage;
}

/** How to ask a model: under which name, with which tools, and whom its text is shown to as it comes. */
export type Ask = {
  model: string | null;
  tools: readonly ToolSpec[];
  toolChoice: "auto" | "required";
  onText?: (text: string) => void;
};

/** The name of an outside call inside a visit, made a key that the same call has again after a crash. */
export function effectKey(context: StepContext, call: string): string {
  return `${context.effectBase}:${call}${context.effectSuffix}`;
}

/**
 * A step's talk with a model, which a crash interrupts at its last commit and not at its beginning.
 *
 * What `opening` says is made again each time; what came after it is read from the turns that were committed, so no
 * answer that is durable is asked for, or paid for, again.
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

  /** How many answers the model has given. */
  get answers(): number {
    return this.#appended.filter((message) => message.role === "assistant").length;
  }

  /** The message that was added last, if it is one that came after the opening. */
  get last(): Appended | undefined {
    return this.#appended.at(-1);
  }

  /** Usage of answers that no commit has reported. */
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

  /** Answers every tool call of the last answer with the same text: providers refuse a call that stays unanswered. */
  answerCalls(content: string): void {
    const last = this.last;
    if (last?.role !== "assistant") return;
    for (const call of last.tool_calls) {
      this.add({ role: "tool", tool_call_id: call.id, tool_name: call.name, content });
    }
  }

  /** The key of an outside call, remembered as an effect of the step; fails when this worker may not make it any more. */
  async effect(call: string): Promise<string> {
    await this.#context.confirm();
    const key = effectKey(this.#context, call);
    this.#newEffects.push(key);
    return key;
  }

  /** Asks the model for its next answer and adds it. */
  async ask({
    model,
    tools,
    toolChoice,
    onText = () => {},
  }: Ask): Promise<Extract<Appended, { role: "assistant" }>> {
    const call = `model.${this.answers + 1}`;
    const answer = await this.#context.models.generate({
      model,
      messages: [...this.#opening, ...this.#appended],
      tools,
      toolChoice,
      effectKey: await this.effect(call),
      signal: this.#context.signal,
      onText,
    });
    const message = { role: "assistant" as const, content: answer.text, tool_calls: answer.tool_calls };
    this.add(message);
    this.#usage.push({ call, ...answer.usage });
    return message;
  }

  /** Makes durable what was added since the last commit. */
  async commit(): Promise<void> {
    const data = { messages: this.#uncommitted, usage: this.#usage, effects: this.#newEffects };
    await this.#context.turn(data, this.#usage);
    this.#effects.push(...this.#newEffects);
    this.#uncommitted = [];
    this.#newEffects = [];
    this.#usage = [];
  }
}
