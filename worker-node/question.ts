import type { Usage } from "../shared/contracts/journal.ts";
import { JsonValue } from "../shared/contracts/json.ts";
import type { Wait } from "../shared/store/waits.ts";
import type { Reply, StepQuestion } from "./engine/ports.ts";
import type { Parked } from "./entries.ts";
import type { LargeValues } from "./values.ts";

/** The run's signals, and after them what has become of its waits. */
export type ReadWaits = () => Promise<{ signals: number; waits: readonly Wait[] }>;

/** The question that one visit of a step asks somebody outside. */
export class Question {
  readonly #step: string;
  readonly #visit: number;
  readonly #waitId: string;
  readonly #read: ReadWaits;
  #wait: Wait | undefined;
  #signals: number | null = null;

  /** @param suffix what makes it another question than the one that the same visit asked in an earlier life of the run */
  constructor(step: string, visit: number, suffix: string, read: ReadWaits) {
    this.#step = step;
    this.#visit = visit;
    this.#waitId = `${step}:${visit}${suffix}`;
    this.#read = read;
  }

  async reply(): Promise<Reply | null> {
    const { signals, waits } = await this.#read();
    this.#signals = signals;
    this.#wait = waits.find(({ wait_id }) => wait_id === this.#waitId);
    if (!this.#wait) return null;
    const { state, answer, answered_by, opened_at_ms } = this.#wait;
    if (state !== "answered") return { is: state };
    const askedAt = new Date(opened_at_ms).toISOString();
    return { is: state, answer: JsonValue.parse(JSON.parse(answer ?? "null")), by: answered_by, askedAt };
  }

  /** How the run waits for the reply: from the first asking on as long as the step lets people have. */
  async park({ ask, events }: StepQuestion, large: LargeValues, usage: readonly Usage[]): Promise<Parked> {
    const afterMs = this.#wait?.due_in_ms ?? ask.timeoutMs;
    return {
      is: "wait",
      status: "paused",
      afterMs,
      park: { step: this.#step, visit: this.#visit, reason: "answer", wait_id: this.#waitId },
      waits: [
        {
          wait_id: this.#waitId,
          step_id: this.#step,
          kind: "human",
          prompt: ask.prompt,
          fields: JSON.stringify(ask.fields),
          deadline_ms: afterMs,
          child_run_id: null,
        },
      ],
      signals: this.#signals,
      events: await large.outOfEvents(events),
      usage,
    };
  }
}
