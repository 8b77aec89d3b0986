import { agent } from "./agent.ts";
import { end } from "./end.ts";
import { evaluator } from "./evaluator.ts";
import { extractJson } from "./extract-json.ts";
import { human } from "./human.ts";
import { ifElse } from "./if-else.ts";
import { llm } from "./llm.ts";
import { print } from "./print.ts";
import { switchStep } from "./switch.ts";
import { tool } from "./tool.ts";
import { transform } from "./transform.ts";
import type { Step, StepOf, StepType } from "../../../shared/contracts/definition/index.ts";
import type { StepContext, StepQuestion, StepResult } from "../ports.ts";
import type { Executor } from "./executor.ts";

/** One executor for each type of step that can be run. A type that is in the contract and not here does not compile. */
const executors: { [Type in StepType]: Executor<Type> } = {
  agent,
  llm,
  tool,
  transform,
  extract_json: extractJson,
  if_else: ifElse,
  switch: switchStep,
  evaluator,
  human,
  print,
  end,
};

/** Runs a step. What it throws is for `judge`; what it answers is for `settle`. */
export function run(step: Step, context: StepContext): Promise<StepResult | StepQuestion> {
  return execute(step.type, step, context);
}

function execute<Type extends StepType>(
  type: Type,
  step: StepOf<Type>,
  context: StepContext,
): Promise<StepResult | StepQuestion> {
  return executors[type](step, context);
}
