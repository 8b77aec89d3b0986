import { nestingOf } from "./condition.ts";
import type { FieldError } from "../../errors.ts";
import type { OrchestrationDocument } from "./orchestration.ts";
import type { AnyStep } from "./step.ts";

/** A condition of a person has a line or two; a program may have more, in the same depth. */
const MAX_EXPRESSION_CHARS = 8_192;
const MAX_NESTING = 100;

/** Conditions and programs that are too long or nested too deep to be worth a worker's time. */
export function codeErrors({ steps }: OrchestrationDocument): FieldError[] {
  return steps.flatMap((step, index) => {
    const code = codeOf(step);
    if (code === null) return [];
    const path = `steps[${index}].${code.field}`;
    if (code.isExpression && code.text.length > MAX_EXPRESSION_CHARS) {
      return [
        {
          path,
          message: `must be at most ${MAX_EXPRESSION_CHARS} characters: use a transform step for more`,
        },
      ];
    }
    return nestingOf(code.text) > MAX_NESTING
      ? [{ path, message: `must have at most ${MAX_NESTING} brackets inside each other` }]
      : [];
  });
}

function codeOf(step: AnyStep): { field: string; text: string; isExpression: boolean } | null {
  switch (step.type) {
    case "if_else":
      return { field: "if_condition", text: step.if_condition, isExpression: true };
    case "switch":
      return { field: "switch_expression", text: step.switch_expression, isExpression: true };
    case "transform":
      return { field: "transform_code", text: step.transform_code, isExpression: false };
    default:
      return null;
  }
}
