import { isNode, nodesOf, parseScript } from "./code-nodes.ts";
import { codeOf, scriptOfCode } from "./code.ts";
import { WORD_FUNCTIONS } from "./condition.ts";
import { wrongWord } from "./written-words.ts";
import type { FieldError } from "../../errors.ts";
import type { CodeNode } from "./code-nodes.ts";
import type { OrchestrationDocument } from "./orchestration.ts";
import type { Step } from "./step.ts";

/** Warnings about what is valid, and most often a mistake: names that look alike, and conditions that no run changes. */
export function doubtfulWarnings({ steps }: Pick<OrchestrationDocument, "steps">): FieldError[] {
  return [
    ...similarIds(steps),
    ...steps.flatMap((step, index) =>
      [...doubtfulCases(step), ...constantExpression(step)].map(({ path, message }) => ({
        path: `steps[${index}].${path}`,
        message,
      })),
    ),
  ];
}

function similarIds(steps: readonly Step[]): FieldError[] {
  const first = new Map<string, string>();
  return steps.flatMap(({ id }, index) => {
    const similar = first.get(id.toLowerCase());
    if (similar === undefined) first.set(id.toLowerCase(), id);
    return similar === undefined
      ? []
      : [
          {
            path: `steps[${index}].id`,
            message: `differs from the step "${similar}" in letter case only: each is a step of its own`,
          },
        ];
  });
}

/** A value is compared with the cases of a switch as it is: with its spaces and its letter case. */
function doubtfulCases(step: Step): FieldError[] {
  if (step.type !== "switch") return [];
  const labels = Object.keys(step.switch_cases);
  const code = codeOf(step);
  const whole = code === null ? null : wholeIn(parseScript(scriptOfCode(code).script));
  return labels.flatMap((label, i) => {
    const path = `switch_cases.${label}`;
    const wrong = wrongWord(whole, label);
    if (wrong !== null) return [{ path, message: `is no case of true, false or null: ${wrong}` }];
    const plain = label.trim();
    if (plain !== label && plain !== "") {
      const message = `begins or ends with a space: only a value with the same space is this case, and "${plain}" is not`;
      return [{ path, message }];
    }
    const twin = labels.slice(0, i).find((other) => other.toLowerCase() === label.toLowerCase());
    return twin === undefined
      ? []
      : [
          {
            path,
            message: `differs from the case "${twin}" in letter case only: a value is one of them exactly`,
          },
        ];
  });
}

/** The names of the sandbox that are constants. */
const CONSTANTS: ReadonlySet<string> = new Set<string>([
  "True",
  "False",
  "None",
  "undefined",
  "NaN",
  "Infinity",
  ...WORD_FUNCTIONS,
]);

function constantExpression(step: Step): FieldError[] {
  const code = codeOf(step);
  if (code === null || !code.isExpression) return [];
  const script = parseScript(scriptOfCode(code).script);
  const whole = wholeIn(script);
  const isState = isNode(whole) && whole.type === "Identifier" && whole["name"] === "state";
  if (!isState && nodesOf(script).some(isRead)) return [];
  const message = isState
    ? "is the whole state, and the same in every run: name a key, as in state.key"
    : "reads nothing of the run, and is the same in every run: name a key of state, as in state.key";
  return [{ path: code.field, message }];
}

/** The whole expression of a script that is one. */
function wholeIn({ body }: CodeNode): unknown {
  const [statement] = Array.isArray(body) ? body : [];
  return isNode(statement) ? statement["expression"] : null;
}

/** Whether a node reads something that is no constant. */
function isRead({ type, name }: CodeNode): boolean {
  return type === "ThisExpression" || (type === "Identifier" && !CONSTANTS.has(String(name)));
}
