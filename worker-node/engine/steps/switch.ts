import { namesOf } from "../events.ts";
import { loadAll, outputOf } from "../run-state.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import type { Executor } from "../ports.ts";

/**
 * Chooses the case that equals the value of `switch_expression` as text. A case or a default that is null ends the run.
 * Without any cases the run goes to the default, else to `next_step_id`.
 */
export const switchStep: Executor<"switch"> = async (step, context) => {
  const value = await context.sandbox.evaluate(
    step.switch_expression,
    await loadAll(context.state, context.load),
  );
  const name = caseName(value, step.switch_cases);
  const matched = Object.hasOwn(step.switch_cases, name) ? name : null;
  const target = targetOf(matched, step);
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

function targetOf(matched: string | null, step: Parameters<typeof switchStep>[0]): string | null {
  if (matched !== null) return step.switch_cases[matched] ?? null;
  if (Object.keys(step.switch_cases).length === 0) return step.switch_default_step_id ?? step.next_step_id;
  return step.switch_default_step_id;
}

/** A value as cases spell it. Imported definitions write `True`, `False` and `None`. */
function caseName(value: Json, cases: Readonly<Record<string, string | null>>): string {
  const plain = typeof value === "string" ? value : JSON.stringify(value);
  const python = value === true ? "True" : value === false ? "False" : value === null ? "None" : plain;
  return Object.hasOwn(cases, python) ? python : plain;
}
