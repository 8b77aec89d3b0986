import { z } from "zod";
import type { FieldError } from "../../errors.ts";
import type { Json, JsonObject } from "../json.ts";
import { limits, orDefault, orNull } from "./fields.ts";

const TEXT: ReadonlySet<string> = new Set(["text", "textarea", "string", "email", "url", "date", "datetime"]);

/** One field of a form that a human fills in, as clients get it. */
export const FormField = z
  .object({
    key: z.string(),
    label: z.string(),
    /**
     * `text` and its variants, `number`, `integer`, `boolean`, `checkbox` and `select` (one of `options`) are
     * checked; values of any other type are not.
     */
    type: z.string(),
    options: z.array(z.string()).nullable(),
    required: z.boolean(),
    placeholder: z.string().exactOptional(),
    description: z.string().exactOptional(),
  })
  .meta({ id: "FormField" });
export type FormField = z.infer<typeof FormField>;

const name = z
  .string()
  .max(limits.nameChars)
  .refine((key) => key !== "__proto__", "must not be __proto__");

/** A field as its author writes it in a definition. Existing definitions use `key` or `name`. */
export const HumanFieldRecord = z.object({
  key: orNull(name),
  name: orNull(name),
  label: orNull(z.string().max(limits.nameChars)),
  type: orDefault(z.string().max(50).default("text")),
  options: orNull(z.array(z.string().max(limits.nameChars)).max(limits.keys)),
  required: orDefault(z.boolean().default(false)),
  placeholder: orNull(z.string().max(limits.nameChars)),
  description: orNull(z.string().max(limits.descriptionChars)),
});

export const HumanField = HumanFieldRecord.transform((field, context): FormField => {
  const key = field.key ?? field.name;
  if (key === null) {
    context.addIssue({ code: "custom", message: "a field must have a key (or a name)" });
    return z.NEVER;
  }
  const { type, options, required, placeholder, description } = field;
  return {
    key,
    label: field.label ?? key,
    type,
    options,
    required,
    ...(placeholder !== null && { placeholder }),
    ...(description !== null && { description }),
  };
});

/**
 * Checks an answer against the fields of its form. A field that is not required may be absent, null or "". Values
 * that no field names are accepted: existing clients send more than the form asks for.
 */
export function answerErrors(fields: readonly FormField[], answer: JsonObject): FieldError[] {
  return fields.flatMap((field) => {
    const value = Object.hasOwn(answer, field.key) ? (answer[field.key] ?? null) : null;
    const isAbsent = value === null || value === "";
    const message = isAbsent ? (field.required ? "is required" : null) : valueError(field, value);
    return message === null ? [] : [{ path: `response.${field.key}`, message }];
  });
}

/** The error of a value that is present; null: none. */
function valueError({ type, options }: FormField, value: Json): string | null {
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
