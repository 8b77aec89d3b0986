import type { Step } from "../../shared/contracts/definition/index.ts";
import type { Usage } from "../../shared/contracts/journal-entry.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import { placeOf, stepPath } from "../../shared/journal/track.ts";
import type { Track } from "../../shared/journal/track.ts";
import type { Reply, StepQuestion } from "../engine/ports.ts";
import type { ExecutionState, Parked } from "./execution-state.ts";
import type { LargeValues } from "./large-values.ts";
import { waitForStore } from "./wait-for-store.ts";

/** The question of one visit of a step. */
export class Question {
  readonly #track: Track;
  readonly #step: string;
  readonly #visit: number;
  readonly #id: string;
  #dueInMs: number | null = null;
  #signals: number | null = null;

  /** @param suffix distinguishes it from the question of the same visit in an earlier life of the run */
  constructor({ track, step, visit }: { track: Track; step: Step; visit: number }, suffix: string) {
    this.#track = track;
    this.#step = step.id;
    this.#visit = visit;
    this.#id = `${stepPath(track, step.id)}:${visit}${suffix}`;
  }

  /**
   * The state of the visit's question, which the journal names. Null when the step has to ask: the visit has no question
   * yet, or only an unanswered question of an earlier life of the run. An answer from an earlier life counts.
   */
  async reply({ run, runLog, deps }: ExecutionState, signal: AbortSignal): Promise<Reply | null> {
    const askedId = this.#track.questionId;
    if (askedId === null) return null;
    // The signals are read before the wait: a later signal makes Postgres refuse the park that follows from this wait.
    const { signals } = runLog;
    const [wait] = await waitForStore(signal, () => deps.store.readWaits(run.run_id, [askedId]));
    if (!wait) return null;
    if (wait.state === "answered") {
      const answer = JsonValue.parse(JSON.parse(wait.answer ?? "null"));
      return { is: "answered", answer, openForMs: Math.max(0, wait.open_for_ms) };
    }
    if (askedId !== this.#id) return null;
    this.#signals = signals;
    this.#dueInMs = wait.due_in_ms;
    return { is: wait.state };
  }

  /** How the run waits for the answer. Its time counts from when the question was first asked. */
  async park(
    { question, events }: StepQuestion,
    large: LargeValues,
    usage: readonly Usage[],
  ): Promise<Parked> {
    const afterMs = question?.timeoutMs ?? this.#dueInMs ?? 0;
    const wait = question && {
      wait_id: this.#id,
      step_id: this.#step,
      kind: "human" as const,
      prompt: question.prompt,
      fields: JSON.stringify(question.fields),
      deadline_ms: question.timeoutMs,
      child_run_id: null,
    };
    const named = events.map((event) =>
      event.type === "human_input_required" ? { ...event, question_id: this.#id } : event,
    );
    return {
      is: "wait",
      status: "paused",
      afterMs,
      park: {
        ...placeOf(this.#track),
        step: this.#step,
        visit: this.#visit,
        reason: "answer",
        wait_id: this.#id,
      },
      waits: wait ? [wait] : [],
      signals: this.#signals,
      events: await large.storeEvents(named),
      usage,
    };
  }
}
