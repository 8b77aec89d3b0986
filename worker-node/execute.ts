import { setTimeout as sleep } from "node:timers/promises";
import type { Orchestration, Step } from "../shared/contracts/definition/index.ts";
import { workerOf } from "../shared/contracts/ids.ts";
import type { Incarnation } from "../shared/contracts/ids.ts";
import type { RunEvent } from "../shared/contracts/event.ts";
import type {
  Checkpoint,
  EndRecord,
  ParkRecord,
  TurnCheckpoint,
  Usage,
} from "../shared/contracts/journal.ts";
import type { Json } from "../shared/contracts/json.ts";
import { RunInput } from "../shared/contracts/run.ts";
import type { RunError } from "../shared/contracts/run.ts";
import { endEvents } from "../shared/journal/ending.ts";
import { apply, fold, start } from "../shared/journal/fold.ts";
import type { Progress } from "../shared/journal/fold.ts";
import { initialState } from "../shared/journal/state.ts";
import { log, messageOf } from "../shared/log.ts";
import type { ClaimedRun } from "../shared/store/claim.ts";
import type { DeadLetter } from "../shared/store/journal.ts";
import type { Definitions } from "./definitions.ts";
import { TerminalError } from "./engine/errors.ts";
import { finalResponse, stepError, stepStart } from "./engine/events.ts";
import { next } from "./engine/machine.ts";
import type { Models, Sandbox, Tools } from "./engine/ports.ts";
import { failureOf } from "./engine/retry.ts";
import type { Append, Journal, Outcome, RunLog } from "./journal.ts";
import { Stop, within, withTimeout } from "./stop.ts";
import { LargeValues, loadValue, shortened } from "./values.ts";
import type { ObjectStore } from "./values.ts";
import { visitStep } from "./visit.ts";

/** Crashes without a checkpoint between them after which a run is not tried again. */
const POISON_CRASHES = 3;
/** What a worker may take beyond a step's own time before a run that shows nothing is taken for stuck. */
const DEADLINE_SLACK_MS = 30_000;

/** A run that is woken because its time is over must find it over. */
const TIMEOUT_SLACK_MS = 1_000;
/** Between two questions to a store that does not answer. */
const STORE_PAUSE_MS = 500;

/** What executions share. */
export type World = {
  owner: Incarnation;
  journal: Journal;
  definitions: Definitions;
  models: Models;
  tools: Tools;
  sandbox: Sandbox;
  artifacts: ObjectStore | null;
  confirm(run: ClaimedRun, signal: AbortSignal): Promise<void>;
};

/** How an execution left its run: ended, waiting (with the time to its wake-up), still ours, or another's. */
export type Ending =
  | { is: "ended" }
  | { is: "parked"; status: "queued" | "paused"; delayMs: number }
  | { is: "stopped" }
  | { is: "dropped" };

/**
 * Carries a run from where its journal ends to its end, or to where it has to wait. `stop` is aborted with a Stop when
 * something from outside is to end it; see there what each reason asks for.
 */
export async function execute(
  run: ClaimedRun,
  world: World,
  stop: AbortController,
  runLog: RunLog,
): Promise<Ending> {
  const execution = new Execution(run, world, stop, runLog);
  try {
    return await execution.carry().catch((error: unknown) => {
      const reason: unknown = stop.signal.aborted ? stop.signal.reason : error;
      if (reason instanceof Stop) return leave(execution, reason);
      log.error("run.execution_failed", { run: run.run_id, attempt: run.attempt, message: messageOf(error) });
      return execution.fail({ ...failureOf(error), step_id: runLog.currentStep }, { cause: error });
    });
  } catch (error) {
    // Also the end that a cancel or a timeout asks for may come too late.
    if (error instanceof Stop && error.why === "lost") return { is: "dropped" };
    throw error;
  } finally {
    runLog.close();
  }
}

async function leave(execution: Execution, reason: Stop): Promise<Ending> {
  switch (reason.why) {
    case "lost":
      return { is: "dropped" };
    case "drain":
      return { is: "stopped" };
    case "cancel":
      return execution.end("cancelled");
    case "run_timeout":
    case "step_timeout":
      return execution.fail({ code: reason.why, message: reason.message, step_id: null });
  }
}

