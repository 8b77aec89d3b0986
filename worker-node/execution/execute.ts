import { setTimeout as sleep } from "node:timers/promises";
import type { Orchestration, Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import { workerOf } from "../../shared/contracts/ids.ts";
import type { Incarnation } from "../../shared/contracts/ids.ts";
import type { Json } from "../../shared/contracts/json.ts";
import { RunInput } from "../../shared/contracts/run.ts";
import { apply, fold, start } from "../../shared/journal/fold.ts";
import { initialState } from "../../shared/journal/initial-state.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { Definitions } from "./definitions.ts";
import { endRun, failRun } from "./end-run.ts";
import type { Ended, FailureParts, ExecutionState } from "./end-run.ts";
import { TerminalError } from "../engine/errors.ts";
import { stepError, stepStart } from "../engine/events.ts";
import { next } from "../engine/machine.ts";
import type { Models, Sandbox, Tools } from "../engine/ports.ts";
import { failureOf } from "../engine/retry-policy.ts";
import { EntryWriter } from "../journal/entry.ts";
import type { Parked } from "../journal/entry.ts";
import type { Journal } from "../journal/journal.ts";
import type { RunLog } from "../journal/run-log.ts";
import { Stop, within, withTimeout } from "./stop.ts";
import { LargeValues, ifStored, loadValue, shortened } from "./large-values.ts";
import type { ObjectStore } from "./large-values.ts";
import { visitStep } from "./visit.ts";
import type { Visited } from "./visit.ts";

/** Crashes without a checkpoint between them after which a run is not tried again. */
const POISON_CRASHES = 3;
/** A run that is woken because its time is over must find it over. */
const TIMEOUT_SLACK_MS = 1_000;
/** Between two questions to a store that does not answer. */
const STORE_PAUSE_MS = 500;

/** What executions share. */
export type ExecutionDeps = {
  owner: Incarnation;
  journal: Journal;
  definitions: Definitions;
  models: Models;
  tools: Tools;
  sandbox: Sandbox;
  artifacts: ObjectStore | null;
  readWaits: StateStore["readWaits"];
  confirm(run: ClaimedRun, signal: AbortSignal): Promise<void>;
};

/** How an execution left its run: ended, waiting (with the time to its wake-up), still ours, or another's. */
export type Ending =
  | Ended
  | { is: "parked"; status: "queued" | "paused"; delayMs: number }
  | { is: "stopped" };

/**
 * Carries a run from where its journal ends to its end, or to where it has to wait. `stop` is aborted with a Stop when
 * something from outside is to end it; see there what each reason asks for.
 */
export async function execute(
  run: ClaimedRun,
  world: ExecutionDeps,
  stop: AbortController,
  runLog: RunLog,
): Promise<Ending> {
  const standing: ExecutionState = {
    run,
    steps: [],
    progress: start({}),
    // Noted when it is known how long nothing may follow it.
    untold: [{ type: "worker_picked_up", worker_id: workerOf(world.owner), attempt: run.attempt }],
    entries: new EntryWriter(runLog, stop),
    artifacts: world.artifacts,
  };
  try {
    return await new Execution(standing, world, stop.signal).carry().catch((error: unknown) => {
      const reason: unknown = stop.signal.aborted ? stop.signal.reason : error;
      if (reason instanceof Stop) return leave(standing, reason);
      log.error("run.execution_failed", { run: run.run_id, attempt: run.attempt, message: messageOf(error) });
      return failRun(standing, { ...failureOf(error), step_id: runLog.currentStep }, { cause: error });
    });
  } catch (error) {
    // Also the end that a cancel or a timeout asks for may come too late.
    if (error instanceof Stop && error.why === "superseded") return { is: "dropped" };
    throw error;
  } finally {
    runLog.close();
  }
}

async function leave(standing: ExecutionState, reason: Stop): Promise<Ending> {
  switch (reason.why) {
    case "superseded":
      return { is: "dropped" };
    case "drain":
      return { is: "stopped" };
    case "cancel":
      return endRun(standing, "cancelled");
    case "run_timeout":
    case "step_timeout":
      return failRun(standing, { code: reason.why, message: reason.message, step_id: null });
  }
}

class Execution {
  readonly #standing: ExecutionState;
  readonly #world: ExecutionDeps;
  readonly #signal: AbortSignal;
  #endsAtMs = Infinity;

  constructor(standing: ExecutionState, world: ExecutionDeps, signal: AbortSignal) {
    this.#standing = standing;
    this.#world = world;
    this.#signal = signal;
  }

  async carry(): Promise<Ending> {
    const { run } = this.#standing;
    // Before anything of the run is touched: whatever kills workers must not get another.
    if (run.crash_count >= POISON_CRASHES) {
      const message = `${run.crash_count} workers died while they executed this run, without a checkpoint between`;
      return failRun(this.#standing, { code: "poison", message, step_id: null });
    }
    const { definition_tenant, orchestration_id, definition_version } = run;
    const definition = await untilAnswered(this.#signal, () =>
      this.#world.definitions.orchestration(definition_tenant, orchestration_id, definition_version),
    );
    this.#standing.steps = definition.steps;
    const input = RunInput.parse(JSON.parse(run.input));
    const inputValues = this.#largeValues("input");
    const given = initialState(definition, input);
    const state = await ifStored(inputValues.outOf(given), given);
    this.#standing.progress = fold(state, run.journal);
    if (run.cancel) return endRun(this.#standing, "cancelled");

    const timeLeftMs = definition.timeout_minutes * 60_000 - run.running_for_ms;
    this.#endsAtMs = performance.now() + timeLeftMs;
    const limit = withTimeout(
      this.#signal,
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
    const { entries } = this.#standing;
    let todo = next(definition, this.#standing.progress);
    this.#tellBeginning(definition, todo.do === "step" ? todo.step : null);
    while (todo.do === "step") {
      const { step, visit } = todo;
      signal.throwIfAborted();
      entries.begin(step);
      const visited = await this.#visit(definition, step, visit, message, signal);
      if (visited.is === "failed") {
        const { error, ...more } = visited;
        return this.#failStep(step, error, more);
      }
      if (visited.is === "wait") {
        const parked = await this.#park(visited, signal);
        if (parked) return parked;
        continue;
      }
      const { checkpoint, events, usage, response } = visited;
      const progress = apply(this.#standing.progress, checkpoint);
      todo = next(definition, progress);
      if (todo.do === "end") {
        const error = todo.status === "failed" ? todo.error : null;
        const last = { checkpoint, response, progress };
        return endRun(this.#standing, todo.status, { error, last, events, usage });
      }
      const outcome = await entries.result(visited, todo.step);
      if (outcome.is === "rejected") {
        return this.#failStep(step, { code: "result_rejected", message: outcome.message });
      }
      this.#standing.progress = progress;
    }
    return endRun(this.#standing, todo.status, todo.status === "failed" ? { error: todo.error } : {});
  }

  /** Every other step_start rides with the result before it; `first` has none, or it was undone. */
  #tellBeginning(definition: Orchestration, first: Step | null): void {
    const { entries, run, untold } = this.#standing;
    const name = { orchestration_id: definition.id, orchestration_name: definition.name };
    entries.note(untold);
    this.#standing.untold = [];
    if (run.event_seq === 0) entries.note([{ type: "orchestration_start", ...name }]);
    const last = run.journal.at(-1);
    const begins = run.event_seq === 0 || (last?.kind === "rewind" && last.seq === run.event_seq);
    if (begins && first) entries.note([stepStart(first)]);
  }

  #visit(
    definition: Orchestration,
    step: Step,
    visit: number,
    message: string,
    signal: AbortSignal,
  ): Promise<Visited> {
    const { run, progress, entries } = this.#standing;
    return visitStep({
      definition,
      progress,
      step,
      visit,
      context: this.#context(message, signal),
      runId: run.run_id,
      large: this.#largeValues(`${step.id}/${visit}.${run.attempt}`),
      signal,
      readWaits: async (waitIds) => {
        // Before the look: what comes after it refuses the park that is decided by it.
        const { signals } = entries;
        const ask = () => this.#world.readWaits(run.run_id, [...waitIds]);
        return { signals, waits: await untilAnswered(signal, ask) };
      },
      commitTurn: async (data, usage) => {
        const heard = await entries.turn(step, { step: step.id, visit, data }, usage);
        if (heard.is === "rejected") throw new TerminalError("result_rejected", heard.message);
      },
    });
  }

  /** What a step sees of the world. */
  #context(message: string, signal: AbortSignal) {
    const { models, tools, sandbox, artifacts, definitions } = this.#world;
    const { run, progress, entries } = this.#standing;
    const tenant = run.tenant_id;
    return {
      message,
      state: progress.state,
      load: (value: Json) => loadValue(artifacts, value, tenant),
      models,
      tools,
      sandbox,
      // A store that is away uses up no try of the step.
      agent: (id: string) => untilAnswered(signal, () => definitions.named("agents", tenant, id)),
      tool: (name: string) => untilAnswered(signal, () => definitions.named("tools", tenant, name)),
      note: (...events: RunEvent[]) => entries.note(events.map(shortened)),
      confirm: () => this.#world.confirm(run, signal),
    };
  }

  /** Gives the slot back until the wait is over, or the run's time is. Null: the step is to look again. */
  async #park(wait: Parked, signal: AbortSignal): Promise<Ending | null> {
    const { status, afterMs } = wait;
    const leftMs = Math.max(0, this.#endsAtMs - performance.now());
    // The run's time stands still while people have it.
    const delayMs = status === "paused" ? afterMs : Math.min(afterMs, leftMs + TIMEOUT_SLACK_MS);
    const outcome = await this.#standing.entries.park(wait, delayMs);
    if (outcome.is === "committed") return { is: "parked", status, delayMs };
    if (outcome.is === "rejected") throw new Error(outcome.message);
    // Refused: something came from outside. A cancel ends any wait; an answer is what a question waits for; nothing
    // makes a retry due.
    signal.throwIfAborted();
    return status === "paused" ? null : this.#park(wait, signal);
  }

  #failStep(
    step: Step,
    error: { code: string; message: string },
    more: Omit<FailureParts, "events"> = {},
  ): Promise<Ending> {
    const events = [stepError(step, error)];
    return failRun(this.#standing, { ...error, step_id: step.id }, { ...more, events });
  }

  /** Keeps what is large under `place` of this run. */
  #largeValues(place: string): LargeValues {
    const { run, artifacts } = this.#standing;
    return new LargeValues(artifacts, `${run.tenant_id}/${run.run_id}/${place}`);
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
