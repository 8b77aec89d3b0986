import type { Usage } from "../../shared/contracts/journal-entry.ts";
import type { Json } from "../../shared/contracts/json.ts";
import { whenStateTooLarge } from "../../shared/journal/size-limits.ts";
import { placeOf, stepPath } from "../../shared/journal/track.ts";
import { effectsOfTurn } from "../engine/conversation-turns.ts";
import { sourceOf } from "../engine/key-source.ts";
import { loopVariablesOf } from "../engine/loop-variables.ts";
import { inTrack } from "../engine/events.ts";
import type { AnswerToKeep } from "../../shared/store/money/kept-answers.ts";
import type { NewArtifact } from "../../shared/store/files/new-artifact.ts";
import { runFiles } from "../files/run-files.ts";
import { whenSpent } from "../engine/machine.ts";
import type { Models, PureContext, StepContext } from "../engine/ports.ts";
import { wayTo } from "../engine/way.ts";
import { judge } from "../engine/retry-policy.ts";
import { TerminalError } from "../engine/step-errors.ts";
import { agentOf, chatOf } from "./chat-context.ts";
import { correlatedTools } from "./correlated-tools.ts";
import type { CallWaits } from "./call-waits.ts";
import { spentBy } from "./child-limits.ts";
import { inBackground } from "./background-calls.ts";
import type { BackgroundResponses } from "./background-calls.ts";
import { withKeptAnswers } from "./kept-answers.ts";
import { paidModels } from "./paid-models.ts";
import { publishedEvents } from "./published-events.ts";
import type { Visit } from "./execution-state.ts";
import { loadValue } from "./large-values.ts";
import { sizeOfTurn } from "./state-size.ts";
import { turnEntry } from "./turn-entry.ts";
import { waitForStore } from "./wait-for-store.ts";

/**
 * The usage of a try that no turn has charged: of model calls by their effect keys, and of runs. Agents may make several calls
 * at the same time.
 */
export type TryUsage = Map<string, Usage>;

/** One try of a visit. It appends its turns to `turns`. */
export type Try = {
  turns: Json[];
  /** The number of this try, from 1. */
  tryNumber: number;
  effectSuffix: string;
  /** The model calls of earlier tries, and of a crashed execution, that are not charged yet. The try appends the latter. */
  unchargedUsage: Usage[];
  usage: TryUsage;
  /** The files of this try that no turn has committed. The try appends to it. */
  artifacts: NewArtifact[];
  /** The answers of models that are kept when the step has its result. */
  answers: AnswerToKeep[];
  /** The answers that providers make in the background. */
  responses: BackgroundResponses;
};

/** What a step without effects can reach. `signal` returns the signal of the step's limit. */
export function pureContextOf(
  { state, scope, track }: Pick<Visit, "state" | "scope" | "track">,
  signal: () => AbortSignal,
): PureContext {
  const { definition, message } = scope;
  const { artifacts, sandbox } = state.deps;
  const tenant = state.run.tenant_id;
  const load = (value: Json): Promise<Json> => loadValue(artifacts(), value, tenant);
  return {
    message,
    state: track.state,
    load,
    loopVariables: () =>
      track.place.length === 0 ? {} : loopVariablesOf({ definition, root: state.progress, track, load }),
    sourceOf: (key) => sourceOf(definition.steps, track, key),
    sandbox: {
      evaluate: (...program) => sandbox.of({ tenant, signal: signal() }).evaluate(...program),
      transform: (...program) => sandbox.of({ tenant, signal: signal() }).transform(...program),
    },
  };
}

