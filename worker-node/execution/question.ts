import type { Usage } from "../../shared/contracts/journal-entry.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import type { Wait } from "../../shared/store/runs/waits.ts";
import type { Reply, StepQuestion } from "../engine/ports.ts";
import type { Parked } from "../journal/entry.ts";
import type { LargeValues } from "./large-values.ts";

/** Reads waits of the run by their names, and before them how many signals it has had. */
export type ReadWaits = (waitIds: readonly string[]) => Promise<{ signals: number; waits: readonly Wait[] }>;

/** The question that one visit of a step asks somebody outside. */
export class Question {
  readonly #step: string;
  readonly #visit: number;
  readonly #id: string;
  #dueInMs: number | null = null;
  #signals: number | null = null;

  /** @param suffix what makes it another question than the one that the same visit asked in an earlier life of the run */
  constructor(step: string, visit: number, suffix: string) {
    this.#step = step;
    this.#visit = visit;
    this.#id = `${step}:${visit}${suffix}`;
  }

  /**
   * What has become of the question that this visit has asked: `asked`, as the journal tells. Null: it is to ask, as it
   * never has, or in an earlier life of the run, and nobody has answered.
   */
  async reply(asked: string | null, read: ReadWaits): Promise<Reply | null> {
    if (asked === null) return null;
    const { signals, waits } = await read([asked]);
    const [wait] = waits;
    if (!wait) return null;
    if (wait.state === "answered") {
      const answer = JsonValue.parse(JSON.parse(wait.answer ?? "null"));
      return { is: "answered", answer, openForMs: Math.max(0, wait.open_for_ms) };
    }
    if (asked !== this.#id) return null;
    this.#signals = signals;
    this.#dueInMs = wait.due_in_ms;
    return { is: wait.state };
  }

  /** How the run waits for the reply: from the first asking on as long as the step lets people have. */
  async park({ ask, events }: StepQuestion, large: LargeValues, usage: readonly Usage[]): Promise<Parked> {
    const afterMs = ask?.timeoutMs ?? this.#dueInMs ?? 0;
    const wait = ask && {
      wait_id: this.#id,
      step_id: this.#step,
      kind: "human" as const,
      prompt: ask.prompt,
      fields: JSON.stringify(ask.fields),
      deadline_ms: ask.timeoutMs,
      child_run_id: null,
    };
    const told = events.map((event) =>
      event.type === "human_input_required" ? { ...event, question_id: this.#id } : event,
    );
    return {
      is: "wait",
      status: "paused",
      afterMs,
      park: { step: this.#step, visit: this.#visit, reason: "answer", wait_id: this.#id },
      waits: wait ? [wait] : [],
      signals: this.#signals,
      events: await large.outOfEvents(told),
      usage,
    };
  }
}