/** Asks until there is an answer: a store that is away for a moment is no fault of the run. */
async function untilAnswered<Answer>(signal: AbortSignal, ask: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    try {
      return await within(signal, ask());
    } catch (error) {
      if (signal.aborted || error instanceof TerminalError) throw error;
      log.warn("run.begin_delayed", { message: messageOf(error) });
      await within(signal, sleep(STORE_PAUSE_MS));
    }
  }
}

/** What a run ends with besides its status. */
type EndParts = {
  error?: RunError | null;
  last?: { checkpoint: Checkpoint; response: Json | undefined } | null;
  events?: readonly RunEvent[];
  usage?: readonly Usage[];
  deadLetter?: DeadLetter | null;
};

class Execution {
  readonly #run: ClaimedRun;
  readonly #world: World;
  readonly #stop: AbortController;
  readonly #log: RunLog;
  #definition: Orchestration | null = null;
  #progress: Progress = start({});
  /** As far as the journal tells: without a result that is on its way there. */
  #committed: Progress = start({});
  /** Told with the first thing that is committed, which is not before it is known how long that may be the last. */
  #untold: RunEvent[];
  #endsAtMs = Infinity;

  constructor(run: ClaimedRun, world: World, stop: AbortController, runLog: RunLog) {
    this.#run = run;
    this.#world = world;
    this.#stop = stop;
    this.#log = runLog;
    this.#untold = [{ type: "worker_picked_up", worker_id: workerOf(world.owner), attempt: run.attempt }];
  }

  async carry(): Promise<Ending> {
    const run = this.#run;
    // Before anything of the run is touched: whatever kills workers must not get another.
    if (run.crash_count >= POISON_CRASHES) {
      const message = `${run.crash_count} workers died while they executed this run, without a checkpoint between`;
      return this.fail({ code: "poison", message, step_id: null });
    }
    const { definition_tenant, orchestration_id, definition_version } = run;
    const definition = await untilAnswered(this.#stop.signal, () =>
      this.#world.definitions.orchestration(definition_tenant, orchestration_id, definition_version),
    );
    this.#definition = definition;
    const input = RunInput.parse(JSON.parse(run.input));
    const inputValues = new LargeValues(this.#world.artifacts, `${run.tenant_id}/${run.run_id}/input`);
    const state = await untilAnswered(this.#stop.signal, () =>
      inputValues.outOf(initialState(definition, input)),
    );
    this.#progress = fold(state, run.journal);
    if (run.cancel) return this.end("cancelled");

    const timeLeftMs = definition.timeout_minutes * 60_000 - run.running_for_ms;
    this.#endsAtMs = performance.now() + timeLeftMs;
    const limit = withTimeout(
      this.#stop.signal,
      timeLeftMs,
      () => new Stop("run_timeout", `the run took longer than its ${definition.timeout_minutes} minutes`),
    );
    try {
      return await this.#walk(definition, input.message, limit.signal);
    } finally {
      limit.clear();
    }
  }

  async #walk(definition: Orchestration, message: string, signal: AbortSignal): Promise<Ending> {
    let todo = next(definition, this.#progress);
    const { event_seq, journal } = this.#run;
    const name = { orchestration_id: definition.id, orchestration_name: definition.name };
    this.#log.note(this.#untold.splice(0));
    if (event_seq === 0) this.#log.note([{ type: "orchestration_start", ...name }]);
    // Every other step_start rides with the result before it; these two have none, or it was undone.
    const last = journal.at(-1);
    const begins = event_seq === 0 || (last?.kind === "rewind" && last.seq === event_seq);
    if (begins && todo.do === "step") this.#log.note([stepStart(todo.step)]);
    let lastResponse: Json | undefined;
    while (todo.do === "step") {
      const { step, visit } = todo;
      signal.throwIfAborted();
      this.#log.currentStep = step.id;
      this.#log.noteDeadlineMs = deadlineOf(step);
      const large = new LargeValues(
        this.#world.artifacts,
        `${this.#run.tenant_id}/${this.#run.run_id}/${step.id}/${visit}.${this.#run.attempt}`,
      );
      const visited = await visitStep({
        definition,
        progress: this.#progress,
        step,
        visit,
        context: this.#context(message, signal),
        runId: this.#run.run_id,
        large,
        signal,
        commitTurn: (data, usage) => this.#commitTurn(step, visit, data, usage),
      });
      if (visited.is === "failed") {
        const { error, ...more } = visited;
        return this.fail({ ...error, step_id: step.id }, { events: [stepError(step, error)], ...more });
      }
      if (visited.is === "wait") {
        return this.#park(step, visited, signal);
      }
      const { checkpoint, events, usage } = visited;
      this.#committed = this.#progress;
      this.#progress = apply(this.#progress, checkpoint);
      lastResponse = visited.response;
      todo = next(definition, this.#progress);
      if (todo.do === "end") {
        const error = todo.status === "failed" ? todo.error : null;
        return this.end(todo.status, { error, last: { checkpoint, response: lastResponse }, events, usage });
      }
      const outcome = await this.#commitStep(checkpoint, [...events, stepStart(todo.step)], usage, todo.step);
      if (outcome.is === "rejected") {
        this.#progress = this.#committed;
        const error = { code: "result_rejected", message: outcome.message };
        return this.fail({ ...error, step_id: step.id }, { events: [stepError(step, error)] });
      }
    }
    return this.end(todo.status, todo.status === "failed" ? { error: todo.error } : {});
  }

  #context(message: string, signal: AbortSignal) {
    const { models, tools, sandbox, artifacts, definitions } = this.#world;
    const tenant = this.#run.tenant_id;
    return {
      message,
      state: this.#progress.state,
      load: (value: Json) => loadValue(artifacts, value, tenant),
      models,
      tools,
      sandbox,
      // A store that is away uses up no try of the step.
      agent: (id: string) => untilAnswered(signal, () => definitions.named("agents", tenant, id)),
      tool: (name: string) => untilAnswered(signal, () => definitions.named("tools", tenant, name)),
      note: (...events: RunEvent[]) => this.#log.note(events.map(shortened)),
      confirm: () => this.#world.confirm(this.#run, signal),
    };
  }

  async #commitTurn(step: Step, visit: number, data: Json, usage: readonly Usage[]): Promise<void> {
    const turn: TurnCheckpoint = { step: step.id, visit, data };
    await this.#commit({ kind: "turn", step, visit, output: turn, events: [], usage, steps: 0 });
  }

