import type { RunEvent } from "../../shared/contracts/event.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import { EndRecord, TokenCount } from "../../shared/contracts/journal-entry.ts";
import type { Usage } from "../../shared/contracts/journal-entry.ts";
import { placeOf, stepPath } from "../../shared/journal/track.ts";
import type { NewWait, Wait } from "../../shared/store/runs/waits.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import { inTrack } from "../engine/events.ts";
import type { CallAnswer, CallQuestion, ChildReply, ChildRequest } from "../engine/ports.ts";
import type { LongWait, Visit } from "./execution-state.ts";
import { childRunId, startChild } from "./start-child.ts";
import { abortableSleep } from "./stop.ts";
import { waitForStore } from "./wait-for-store.ts";

/** The end of a child makes its parent due. After this time the parent looks at the child again even without that. */
const LOOK_AGAIN_MS = 24 * 3_600_000;
/** The pauses of one try keep the slot while they take no longer than this together, which is the longest wait of a retry that keeps it. */
const SHORT_PAUSES_MS = 5_000;

/**
 * What the calls of one try of a visit wait for: children (docs/protocol.md 5.15), and the persons and tasks of MCP servers
 * (5.27). When the step returns that it waits, its track parks for all of them.
 */
export class CallWaits {
  readonly #visit: Visit;
  /** The signals before the first wait is read: a later signal makes Postgres refuse the park that follows from the waits. */
  readonly #signals: number;
  readonly #newWaits: NewWait[] = [];
  readonly #events: RunEvent[] = [];
  /** The wait id of a call that waits for nothing but a time. */
  #paused: string | null = null;
  #pausedMs = 0;
  /** The names of the waits that are open, and the time to the first deadline. */
  readonly #open: string[] = [];
  #dueInMs = LOOK_AGAIN_MS;
  #noRoom: { orchestration_id: string; why: string } | null = null;

  constructor(visit: Visit) {
    this.#visit = visit;
    this.#signals = visit.state.runLog.signals;
  }

  /** Starts the child unless it exists, and says what has become of it. */
  async child(request: ChildRequest): Promise<ChildReply> {
    const id = this.#waitId(request.call);
    const run = childRunId(this.#visit.state.run.run_id, id);
    const wait = request.waits ? await this.#readWait(id, request.call) : null;
    if (wait !== null) return this.#replyOf(wait, run);
    const started = await startChild(this.#visit, id, request);
    if (started.is === "wait") {
      this.#dueInMs = Math.min(this.#dueInMs, started.afterMs);
      this.#noRoom = { orchestration_id: request.orchestrationId, why: started.why };
      return { is: "open" };
    }
    if (!request.waits) return { is: "started", runId: run };
    this.#newWaits.push({
      wait_id: id,
      step_id: this.#visit.step.id,
      kind: "child",
      prompt: null,
      fields: null,
      deadline_ms: request.timeoutMs,
      child_run_id: run,
    });
    return { is: "open" };
  }

