import type { StepOf, StepType } from "../../../shared/contracts/definition/index.ts";
import type { StepContext, StepQuestion, StepResult } from "../ports.ts";

/** Runs one step of a type. What it throws fails or retries the step; it never answers an error as output. */
export type Executor<Type extends StepType> = (
  step: StepOf<Type>,
  context: StepContext,
) => Promise<StepResult | StepQuestion>;
