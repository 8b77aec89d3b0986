import { z } from "zod";
import type { FieldError } from "../../errors.ts";
import type { JsonObject } from "../json.ts";
import { limits, orDefault, orNull } from "./fields.ts";

/** One field of a form that a person fills in. The original writes `key` in its examples and `name` in its model. */
export const HumanField = z
  .object({
    key: orNull(z.string().max(limits.nameChars)),
    name: orNull(z.string().max(limits.nameChars)),
    label: orNull(z.string().max(limits.nameChars)),
    /** `number`, `integer`, `boolean`, `checkbox` and `select` (one of `options`) are checked; all others are text. */
    type: orDefault(z.string().max(50).default("text")),
    options: orNull(z.array(z.string().max(limits.nameChars)).max(limits.keys)),
    required: orDefault(z.boolean().default(false)),
  })
  .transform((field, context) => {
    const key = field.key ?? field.name;
    if (key === null) {
      context.addIssue({ code: "custom", message: "a field must have a key" });
      return z.NEVER;
    }
    const { type, options, required } = field;
    return { key, label: field.label ?? key, type, options, required };
  });
export type HumanField = z.infer<typeof HumanField>;

/**
 * What is wrong with an answer to a form, by its fields. What a field does not say must be there may be absent, null or
 * ""; what no field names is let through: clients of the original add to their answers.
 */
export function answerErrors(fields: readonly HumanField[], answer: JsonObject): FieldError[] {
  return fields.flatMap((field) => {
    const value = Object.hasOwn(answer, field.key) ? answer[field.key] : undefined;
    const isAbsent = value === undefined || value === null || value === "";
    const message = isAbsent ? (field.required ? "is required" : null) : wrongValue(field, value);
    return message === null ? [] : [{ path: `response.${field.key}`, message }];
  });
}

/** What is wrong with a value that is there; null: nothing. */
function wrongValue({ type, options }: HumanField, value: JsonObject[string] | undefined): string | null {
  switch (type) {
    case "number":
      return typeof value === "number" ? null : "must be a number";
    case "integer":
      return Number.isSafeInteger(value) ? null : "must be a whole number";
    case "boolean":
    case "checkbox":
      return typeof value === "boolean" ? null : "must be true or false";
    case "select":
      if (options === null) return typeof value === "string" ? null : "must be text";
      return typeof value === "string" && options.includes(value)
        ? null
        : `must be one of ${options.join(", ")}`;
    default:
      return typeof value === "string" ? null : "must be text";
  }
}