  /** Opens the question unless it is there, and says what has become of it. */
  async ask({ call, prompt, fields, timeoutMs, event }: CallQuestion): Promise<CallAnswer> {
    const { state, step, track, signal } = this.#visit;
    const id = this.#waitId(call);
    const [wait] = await waitForStore(state.run, signal, () =>
      state.deps.store.readWaits(state.run.run_id, [id]),
    );
    if (wait === undefined) {
      this.#newWaits.push({
        wait_id: id,
        step_id: step.id,
        kind: "human",
        prompt,
        fields: JSON.stringify(fields),
        deadline_ms: timeoutMs,
        child_run_id: null,
      });
      this.#events.push(inTrack(track, { ...event, question_id: id }));
      return { is: "open" };
    }
    if (wait.state === "expired") return { is: "expired", questionId: id };
    if (wait.state === "answered") {
      const by = { key_id: wait.answered_by ?? "", person: wait.person ?? null };
      const answer = JsonValue.parse(JSON.parse(wait.answer ?? "null"));
      return { is: "answered", questionId: id, answer, by };
    }
    this.#open.push(id);
    this.#dueInMs = Math.min(this.#dueInMs, Math.max(0, wait.due_in_ms ?? Infinity));
    return { is: "open" };
  }

  /** Waits here while the pauses of the try are short together. @returns false for a longer pause: the track parks for it */
  async pause(call: string, ms: number, signal: AbortSignal): Promise<boolean> {
    if (this.#pausedMs + ms > SHORT_PAUSES_MS) {
      this.#paused ??= this.#waitId(call);
      this.#dueInMs = Math.min(this.#dueInMs, ms);
      return false;
    }
    this.#pausedMs += ms;
    await abortableSleep(ms, signal);
    return true;
  }

  /** The id of the wait of a call: the same after a crash, another one after a client's retry. The id of a child follows from it. */
  #waitId(call: string): string {
    const { state, track, step, visit } = this.#visit;
    const { rewinds } = state.progress;
    const life = rewinds === 0 ? "" : `:r${rewinds}`;
    return `${stepPath(track, step.id)}:${visit}${call === "" ? "" : `:${call}`}${life}`;
  }

  /** The wait for a child; null: there is none yet. A child that completed in an earlier life of the run counts. */
  async #readWait(id: string, call: string): Promise<Wait | null> {
    const { state, track, signal } = this.#visit;
    const earlierId = call === "" ? track.waitId : null;
    const ids = earlierId === null || earlierId === id ? [id] : [id, earlierId];
    const waits = await waitForStore(state.run, signal, () =>
      state.deps.store.readWaits(state.run.run_id, ids),
    );
    const own = waits.find(({ wait_id }) => wait_id === id);
    if (own !== undefined) return own;
    return waits.find((wait) => wait.state === "answered" && endOf(wait).status === "completed") ?? null;
  }

  async #replyOf(wait: Wait, run: RunId): Promise<ChildReply> {
    switch (wait.state) {
      case "open":
        this.#open.push(wait.wait_id);
        this.#dueInMs = Math.min(this.#dueInMs, Math.max(0, wait.due_in_ms ?? Infinity));
        return { is: "open" };
      case "expired":
        await this.#cancel(run);
        return { is: "expired", runId: run, usage: usageOf(run, wait) };
      case "answered": {
        const runId = wait.child_run_id ?? run;
        const openForMs = Math.max(0, wait.open_for_ms);
        return { is: "ended", runId, end: endOf(wait), usage: usageOf(runId, wait), openForMs };
      }
    }
  }

  async #cancel(child: RunId): Promise<void> {
    const { state, signal } = this.#visit;
    const { deps, run } = state;
    const cancelled = await waitForStore(run, signal, () => deps.store.cancelChild(run.run_id, child));
    if (cancelled) deps.children.notify([cancelled]);
  }

  /** How the track waits for its calls, or for room in the queue. */
  park(): LongWait {
    const { track, step, visit } = this.#visit;
    const place = { ...placeOf(track), step: step.id, visit };
    const first = this.#open[0] ?? this.#newWaits[0]?.wait_id ?? this.#paused ?? undefined;
    const noRoom = first === undefined ? this.#noRoom : null;
    const park =
      noRoom === null
        ? { ...place, reason: "child" as const, wait_id: first ?? "" }
        : { ...place, reason: "room" as const, ...noRoom };
    const deadlines = this.#newWaits.map(({ deadline_ms }) => deadline_ms ?? Infinity);
    return {
      is: "wait",
      status: "paused",
      afterMs: Math.ceil(Math.min(this.#dueInMs, ...deadlines)),
      park,
      waits: this.#newWaits,
      // No signal makes room: with the signals of this try, the park would be refused for what came for another branch, again and again.
      signals: noRoom === null ? this.#signals : null,
      events: this.#events,
      usage: [],
    };
  }
}

function endOf({ answer }: Wait): EndRecord {
  return EndRecord.parse(JSON.parse(answer ?? "null"));
}

/**
 * What a child has used, as one call of its parent: the totals of a run contain those of its children. It has no reservation,
 * because the child's own calls are charged to the budgets.
 */
function usageOf(runId: string, { child_usage }: Wait): Usage {
  const { input_tokens = 0, output_tokens = 0, cost_micro_usd = 0, estimated = false } = child_usage ?? {};
  return {
    call: `child.${runId}`,
    provider: "child_run",
    model: runId,
    // The sums of many calls may be larger than what a row of one call holds.
    input_tokens: TokenCount.parse(input_tokens),
    output_tokens: TokenCount.parse(output_tokens),
    cost_micro_usd,
    ...(estimated && { estimated: true as const }),
  };
}
