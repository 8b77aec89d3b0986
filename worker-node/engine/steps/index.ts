import { agent } from "./agent.ts";
import { end } from "./end.ts";
import { evaluator } from "./evaluator.ts";
import { extractJson } from "./extract-json.ts";
import { human } from "./human.ts";
import { ifElse } from "./if-else.ts";
import { llm } from "./llm.ts";
import { loop } from "./loop.ts";
import { merge } from "./merge.ts";
import { orchestration } from "./orchestration.ts";
import { parallel } from "./parallel.ts";
import { print } from "./print.ts";
import { switchStep } from "./switch.ts";
import { tool } from "./tool.ts";
import { transform } from "./transform.ts";
import { wait } from "./wait.ts";
import { isFork } from "../../../shared/contracts/definition/index.ts";
import type { ForkStep, LeafStep, Step, StepOf } from "../../../shared/contracts/definition/index.ts";
import type {
  CallsWait,
  Executor,
  Forker,
  PureContext,
  PureExecutor,
  StepContext,
  StepResult,
  StepWait,
} from "../ports.ts";

/**
 * The executor of each step type. To add a type:
 * 1. Add its schema in shared/contracts/definition: `StepType` then has it, and this table does not compile.
 * 2. Write its executor in a file of its own here. It gets the step and a `StepContext`, and returns a `StepResult`.
 *    Every call to the outside goes through the context, under an effect key (`effectKey`, or a `Conversation`).
 * 3. Add its line to this table. docs/contributing.md has the whole list, with tests and documentation.
 */
const executors: { [Type in EffectStep["type"]]: Executor<Type> } = {
  agent,
  llm,
  tool,
  extract_json: extractJson,
  evaluator,
  human,
  wait,
  orchestration,
};

/**
 * The executors of steps without effects. Such a step begins while the results before it are on their way to Postgres; every other step
 * waits until they are committed.
 */
const pureExecutors: { [Type in PureStep["type"]]: PureExecutor<Type> } = {
  transform,
  if_else: ifElse,
  switch: switchStep,
  merge,
  print,
  end,
};

/** A step that makes no call to the outside and waits for nothing. */
export type PureStep = StepOf<"transform" | "if_else" | "switch" | "merge" | "print" | "end">;
/** A step that calls something outside, or waits. */
type EffectStep = Exclude<LeafStep, PureStep>;

/** The steps that divide a run into tracks. */
const forkers: { [Type in ForkStep["type"]]: Forker<Type> } = { parallel, loop };

/** The forker of a step type: it divides the run at a step of this type, and joins the tracks. */
export function forkerOf<Type extends ForkStep["type"]>({ type }: { type: Type }): Forker<Type> {
  return forkers[type];
}

/** Whether the step has no effects: a fork only divides its track. */
export function isPure(step: Step): step is PureStep | ForkStep {
  return isFork(step) || Object.hasOwn(pureExecutors, step.type);
}

/** Runs a step. `judge` decides on what it throws; `toCheckpoint` takes what it returns. */
export function runStep(step: LeafStep, context: StepContext): Promise<StepResult | StepWait | CallsWait> {
  return isPure(step) ? runPure(step, context) : execute(step.type, step, context);
}

function execute<Type extends EffectStep["type"]>(
  type: Type,
  step: StepOf<Type>,
  context: StepContext,
): Promise<StepResult | StepWait | CallsWait> {
  return executors[type](step, context);
}

/** Runs a step without effects, as `runStep` does: it needs no more than values and code. */
export function runPure(step: PureStep, context: PureContext): Promise<StepResult> {
  return executePure(step.type, step, context);
}

function executePure<Type extends PureStep["type"]>(
  type: Type,
  step: StepOf<Type>,
  context: PureContext,
): Promise<StepResult> {
  return pureExecutors[type](step, context);
}