  #commitStep(
    checkpoint: Checkpoint,
    events: readonly RunEvent[],
    usage: readonly Usage[],
    following: Step,
  ): Promise<Outcome> {
    const { visit } = checkpoint;
    return this.#commit({
      kind: "step",
      step: following,
      visit,
      output: checkpoint,
      events,
      usage,
      steps: 1,
    });
  }

  /** Commits, hears what came from outside meanwhile, and stops the execution if the run is another's. */
  async #commit(entry: {
    kind: "step" | "turn";
    step: Step;
    visit: number;
    output: Checkpoint | TurnCheckpoint;
    events: readonly RunEvent[];
    usage: readonly Usage[];
    steps: 0 | 1;
  }): Promise<Outcome> {
    return this.#append({
      kind: entry.kind,
      step_path: entry.output.step,
      visit: entry.visit,
      output: JSON.stringify(entry.output),
      events: entry.events,
      usage: entry.usage,
      steps: entry.steps,
      deadline_ms: deadlineOf(entry.step),
      current_step: entry.step.id,
      status: null,
      wake_ms: null,
      error: null,
      dead_letter: null,
    });
  }

  /** Gives the slot back until the retry is due, or the run's time is over. */
  async #park(
    step: Step,
    wait: { afterMs: number; park: ParkRecord; event: RunEvent; usage: readonly Usage[] },
    signal: AbortSignal,
  ): Promise<Ending> {
    const { park, event, usage } = wait;
    const delayMs = Math.min(
      wait.afterMs,
      Math.max(0, this.#endsAtMs - performance.now()) + TIMEOUT_SLACK_MS,
    );
    const outcome = await this.#append({
      kind: "park",
      step_path: step.id,
      visit: park.visit,
      output: JSON.stringify(park),
      events: [event],
      usage,
      steps: 0,
      deadline_ms: 0,
      current_step: step.id,
      status: "queued",
      wake_ms: Math.ceil(delayMs),
      error: null,
      dead_letter: null,
    });
    if (outcome.is === "committed") return { is: "parked", status: "queued", delayMs };
    if (outcome.is === "rejected") throw new Error(outcome.message);
    // Refused: something came from outside. A cancel ends the wait; nothing else makes the retry due.
    signal.throwIfAborted();
    return this.#park(step, wait, signal);
  }

  /** Ends the run in failure, with a dead letter that tells operators more than clients are told. */
  fail(
    error: RunError,
    more: Pick<EndParts, "events" | "usage"> & {
      tries?: number;
      firstFailedAt?: string;
      cause?: unknown;
    } = {},
  ): Promise<Ending> {
    const { events, usage, tries = 1, firstFailedAt = null, cause } = more;
    const stack = cause instanceof Error ? stackOf(cause) : null;
    const deadLetter = { ...error, stack, tries, first_failed_at: firstFailedAt };
    return this.end("failed", { error, deadLetter, ...(events && { events }), ...(usage && { usage }) });
  }

  /** Ends the run: its last entry, which carries the last step's result if that has not been committed yet. */
  async end(status: EndRecord["status"], parts: EndParts = {}): Promise<Ending> {
    const { error = null, last = null, events = [], usage = [], deadLetter = null } = parts;
    const response =
      status === "completed"
        ? finalResponse(this.#progress, last?.response)
        : (error?.message ?? "The run was cancelled.");
    const record: EndRecord = { status, checkpoint: last?.checkpoint ?? null, response, error };
    const large = new LargeValues(
      this.#world.artifacts,
      `${this.#run.tenant_id}/${this.#run.run_id}/end.${this.#run.attempt}`,
    );
    const closing = endEvents(
      { run_id: this.#run.run_id, steps: this.#definition?.steps ?? [] },
      record,
      this.#progress,
    );
    const outcome = await this.#append({
      kind: "end",
      step_path: last?.checkpoint.step ?? null,
      visit: last?.checkpoint.visit ?? null,
      output: JSON.stringify(record),
      events: [...this.#untold.splice(0), ...events, ...(await smallIfPossible(large, closing))],
      usage,
      steps: last ? 1 : 0,
      deadline_ms: 0,
      current_step: null,
      status,
      wake_ms: null,
      error: error === null ? null : JSON.stringify(error),
      dead_letter: deadLetter ?? (error && { ...error, stack: null, tries: 1, first_failed_at: null }),
    });
    if (outcome.is === "committed") return { is: "ended" };
    if (outcome.is !== "rejected") return { is: "dropped" };
    // What it was to end with cannot be stored: it ends with that.
    if (last) this.#progress = this.#committed;
    if (status === "failed")
      throw new Error(`the end of ${this.#run.run_id} cannot be stored: ${outcome.message}`);
    return this.fail({ code: "result_rejected", message: outcome.message, step_id: null });
  }

  async #append(entry: Append): Promise<Outcome> {
    const outcome = await this.#log.append(entry);
    if (outcome.is === "fenced") {
      const lost = new Stop("lost", "the run is another worker's now");
      this.#stop.abort(lost);
      throw lost;
    }
    if (outcome.is !== "rejected") {
      this.#log.signals = outcome.signals;
      const goesOn = entry.status === null || outcome.is === "refused";
      if (outcome.cancel && goesOn) this.#stop.abort(new Stop("cancel", "the run was cancelled"));
    }
    return outcome;
  }
}

/** A run that has come to its end ends, though the object store is away: Postgres takes large values too. */
async function smallIfPossible(
  large: LargeValues,
  events: readonly RunEvent[],
): Promise<readonly RunEvent[]> {
  return large.outOfEvents(events).catch((error: unknown) => {
    log.warn("object.put_given_up", { message: messageOf(error) });
    return events;
  });
}

/** An error's stack with those of its causes. */
function stackOf(error: Error): string {
  const own = error.stack ?? error.message;
  return error.cause instanceof Error ? `${own}\ncaused by ${stackOf(error.cause)}` : own;
}

function deadlineOf(step: Step): number {
  return step.timeout_seconds * 1_000 + DEADLINE_SLACK_MS;
}
