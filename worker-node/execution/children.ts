import { createHash } from "node:crypto";
import { RunId, baseOf } from "../../shared/contracts/ids.ts";
import { EndRecord } from "../../shared/contracts/journal-entry.ts";
import type { Usage } from "../../shared/contracts/journal-entry.ts";
import { placeOf, stepPath } from "../../shared/journal/track.ts";
import { MAX_CHILDREN, MAX_DEPTH } from "../../shared/store/runs/start-child.ts";
import type { NewWait, Wait } from "../../shared/store/runs/waits.ts";
import { inTrack, namesOf } from "../engine/events.ts";
import type { ChildReply, ChildRequest } from "../engine/ports.ts";
import { TerminalError } from "../engine/step-errors.ts";
import type { Parked } from "./execution-state.ts";
import type { Visit } from "./visit.ts";
import { waitForStore } from "./wait-for-store.ts";

/** The end of a child makes its parent due. A parent looks again by itself after this time. */
const LOOK_AGAIN_MS = 24 * 3_600_000;
/** As much as a client may send. Large values of state are references. */
const MAX_INPUT_BYTES = 1024 * 1024;

/** What a child may use at most, because its parent has no more. Null: no limit. */
export type ChildLimits = { costMicroUsd: number | null; timeMs: number };

/** The children that one try of a visit asks for, and the waits for them. docs/protocol.md 5.13. */
export class Children {
  readonly #visit: Visit;
  readonly #limits: () => ChildLimits;
  /** The signals before the first wait is read: a later signal makes Postgres refuse the park that follows from the waits. */
  readonly #signals: number;
  readonly #newWaits: NewWait[] = [];
  /** The names of the waits that are open, and the time to the first deadline. */
  readonly #open: string[] = [];
  #dueInMs = LOOK_AGAIN_MS;
  #noRoom: { orchestration_id: string; why: string } | null = null;

  constructor(visit: Visit, limits: () => ChildLimits) {
    this.#visit = visit;
    this.#limits = limits;
    this.#signals = visit.state.runLog.signals;
  }

  /** Starts the child unless it exists, and says what has become of it. */
  async reply(request: ChildRequest): Promise<ChildReply> {
    const { state, signal } = this.#visit;
    const id = this.#waitId(request.call);
    const run = childRunId(state.run.run_id, id);
    const wait = request.waits ? await this.#readWait(id, request.call) : null;
    if (wait !== null) return this.#replyOf(wait, run);
    const admission = await state.deps.children.admit({ run, tenant: state.run.tenant_id });
    signal.throwIfAborted();
    if (admission.is === "wait") {
      this.#dueInMs = Math.min(this.#dueInMs, admission.afterMs);
      this.#noRoom = { orchestration_id: request.orchestrationId, why: admission.why };
      return { is: "open" };
    }
    const isStarted = await this.#start(run, id, request, admission.quotaCheckedBy);
    if (!request.waits && isStarted) return { is: "started", runId: run };
    return { is: "open" };
  }

