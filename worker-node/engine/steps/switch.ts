import { TerminalError } from "../step-errors.ts";
import { namesOf } from "../events.ts";
import { clip } from "../prompt.ts";
import { outputOf, stateForCode } from "../run-state.ts";
import { textOrJson } from "../../../shared/contracts/json.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import type { PureExecutor } from "../ports.ts";

const SHOWN_CHARS = 100;

/**
 * Chooses the case that equals the value of `switch_expression` as text, else the default; a switch without any cases goes
 * to `next_step_id` when it has no default. A target that is written as null ends the run. A value without a
 * target fails the step with `no_route`.
 */
export const switchStep: PureExecutor<"switch"> = async (step, context) => {
  const value = await context.sandbox.evaluate(
    step.switch_expression,
    await stateForCode(step, context),
    await context.loopVariables(),
  );
  const name = caseName(value, step.switch_cases);
  const matched = Object.hasOwn(step.switch_cases, name) ? name : null;
  const target = targetOf(matched, step);
  if (target === undefined) {
    const shown = clip(name, SHOWN_CHARS);
    throw new TerminalError("no_route", `no case is "${shown}", and there is no switch_default_step_id`);
  }
  return {
    set: { ...outputOf(step, name), [`_switch_decision_${step.id}`]: name },
    route: { target },
    events: [],
    after: [
      {
        type: "switch_decision",
        ...namesOf(step),
        expression: step.switch_expression,
        value: name,
        matched_case: matched,
        target_step_id: target,
      },
    ],
    usage: [],
    effects: [],
  };
};

function targetOf(matched: string | null, step: Parameters<typeof switchStep>[0]): string | null | undefined {
  if (matched !== null) return step.switch_cases[matched];
  const hasCases = Object.keys(step.switch_cases).length > 0;
  return hasCases ? step.switch_default_step_id : (step.switch_default_step_id ?? step.next_step_id);
}

/** A value as cases spell it. Imported definitions write `True`, `False` and `None`. */
function caseName(value: Json, cases: Readonly<Record<string, string | null>>): string {
  const plain = textOrJson(value);
  const python = value === true ? "True" : value === false ? "False" : value === null ? "None" : plain;
  return Object.hasOwn(cases, python) ? python : plain;
}
