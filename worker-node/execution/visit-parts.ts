import type { Orchestration, Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Checkpoint, Usage } from "../../shared/contracts/journal-entry.ts";
import type { Json } from "../../shared/contracts/json.ts";
import { whenStateTooLarge } from "../../shared/journal/budget.ts";
import type { Progress } from "../../shared/journal/fold.ts";
import { TerminalError } from "../engine/step-errors.ts";
import type { StepContext } from "../engine/ports.ts";
import { turnEntry } from "../journal/entries.ts";
import type { Parked } from "../journal/entries.ts";
import { published } from "./divide-text.ts";
import { largeValuesAt } from "./execution-state.ts";
import type { ExecutionDeps, ExecutionState, Walk } from "./execution-state.ts";
import type { LargeValues } from "./large-values.ts";
import { loadValue } from "./load-value.ts";
import type { ReadWaits } from "./question.ts";
import { sizeOf } from "./state-size.ts";
import { waitForStore } from "./wait-for-store.ts";

/** How a visit of a step ended: with a result, a failure, or a wait that parks the run. */
export type Visited =
  | {
      is: "result";
      checkpoint: Checkpoint;
      events: RunEvent[];
      usage: readonly Usage[];
      response: Json | undefined;
    }
  | {
      is: "failed";
      error: { code: string; message: string };
      tries: number;
      firstFailedAt: string;
      cause: unknown;
      usage: readonly Usage[];
    }
  | Parked;

/** What a visit needs of its execution. `context` is what the step can reach, without what the visit adds. */
export type Visit = {
  definition: Orchestration;
  progress: Progress;
  step: Step;
  visit: number;
  context: Omit<
    StepContext,
    "sandbox" | "turns" | "turn" | "effectBase" | "effectSuffix" | "reply" | "signal" | "checkCost"
  >;
  runId: string;
  /** The sandbox as a try of this visit uses it: its signal stops the try's code. */
  sandboxOf(signal: AbortSignal): StepContext["sandbox"];
  large: LargeValues;
  signal: AbortSignal;
  /** When the run's time is over, by this process's monotonic clock. */
  endsAtMs: number;
  readWaits: ReadWaits;
  /** Leaves what a stopped visit used to the entry that ends the run. */
  leaveUncharged(usage: readonly Usage[]): void;
  /** Commits a checkpoint inside the step. @throws Stop `superseded` when another worker moves the run */
  commitTurn(data: Json, usage: readonly Usage[]): Promise<void>;
};

/** What a visit of `step` needs, from what its execution has. */
export function visitOf(
  state: ExecutionState,
  deps: ExecutionDeps,
  walk: Walk,
  { step, visit }: { step: Step; visit: number },
): Visit {
  const { run, progress, runLog } = state;
  const { definition, signal, endsAtMs } = walk;
  let heldBytes = progress.turns.reduce<number>((sum, turn) => sum + sizeOf(turn), state.size.bytes);
  return {
    definition,
    endsAtMs,
    progress,
    step,
    visit,
    context: contextOf(state, deps, walk),
    runId: run.run_id,
    sandboxOf: (ofTry) => deps.sandbox.of({ tenant: run.tenant_id, signal: ofTry }),
    large: largeValuesAt(state, `${step.id}/${visit}.${run.attempt}`),
    signal,
    readWaits: async (waitIds) => {
      // The signals are read before the waits: a later signal makes Postgres refuse the park that follows from these waits.
      const { signals } = runLog;
      const read = () => deps.store.readWaits(run.run_id, [...waitIds]);
      return { signals, waits: await waitForStore(signal, read) };
    },
    leaveUncharged: (usage) => {
      state.unchargedUsage = usage;
    },
    commitTurn: async (data, usage) => {
      heldBytes += sizeOf(data);
      const what = `the state of the run with the turns of step "${step.id}"`;
      const tooLarge = whenStateTooLarge(what, heldBytes);
      if (tooLarge) throw new TerminalError(tooLarge.code, tooLarge.message);
      const outcome = await runLog.append(turnEntry(step, { step: step.id, visit, data }, usage));
      if (outcome.is === "rejected") throw new TerminalError("result_rejected", outcome.message);
    },
  };
}

/** What a step can reach, as far as it is the same for all steps of the run. */
function contextOf(state: ExecutionState, deps: ExecutionDeps, { message, signal }: Walk): Visit["context"] {
  const { models, tools, artifacts, definitions } = deps;
  const { run, progress, runLog } = state;
  const tenant = run.tenant_id;
  return {
    message,
    state: progress.state,
    load: (value: Json) => loadValue(artifacts, value, tenant),
    models,
    tools,
    // Reads that wait for the store: an unreachable store uses up no try of the step.
    agent: (id: string) => waitForStore(signal, () => definitions.named("agents", tenant, id)),
    tool: (name: string) => waitForStore(signal, () => definitions.named("tools", tenant, name)),
    note: (...events: RunEvent[]) => runLog.note(events.flatMap(published)),
    confirm: () => deps.confirm(run, signal),
  };
}