  /** The name of a child's wait, from which the child's id is made: the same after a crash, another one after a client's retry. */
  #waitId(call: string): string {
    const { state, track, step, visit } = this.#visit;
    const { rewinds } = state.progress;
    const life = rewinds === 0 ? "" : `:r${rewinds}`;
    return `${stepPath(track, step.id)}:${visit}${call === "" ? "" : `:${call}`}${life}`;
  }

  /** The wait for a child; null: there is none yet. A child that completed in an earlier life of the run counts. */
  async #readWait(id: string, call: string): Promise<Wait | null> {
    const { state, track, signal } = this.#visit;
    const earlierId = call === "" ? track.questionId : null;
    const ids = earlierId === null || earlierId === id ? [id] : [id, earlierId];
    const waits = await waitForStore(signal, () => state.deps.store.readWaits(state.run.run_id, ids));
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
        return { is: "expired", runId: run };
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
    const cancelled = await waitForStore(signal, () => deps.store.cancelChild(run.run_id, child));
    if (cancelled) deps.children.notify([cancelled]);
  }

  /** @returns false when Postgres has counted that there is no room */
  async #start(
    run_id: RunId,
    id: string,
    request: ChildRequest,
    quota_checked_by: "queue" | "postgres",
  ): Promise<boolean> {
    const { state, track, step, signal } = this.#visit;
    const { run, deps, runLog } = state;
    const { orchestrationId: orchestration_id, message, waits, timeoutMs } = request;
    const input = JSON.stringify({ message, state: request.state });
    if (Buffer.byteLength(input) > MAX_INPUT_BYTES) throw refused("child_input_too_large", request);
    await deps.confirm(run, signal);
    const { costMicroUsd, timeMs } = this.#limits();
    const child = {
      run_id,
      orchestration_id,
      input,
      wait_id: waits ? id : null,
      step_path: stepPath(track, step.id),
      cost_limit_micro_usd: costMicroUsd,
      time_limit_ms: timeMs,
      quota_checked_by,
    };
    const parent = { run_id: run.run_id, owner: deps.owner, attempt: run.attempt };
    const started = await waitForStore(signal, () => deps.store.startChild(parent, child));
    switch (started.is) {
      case "started":
        break;
      case "full":
        this.#dueInMs = Math.min(this.#dueInMs, FULL_MS);
        this.#noRoom = { orchestration_id, why: "the tenant has as many runs queued as it may" };
        return false;
      case "fenced":
        // A beat or the next entry says why: another worker moves the run, or it is cancelled.
        this.#dueInMs = Math.min(this.#dueInMs, FULL_MS);
        this.#noRoom = { orchestration_id, why: "the run is about to be stopped" };
        return false;
      case "unknown":
        throw refused("unknown_orchestration", request);
      case "too_deep":
        throw refused("child_depth", request);
      case "too_many":
        throw refused("child_limit", request);
    }
    if (started.run !== null) {
      deps.children.notify([started.run]);
      const names = { ...namesOf(step), nested_run_id: run_id, nested_orch_id: orchestration_id };
      runLog.note([inTrack(track, { type: "child_started", ...names, waits })]);
    }
    if (!waits) return true;
    this.#newWaits.push({
      wait_id: id,
      step_id: step.id,
      kind: "child",
      prompt: null,
      fields: null,
      deadline_ms: timeoutMs,
      child_run_id: run_id,
    });
    return true;
  }

  /** How the track waits for its children, or for room in the queue. */
  park(usage: readonly Usage[]): Parked {
    const { track, step, visit } = this.#visit;
    const place = { ...placeOf(track), step: step.id, visit };
    const first = this.#open[0] ?? this.#newWaits[0]?.wait_id;
    const noRoom = this.#noRoom;
    const park =
      first !== undefined || noRoom === null
        ? { ...place, reason: "child" as const, wait_id: first ?? "" }
        : { ...place, reason: "room" as const, ...noRoom };
    const deadlines = this.#newWaits.map(({ deadline_ms }) => deadline_ms ?? Infinity);
    return {
      is: "wait",
      status: "paused",
      afterMs: Math.ceil(Math.min(this.#dueInMs, ...deadlines)),
      park,
      waits: this.#newWaits,
      signals: this.#signals,
      events: [],
      usage,
    };
  }
}

/** How long a child waits for room when Postgres has counted. */
const FULL_MS = 5_000;

/** The id of a child: of the shape of all run ids, with the base of its parent. */
export function childRunId(parent: RunId, waitId: string): RunId {
  const hash = createHash("sha256").update(`${parent}\0${waitId}`).digest("hex");
  return RunId.parse(`run_${hash.slice(0, 12)}_${baseOf(parent)}`);
}

function endOf({ answer }: Wait): EndRecord {
  return EndRecord.parse(JSON.parse(answer ?? "null"));
}

/** What a child has used, as one call of its parent: the totals of a run contain those of its children. */
function usageOf(runId: string, { child_usage }: Wait): Usage {
  const { input_tokens = 0, output_tokens = 0, cost_micro_usd = 0 } = child_usage ?? {};
  return {
    call: `child.${runId}`,
    provider: "child_run",
    model: runId,
    input_tokens,
    output_tokens,
    cost_micro_usd,
  };
}

function refused(
  code: "unknown_orchestration" | "child_depth" | "child_limit" | "child_input_too_large",
  { orchestrationId }: ChildRequest,
): TerminalError {
  const sentences = {
    unknown_orchestration: `there is no orchestration "${orchestrationId}"`,
    child_depth: `a run of "${orchestrationId}" would have ${MAX_DEPTH + 1} runs above it, and may have ${MAX_DEPTH}: does an orchestration run itself?`,
    child_limit: `the run has started ${MAX_CHILDREN} runs, which is the most that one run may start`,
    child_input_too_large: `the input of a run of "${orchestrationId}" would be longer than 1 MiB: name fewer keys in input_keys and child_state`,
  };
  return new TerminalError(code, sentences[code]);
}
