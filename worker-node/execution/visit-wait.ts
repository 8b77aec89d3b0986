import type { Step } from "../../shared/contracts/definition/index.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import { placeOf, stepPath } from "../../shared/journal/track.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Track } from "../../shared/journal/track.ts";
import type { NewWait, Wait } from "../../shared/store/runs/waits.ts";
import type { NewStepWait, Reply, StepWait } from "../engine/ports.ts";
import type { ExecutionState, LongWait } from "./execution-state.ts";
import type { LargeValues } from "./large-values.ts";
import { abortableSleep } from "./stop.ts";
import { waitForStore } from "./wait-for-store.ts";

/** A claim may come up to 2 s before the run's wake-up. So much of a timer is waited for with the slot: another park would cost more. */
const REST_MS = 2_000;

/** The question or the timer of one visit of a step. */
export class VisitWait {
  readonly #track: Track;
  readonly #step: string;
  readonly #visit: number;
  readonly #kind: NewStepWait["kind"];
  readonly #id: string;
  #dueInMs: number | null = null;
  #signals: number | null = null;

  /** @param suffix distinguishes it from the wait of the same visit in an earlier life of the run */
  constructor({ track, step, visit }: { track: Track; step: Step; visit: number }, suffix: string) {
    this.#track = track;
    this.#step = step.id;
    this.#visit = visit;
    this.#kind = step.type === "wait" ? "timer" : "human";
    this.#id = `${stepPath(track, step.id)}:${visit}${suffix}`;
  }

  /**
   * The state of the visit's wait, which the journal names; null: the visit has opened none yet. An answer from an earlier
   * life of the run counts.
   */
  async reply(state: ExecutionState, signal: AbortSignal): Promise<Reply | null> {
    const openedId = this.#track.waitId;
    if (openedId === null) return null;
    // The signals are read before the wait: a later signal makes Postgres refuse the park that follows from this wait.
    const { signals } = state.runLog;
    const wait = await readThrough(state, openedId, signal);
    if (!wait) return null;
    const openForMs = Math.max(0, wait.open_for_ms);
    // An edge of an earlier version says no level: then the question stays with its group.
    const { votes = [], level = Infinity, prompt = "", person = null, due_in_ms: dueInMs } = wait;
    if (wait.state === "answered") {
      const by = { key_id: wait.answered_by ?? "", person };
      return {
        is: "answered",
        answer: JsonValue.parse(JSON.parse(wait.answer ?? "null")),
        by,
        votes,
        openForMs,
      };
    }
    if (openedId !== this.#id) return { is: "closed", leftMs: dueInMs ?? 0 };
    // No signal ends a timer.
    this.#signals = this.#kind === "timer" ? null : signals;
    this.#dueInMs = dueInMs;
    if (wait.state === "expired") return { is: "expired", votes, openForMs };
    return { is: "open", openForMs, dueInMs: dueInMs ?? 0, level, prompt };
  }

  /** How the track waits. Its time counts from the opening of the wait. */
  async park({ waitFor, againInMs = Infinity, events }: StepWait, large: LargeValues): Promise<LongWait> {
    return {
      is: "wait",
      status: "paused",
      afterMs: Math.min(againInMs, waitFor?.timeoutMs ?? this.#dueInMs ?? 0),
      park: {
        ...placeOf(this.#track),
        step: this.#step,
        visit: this.#visit,
        reason: this.#kind === "timer" ? "timer" : "answer",
        wait_id: this.#id,
      },
      waits: waitFor ? [this.#newWait(waitFor)] : [],
      signals: this.#signals,
      events: await large.storeEvents(this.named(events)),
      usage: [],
    };
  }

  /**
   * Events with the name of their question, by which viewers match an answer with its question. After a retry of the run the question
   * may be one from before it.
   */
  named(events: readonly RunEvent[]): RunEvent[] {
    const answeredId = this.#track.waitId ?? this.#id;
    return events.map((event) => {
      switch (event.type) {
        case "human_input_required":
        case "human_escalated":
          return { ...event, question_id: this.#id };
        case "human_response":
        case "human_timed_out":
          return { ...event, question_id: answeredId };
        default:
          return event;
      }
    });
  }

  #newWait(waitFor: NewStepWait): NewWait {
    const named = {
      wait_id: this.#id,
      step_id: this.#step,
      deadline_ms: waitFor.timeoutMs,
      child_run_id: null,
    };
    if (waitFor.kind === "timer") return { ...named, kind: "timer", prompt: null, fields: null };
    const { prompt, fields, approvers, approvalsNeeded, level } = waitFor;
    return {
      ...named,
      kind: "human",
      prompt,
      fields: JSON.stringify(fields),
      ...(approvers.length > 0 && { approvers: [...approvers], level }),
      ...(approvalsNeeded !== null && { approvals_needed: approvalsNeeded }),
    };
  }
}

/** Reads a wait. The rest of a timer that is nearly over is waited for first. */
async function readThrough(
  { run, deps }: ExecutionState,
  id: string,
  signal: AbortSignal,
): Promise<Wait | undefined> {
  for (;;) {
    const [wait] = await waitForStore(run, signal, () => deps.store.readWaits(run.run_id, [id]));
    const restMs = wait?.kind === "timer" && wait.state === "open" ? wait.due_in_ms : null;
    if (restMs === null || restMs > REST_MS) return wait;
    await abortableSleep(Math.ceil(Math.max(1, restMs)), signal);
  }
}
