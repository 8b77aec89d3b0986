import { patternError } from "./form-pattern.ts";
import { haveTooMuchText, CHECKED_TYPES, TEXT_TYPES, valueError } from "./human.ts";
import type { FieldError } from "../../errors.ts";
import type { FormField } from "./human.ts";
import type { OrchestrationDocument } from "./orchestration.ts";

/** Fields of one form with the same key: an answer has one value for both. */
export function repeatedFormKeys({ steps }: Pick<OrchestrationDocument, "steps">): FieldError[] {
  return steps.flatMap((step, index) => {
    const keys = step.type === "human" ? step.human_fields.map(({ key }) => key) : [];
    return keys.flatMap((key, i) =>
      keys.indexOf(key) === i
        ? []
        : [
            {
              path: `steps[${index}].human_fields[${i}].key`,
              message: `"${key}" is the key of another field`,
            },
          ],
    );
  });
}

/** Defaults that their own fields would refuse, and bounds that no value has. */
export function formErrors({ steps }: Pick<OrchestrationDocument, "steps">): FieldError[] {
  const defaults = steps.flatMap((step) =>
    step.type === "human" ? step.human_fields.map((field) => ({ field, value: field.default ?? null })) : [],
  );
  if (haveTooMuchText(defaults)) {
    const message =
      "have more text in the defaults of their forms than can be compared with the patterns: shorten it";
    return [{ path: "steps", message }];
  }
  return steps.flatMap((step, index) => {
    if (step.type !== "human") return [];
    return step.human_fields.flatMap((field, i) =>
      fieldErrors(field).map(({ path, message }) => ({
        path: `steps[${index}].human_fields[${i}].${path}`,
        message,
      })),
    );
  });
}

function fieldErrors(field: FormField): FieldError[] {
  const { type, min, max, pattern } = field;
  const hasBounds = TEXT_TYPES.has(type) || ["number", "integer", "multiselect"].includes(type);
  if (min !== undefined && !hasBounds) return [{ path: "min", message: `has no effect for type ${type}` }];
  if (max !== undefined && !hasBounds) return [{ path: "max", message: `has no effect for type ${type}` }];
  if (min !== undefined && max !== undefined && min > max) {
    return [{ path: "max", message: `must be at least min, which is ${min}` }];
  }
  if (pattern !== undefined) {
    const wrong = TEXT_TYPES.has(type) ? patternError(pattern) : `has no effect for type ${type}`;
    if (wrong !== null) return [{ path: "pattern", message: wrong }];
  }
  if ((type === "select" || type === "multiselect") && field.options?.length === 0) {
    return [
      { path: "options", message: "is empty, so that no answer is one of them: name some, or leave it out" },
    ];
  }
  const message = field.default === undefined ? null : valueError(field, field.default);
  return message === null ? [] : [{ path: "default", message }];
}

/** Warnings about fields whose answers are not checked as their author may think. */
export function uncheckedFields({ steps }: Pick<OrchestrationDocument, "steps">): FieldError[] {
  const forms = steps.flatMap((step, index) =>
    step.type === "human"
      ? step.human_fields.map((field, i) => ({ field, path: `steps[${index}].human_fields[${i}]` }))
      : [],
  );
  return forms.flatMap(({ field: { type, options }, path }) => {
    const chooses = type === "select" || type === "multiselect";
    if (chooses && options === null) {
      return [{ path: `${path}.options`, message: "is absent, so that any text is an answer" }];
    }
    if (!chooses && options !== null && CHECKED_TYPES.includes(type)) {
      return [{ path: `${path}.options`, message: `are not checked for type ${type}: write select` }];
    }
    return CHECKED_TYPES.includes(type)
      ? []
      : [
          {
            path: `${path}.type`,
            message: `answers to "${type}" are not checked; checked are ${CHECKED_TYPES.join(", ")}`,
          },
        ];
  });
}
