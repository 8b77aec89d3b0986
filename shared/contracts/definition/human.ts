import { z } from "zod";
import type { FieldError } from "../../errors.ts";
import type { Json, JsonObject } from "../json.ts";
import { limits, orDefault, orNull } from "./fields.ts";

const TEXT: ReadonlySet<string> = new Set(["text", "textarea", "string", "email", "url", "date", "datetime"]);

/** One field of a form that a person fills in, as clients get it. */
export const FormField = z
  .object({
    key: z.string(),
    label: z.string(),
    /** `text` and the like, `number`, `integer`, `boolean`, `checkbox`, `select` (one of `options`); others are not checked. */
    type: z.string(),
    options: z.array(z.string()).nullable(),
    required: z.boolean(),
  })
  .meta({ id: "FormField" });
export type FormField = z.infer<typeof FormField>;

const name = z
  .string()
  .max(limits.nameChars)
  .refine((key) => key !== "__proto__", "cannot be the name of a field");

/** The same as it is written in a definition. The original writes `key` in its examples and `name` in its model. */
export const HumanField = z
  .object({
    key: orNull(name),
    name: orNull(name),
    label: orNull(z.string().max(limits.nameChars)),
    type: orDefault(z.string().max(50).default("text")),
    options: orNull(z.array(z.string().max(limits.nameChars)).max(limits.keys)),
    required: orDefault(z.boolean().default(false)),
  })
  .transform((field, context): FormField => {
    const key = field.key ?? field.name;
    if (key === null) {
      context.addIssue({ code: "custom", message: "a field must have a key" });
      return z.NEVER;
    }
    const { type, options, required } = field;
    return { key, label: field.label ?? key, type, options, required };
  });

/**
 * What is wrong with an answer to a form, by its fields. What a field does not say must be there may be absent, null or
 * ""; what no field names is let through: clients of the original add to their answers.
 */
export function answerErrors(fields: readonly FormField[], answer: JsonObject): FieldError[] {
  return fields.flatMap((field) => {
    const value = Object.hasOwn(answer, field.key) ? (answer[field.key] ?? null) : null;
    const isAbsent = value === null || value === "";
    const message = isAbsent ? (field.required ? "is required" : null) : wrongValue(field, value);
    return message === null ? [] : [{ path: `response.${field.key}`, message }];
  });
}

/** What is wrong with a value that is there; null: nothing. */
function wrongValue({ type, options }: FormField, value: Json): string | null {
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
      return typeof value === "string" || !TEXT.has(type) ? null : "must be text";
  }
}
