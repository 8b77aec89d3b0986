import type { StepType } from "../../../shared/contracts/definition/step.ts";
import type { StepContract } from "./case.ts";
import { orchestration } from "./child-steps.ts";
import { end, evaluator, ifElse, switchStep } from "./decision-steps.ts";
import { agent, llm, tool } from "./model-steps.ts";
import { extractJson, merge, print, transform } from "./state-steps.ts";
import { human, loop, parallel, wait } from "./track-steps.ts";

/** The contract of each step type, in the order of docs/steps.md. A type without one does not compile. */
export const contracts: { [Type in StepType]: StepContract } = {
  llm,
  agent,
  tool,
  evaluator,
  if_else: ifElse,
  switch: switchStep,
  transform,
  extract_json: extractJson,
  merge,
  print,
  end,
  human,
  wait,
  parallel,
  loop,
  orchestration,
};