/** What the step can reach during this try. */
export function contextOf(
  visit: Visit,
  thisTry: Try,
  { signal, reply, calls }: Pick<StepContext, "signal" | "reply"> & { calls: CallWaits },
): StepContext {
  const { state, scope, track, step, large, signal: trackSignal } = visit;
  const { run, runLog, deps, beganMs } = state;
  const { turns, tryNumber, effectSuffix, usage, unchargedUsage, artifacts: written } = thisTry;
  const path = stepPath(track, step.id);
  const { tools, definitions } = deps;
  const tracing = deps.tracing();
  const { definition } = scope;
  const tenant = run.tenant_id;
  const at = { prefix: large.prefix, step_path: path, visit: visit.visit };
  const spent = (): number => {
    const cost = spentBy(state);
    const reached = whenSpent(definition, cost);
    if (reached !== null) throw new TerminalError(reached.code, reached.message);
    return cost;
  };
  let models: Models | null = null;
  return {
    runId: run.run_id,
    tenantId: tenant,
    ...pureContextOf(visit, () => signal),
    way: () => wayTo(definition.steps, state.progress, track),
    effectBase: `${run.run_id}:${path}:${visit.visit}`,
    effectSuffix,
    isLastTry: (error) => {
      const leftMs = scope.endsAtMs - performance.now();
      return judge(error, tryNumber, step.retry, { random: () => 0, leftMs }).do === "fail";
    },
    turns: [...turns],
    reply,
    signal,
    tools: correlatedTools(
      tracing && visit.span ? tracing.tools(tools, visit.span) : tools,
      run.correlation_id,
    ),
    files: runFiles(deps, { run, at, written, signal }),
    filesOfCall: () => {
      const own: NewArtifact[] = [];
      return { ...runFiles(deps, { run, at, written: own, signal }), written: own };
    },
    // Reads that wait for the store: an unreachable store uses up no try of the step.
    agent: (id) => waitForStore(run, trackSignal, () => agentOf(state, id)),
    chat: chatOf(state, scope, trackSignal),
    tool: (name) => waitForStore(run, trackSignal, () => definitions.named("tools", tenant, name, beganMs)),
    mcpServer: (name) => waitForStore(run, trackSignal, () => definitions.mcpServer(tenant, name)),
    confirm: () => deps.confirm(run, trackSignal),
    checkCost: () => void spent(),
    child: (request) => {
      spent();
      return calls.child(request);
    },
    ask: (question) => calls.ask(question),
    pause: (call, ms) => calls.pause(call, ms, signal),
    charge: (used) => void usage.set(used.call, used),
    chargeFailed: (key) => {
      const used = usage.get(key);
      if (used === undefined) return;
      usage.delete(key);
      unchargedUsage.push({ ...used, call: `${path}:failed.${tryNumber}.${unchargedUsage.length + 1}` });
    },
    windowTokens: async (model) => deps.windowTokens(model ?? (await deps.defaultModel(tenant, signal))),
    // Most steps call no model.
    get models() {
      models ??= modelsOf(visit, thisTry, { signal, spent });
      return models;
    },
    // After its timeout a try may still note events: they are dropped.
    note: (...events) => {
      if (signal.aborted) return;
      const published = events.map((event) => inTrack(track, event)).flatMap(publishedEvents);
      state.reply?.addEvents(published);
      runLog.note(published);
    },
    turn: (...turn) => appendTurn(visit, thisTry, signal, turn),
  };
}

/** Commits a turn of the step with its usage and files. @throws TerminalError when the state is too large, or the turn is refused */
async function appendTurn(
  visit: Visit,
  { turns, usage, artifacts }: Pick<Try, "turns" | "usage" | "artifacts">,
  signal: AbortSignal,
  [data, turnUsage, ofCall]: Parameters<StepContext["turn"]>,
): Promise<void> {
  const { state, track, step } = visit;
  signal.throwIfAborted();
  const heldBytes = [...turns, data].reduce<number>((sum, turn) => sum + sizeOfTurn(turn), state.size.bytes);
  const what = `the state of the run with the turns of step "${step.id}"`;
  const tooLarge = whenStateTooLarge(what, heldBytes);
  if (tooLarge) throw new TerminalError(tooLarge.code, tooLarge.message);
  const checkpoint = { ...placeOf(track), step: step.id, visit: visit.visit, data };
  // A file that a call writes from here on belongs to the next checkpoint.
  const files = ofCall?.written ?? artifacts.splice(0);
  const entry = turnEntry(visit, checkpoint, turnUsage, files);
  // From here on the turn charges these calls: a stop while it is on its way must not charge them again.
  const charged = effectsOfTurn(data).flatMap((key): [string, Usage][] => {
    const used = usage.get(key);
    return used !== undefined && usage.delete(key) ? [[key, used]] : [];
  });
  turns.push(data);
  const outcome = await state.runLog.append(entry);
  if (outcome.is !== "rejected") return;
  turns.splice(turns.indexOf(data), 1);
  for (const [key, used] of charged) usage.set(key, used);
  throw new TerminalError("result_rejected", outcome.message);
}

/** The models as a try calls them. Prices, kept answers and keys all go by the name of the model. */
function modelsOf(
  visit: Visit,
  { tryNumber, unchargedUsage, usage, answers, responses }: Try,
  { signal, spent }: { signal: AbortSignal; spent(): number },
): Models {
  const { state, span } = visit;
  const { deps, run } = state;
  const answering = withKeptAnswers(
    visit,
    { mayTake: tryNumber === 1 && state.progress.rewinds === 0, answers, signal },
    inBackground(
      visit,
      { responses, signal, charge: (cut) => void unchargedUsage.push(cut) },
      paidModels(visit, { usage, signal, spent }),
    ),
  );
  const models: Models = {
    generate: async (request) =>
      answering.generate({
        ...request,
        model: request.model ?? (await deps.defaultModel(run.tenant_id, signal)),
      }),
  };
  const tracing = deps.tracing();
  return tracing && span ? tracing.models(models, span) : models;
}
