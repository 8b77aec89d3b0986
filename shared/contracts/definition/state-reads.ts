import { nearestName, suggestions } from "../../text/nearest-name.ts";
import { stepsInLoops } from "./branches.ts";
import { parseScript } from "./code-nodes.ts";
import { codeOf, scriptOfCode } from "./code.ts";
import { knownStateKeys, stateKeysSetBy } from "./graph.ts";
import { stateKeysReadBy } from "./state-keys.ts";
import { pathInState, readsItem } from "./step.ts";
import type { FieldError } from "../../errors.ts";
import type { OrchestrationDocument } from "./orchestration.ts";
import type { Step } from "./step.ts";

/**
 * A warning for each key of state that code reads and that nothing of the definition sets: a misspelt key is undefined, and
 * its condition is false for ever. It is a warning, because a request may bring the key in its `state`. `state?.key` says that
 * the key may be absent.
 */
export function unsetReads(orchestration: OrchestrationDocument): FieldError[] {
  const suggest = suggestions();
  const known = knownStateKeys(orchestration);
  return orchestration.steps.flatMap((step, index) => {
    const code = codeOf(step);
    if (code === null) return [];
    const keys = stateKeysReadBy(parseScript(scriptOfCode(code).script));
    return [...keys]
      .filter((key) => !known.has(key))
      .map((key) => ({
        path: `steps[${index}].${code.field}`,
        message: `state.${key} is set by no step and not in state_schema${suggest(key, known)}`,
      }));
  });
}

type Input = { field: string; key: string };

/**
 * A warning for each key that a merge takes, an extract_json searches or a loop goes through, and that nothing of the definition
 * sets: without it the step fails, or searches less than its author meant. A request may bring the key in its `state`. Steps of other
 * types leave out an input that is not there, so one of them has a warning only where it is almost a key that is set.
 */
export function unsetInputs(orchestration: OrchestrationDocument): FieldError[] {
  const suggest = suggestions();
  const set = stateKeysSetBy(orchestration);
  const misspelled = misspelledInputs(orchestration.steps, set);
  const inLoops = stepsInLoops(orchestration.steps);
  return orchestration.steps.flatMap((step, index) => {
    const needed = neededKeys(step, inLoops.has(step.id)).filter(({ key }) => !set.has(key));
    const others = optionalInputs(step).filter(({ key }) => misspelled.has(key));
    return [...needed, ...others].map(({ field, key }) => ({
      path: `steps[${index}].${field}`,
      message: `"${key}" is set by no step and not in state_schema${suggest(key, set)}`,
    }));
  });
}

/** So many keys that nothing sets are compared with all that are set: a definition may have twenty thousand of them. */
const MAX_COMPARED = 20;

/** The optional inputs that differ in a letter or two, and not in a number, from a key that is set. */
function misspelledInputs(steps: readonly Step[], set: ReadonlySet<string>): Set<string> {
  const keys = new Set(steps.flatMap(optionalInputs).map(({ key }) => key));
  const unset = [...keys].filter((key) => !set.has(key)).slice(0, MAX_COMPARED);
  return new Set(
    unset.filter((key) => {
      const nearest = nearestName(key, set);
      if (nearest === null || withoutDigits(nearest.name) === withoutDigits(key)) return false;
      return nearest.distance <= Math.floor(key.length / 5);
    }),
  );
}

function withoutDigits(name: string): string {
  return name.replaceAll(/[_-]?\d+/g, "");
}

function optionalInputs(step: Step): Input[] {
  return step.type === "merge" || step.type === "extract_json" ? [] : inputsOf(step);
}

function inputsOf({ input_keys }: Step): Input[] {
  return input_keys.map((key, i) => ({ field: `input_keys[${i}]`, key }));
}

function neededKeys(step: Step, isInLoop: boolean): Input[] {
  switch (step.type) {
    case "merge":
    case "extract_json":
      return inputsOf(step);
    case "loop": {
      const isInState = step.for_each !== null && !(isInLoop && readsItem(step.for_each));
      const [key] = isInState ? pathInState(step.for_each ?? "") : [];
      return key === undefined ? [] : [{ field: "for_each", key }];
    }
    default:
      return [];
  }
}
