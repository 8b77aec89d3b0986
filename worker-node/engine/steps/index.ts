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
import type { CallsWait, Executor, Forker, StepContext, StepResult, StepWait } from "../ports.ts";

/**
 * The executor of each step type. To add a type:
 * 1. Add its schema in shared/contracts/definition: `StepType` then has it, and this table does not compile.
 * 2. Write its executor in a file of its own here. It gets the step and a `StepContext`, and returns a `StepResult`.
 *    Every call to the outside goes through the context, under an effect key (`effectKey`, or a `Conversation`).
 * 3. Add its line to this table. docs/contributing.md has the whole list, with tests and documentation.
 */
const executors: { [Type in LeafStep["type"]]: Registered<Type> } = {
  agent: withEffects(agent),
  llm: withEffects(llm),
  tool: withEffects(tool),
  transform: pure(transform),
  extract_json: withEffects(extractJson),
  if_else: pure(ifElse),
  switch: pure(switchStep),
  merge: pure(merge),
  evaluator: withEffects(evaluator),
  human: withEffects(human),
  wait: withEffects(wait),
  print: pure(print),
  orchestration: withEffects(orchestration),
  end: pure(end),
};

/** The steps that divide a run into tracks. */
const forkers: { [Type in ForkStep["type"]]: Forker<Type> } = { parallel, loop };

/** The forker of a step type: it divides the run at a step of this type, and joins the tracks. */
export function forkerOf<Type extends ForkStep["type"]>({ type }: { type: Type }): Forker<Type> {
  return forkers[type];
}

/**
 * `isPure`: the step makes no call to the outside and waits for nothing, so its repetition does no harm. It begins while the
 * results before it are on their way to Postgres; every other step waits until they are committed.
 */
type Registered<Type extends LeafStep["type"]> = { run: Executor<Type>; isPure: boolean };

function pure<Type extends LeafStep["type"]>(run: Executor<Type>): Registered<Type> {
  return { run, isPure: true };
}

function withEffects<Type extends LeafStep["type"]>(run: Executor<Type>): Registered<Type> {
  return { run, isPure: false };
}

/** Whether the step has no effects: see `Registered`. */
export function isPure(step: Step): boolean {
  return isFork(step) || executors[step.type].isPure;
}

/** Runs a step. `judge` decides on what it throws; `toCheckpoint` takes what it returns. */
export function runStep(step: LeafStep, context: StepContext): Promise<StepResult | StepWait | CallsWait> {
  return execute(step.type, step, context);
}

function execute<Type extends LeafStep["type"]>(
  type: Type,
  step: StepOf<Type>,
  context: StepContext,
): Promise<StepResult | StepWait | CallsWait> {
  return executors[type].run(step, context);
}
