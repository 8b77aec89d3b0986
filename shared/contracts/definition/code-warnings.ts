import { stepsInLoops } from "./branches.ts";
import { unboundNames } from "./code-names.ts";
import { nodesOf, parseScript } from "./code-nodes.ts";
import { codeOf, lineAndColumn, scriptOfCode } from "./code.ts";
import { knownStateKeys } from "./graph.ts";
import { localeCalls } from "./locale-calls.ts";
import { longLiterals } from "./long-literals.ts";
import { pythonIdioms } from "./python-idioms.ts";
import { pythonCalls } from "./python.ts";
import type { FieldError } from "../../errors.ts";
import type { OrchestrationDocument } from "./orchestration.ts";

/** The most warnings about the code of one step. */
const MAX_WARNINGS = 5;
/** So many names of a definition, a few more when they are in one step, are compared with those that are defined. */
const MAX_COMPARED = 10;
/** The variables that code of a step in a loop has. */
const OF_LOOPS = ["item", "index"];

/**
 * The warnings of code that compiles, each with line and column. There is one for each name that nothing defines and each method that
 * only Python has, because the step fails where it uses them, and one for each integer that is read with other digits, each form that has
 * another value in Python, and each call that would follow a locale elsewhere.
 */
export function codeWarnings(orchestration: OrchestrationDocument): FieldError[] {
  const keys = knownStateKeys(orchestration);
  const inLoops = stepsInLoops(orchestration.steps);
  let left = MAX_COMPARED;
  return orchestration.steps.flatMap((step, index) => {
    const code = codeOf(step);
    if (code === null) return [];
    const { script: text, offsetOf } = scriptOfCode(code);
    const script = parseScript(text);
    const nodes = nodesOf(script);
    const names = unboundNames({ script, nodes }, keys, inLoops.has(step.id) ? OF_LOOPS : [])
      .toSorted((a, b) => a.offset - b.offset)
      .slice(0, MAX_WARNINGS)
      .map(({ name, offset, nearest }) => ({
        offset,
        message: undefinedName(name, left > 0 ? nearest() : null),
      }));
    left -= names.length;
    const literals = longLiterals(nodes).map(({ digits, becomes, offset }) => ({
      offset,
      message: `${digits} is read as ${becomes}: write it as text, in quotes`,
    }));
    const found = [
      ...names,
      ...literals,
      ...pythonCalls(nodes),
      ...pythonIdioms(nodes),
      ...localeCalls(nodes),
    ].toSorted((a, b) => a.offset - b.offset);
    return found.slice(0, MAX_WARNINGS).map(({ offset, message }) => ({
      path: `steps[${index}].${code.field}`,
      message: `${lineAndColumn(code.text, Math.min(offsetOf(offset), code.text.length))}: ${message}`,
    }));
  });
}

function undefinedName(name: string, nearest: string | null): string {
  return nearest === null
    ? `nothing defines ${name}: code reads state and the built-ins of JavaScript, without clock and network`
    : `nothing defines ${name}: did you mean ${nearest}?`;
}
