import { z } from "zod";
import type { FieldError } from "../../errors.ts";
import { nearestName } from "../../text/nearest-name.ts";
import { plainName } from "../ids.ts";
import { JsonValue } from "../json.ts";
import type { Json, JsonObject } from "../json.ts";
import { isLongInteger } from "../long-integers.ts";
import { limits, orDefault, orNull } from "./fields.ts";
import { MAX_PATTERN_CHARS, fitsPattern } from "./form-pattern.ts";

/** The types of form fields whose values are texts. */
export const TEXT_TYPES: ReadonlySet<string> = new Set([
  "text",
  "textarea",
  "string",
  "email",
  "url",
  "uri",
  "date",
  "datetime",
]);
/** The types of form fields whose answers are checked. */
export const CHECKED_TYPES = [
  ...TEXT_TYPES,
  "number",
  "integer",
  "boolean",
  "checkbox",
  "select",
  "multiselect",
];

/** One field of a form that a human fills in, as clients get it. */
export const FormField = z
  .object({
    key: z.string(),
    label: z.string(),
    /**
     * `text` and its variants, `number`, `integer`, `boolean`, `checkbox`, `select` (one of `options`) and `multiselect` (a list
     * of them) are checked, the formats of `email`, `url`, `uri`, `date` and `datetime` too; values of any other type are not.
     */
    type: z.string(),
    options: z.array(z.string()).nullable(),
    required: z.boolean(),
    placeholder: z.string().exactOptional(),
    description: z.string().exactOptional(),
    /** The value of a field that an answer leaves out. */
    default: JsonValue.exactOptional(),
    /** The smallest and the largest number; of a text the fewest and the most characters, of a `multiselect` the fewest and the most options. */
    min: z.number().exactOptional(),
    max: z.number().exactOptional(),
    /** Of a text: what the whole of it must look like. */
    pattern: z.string().exactOptional(),
  })
  .meta({ id: "FormField" });
export type FormField = z.infer<typeof FormField>;

const name = z
  .string()
  .max(limits.nameChars)
  .refine((key) => key !== "__proto__", "must not be __proto__");

/** Persons by the names under which clients report their answers. */
export const People = z.array(plainName(200)).max(limits.approvers);

/** A group of approvers that gets a question when it has been open for a time. */
export const Escalation = z.object({
  after_seconds: z.number().int().min(1).max(limits.waitSeconds),
  approvers: People,
});

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
  default: orNull(JsonValue),
  min: orNull(z.number()),
  max: orNull(z.number()),
  pattern: orNull(z.string().max(MAX_PATTERN_CHARS)),
});

/** A field as clients get it, made from the record of its author. */
export const HumanField = HumanFieldRecord.transform((field, context): FormField => {
  const key = field.key ?? field.name;
  if (key === null) {
    context.addIssue({ code: "custom", message: "a field must have a key (or a name)" });
    return z.NEVER;
  }
  const { type, options, required, placeholder, description, min, max, pattern } = field;
  return {
    key,
    label: field.label ?? key,
    type,
    options,
    required,
    ...(placeholder !== null && { placeholder }),
    ...(description !== null && { description }),
    ...(field.default !== null && { default: field.default }),
    ...(min !== null && { min }),
    ...(max !== null && { max }),
    ...(pattern !== null && { pattern }),
  };
});

/** An answer with the defaults of the fields that it leaves out. */
export function withDefaults(fields: readonly FormField[], answer: JsonObject): JsonObject {
  const missing = fields.flatMap((field) =>
    field.default !== undefined && isAbsent(valueOf(field, answer)) ? [[field.key, field.default]] : [],
  );
  return { ...answer, ...Object.fromEntries(missing) };
}

/** The patterns of a form are compared with its texts up to this product of their lengths, which takes 0.1 s at most. */
const MAX_FORM_STEPS = 4_000_000;

/**
 * Whether these values are too long to be compared with the patterns of their fields: a form has up to 100 fields, and a definition up
 * to 200 forms with their defaults.
 */
export function haveTooMuchText(values: readonly { field: FormField; value: Json }[]): boolean {
  const steps = values.map(({ field, value }) =>
    typeof value === "string" ? (field.pattern?.length ?? 0) * value.length : 0,
  );
  return steps.reduce((sum, each) => sum + each, 0) > MAX_FORM_STEPS;
}

/** An answer may have a hundred thousand names that no field has. At most this many of them are compared with the names of the fields. */
const MAX_COMPARED = 20;

/**
 * Errors for values under a misspelt name of a field that the answer leaves out: that field would count as not answered, or its default
 * as the answer.
 */
function misspeltFields(
  fields: readonly FormField[],
  answer: JsonObject,
  alsoKnown: readonly string[],
): FieldError[] {
  const keys = new Set(fields.map(({ key }) => key));
  const left = [...keys].filter((key) => !Object.hasOwn(answer, key));
  const others = Object.keys(answer).filter((sent) => !keys.has(sent) && !alsoKnown.includes(sent));
  return others.slice(0, MAX_COMPARED).flatMap((sent) => {
    const alike = left.filter(
      (key) => initialOf(key) === initialOf(sent) && digitsOf(key) === digitsOf(sent),
    );
    const nearest = nearestName(sent, alike);
    if (nearest === null || nearest.distance > Math.min(2, nearest.name.length / 4)) return [];
    return [
      { path: `response.${sent}`, message: `is no field of the form: did you mean "${nearest.name}"?` },
    ];
  });
}

/** Names that differ in their first letters are two names, as `rate` and `date`. */
const initialOf = (key: string): string => key.charAt(0).toLowerCase();
/** Names that differ in their numbers are two names, as `line2` and `line3`. */
const digitsOf = (key: string): string => key.replaceAll(/\D/g, "");

/**
 * Checks an answer against the fields of its form; the fields that it leaves out have their defaults. A field that is not required may be
 * absent, null or "". Values that no field names are accepted, unless their names are misspelt: existing clients send more than the form
 * asks for.
 * @param answer as it was sent, without defaults: they would hide that a field is left out
 * @param alsoKnown names that an answer may have besides those of the fields
 */
export function answerErrors(
  fields: readonly FormField[],
  answer: JsonObject,
  alsoKnown: readonly string[] = [],
): FieldError[] {
  const filled = withDefaults(fields, answer);
  const refuses = fields.some(
    (field) => field.type === "accept_or_decline" && valueOf(field, filled) === "decline",
  );
  // A person who refuses to answer fills in nothing.
  if (refuses) return [];
  return haveTooMuchText(fields.map((field) => ({ field, value: valueOf(field, filled) })))
    ? [
        {
          path: "response",
          message: "has more text than can be compared with the patterns of the form: shorten it",
        },
      ]
    : [...misspeltFields(fields, answer, alsoKnown), ...valueErrors(fields, filled)];
}

function valueErrors(fields: readonly FormField[], answer: JsonObject): FieldError[] {
  return fields.flatMap((field) => {
    const value = valueOf(field, answer);
    const isMissing = field.required && (isAbsent(value) || isEmptyChoice(field, value));
    const message = isMissing ? "is required" : isAbsent(value) ? null : valueError(field, value);
    return message === null ? [] : [{ path: `response.${field.key}`, message }];
  });
}

function valueOf({ key }: FormField, answer: JsonObject): Json {
  return Object.hasOwn(answer, key) ? (answer[key] ?? null) : null;
}

function isAbsent(value: Json): boolean {
  return value === null || value === "";
}

/** Nothing is chosen of several options. It is an answer where none is required, and no default takes its place. */
function isEmptyChoice({ type }: FormField, value: Json): boolean {
  return type === "multiselect" && Array.isArray(value) && value.length === 0;
}

/** The error of a value that is present; null: none. */
export function valueError(field: FormField, value: Json): string | null {
  const { type, options } = field;
  switch (type) {
    case "number":
      return typeof value === "number" ? boundError(field, value, "") : numberError(value, "a number");
    case "integer":
      return typeof value === "number" && Number.isSafeInteger(value)
        ? boundError(field, value, "")
        : numberError(value, "a whole number");
    case "boolean":
    case "checkbox":
      return typeof value === "boolean" ? null : "must be true or false";
    case "accept_or_decline":
    case "select":
      if (options === null) return typeof value === "string" ? null : "must be text";
      return typeof value === "string" && options.includes(value)
        ? null
        : `must be one of ${options.join(", ")}`;
    case "multiselect": {
      const isList = Array.isArray(value) && value.every((item) => typeof item === "string");
      if (!isList) return "must be a list of texts";
      const known = options === null ? null : new Set<Json>(options);
      const isKnown = known === null || value.every((item) => known.has(item));
      return isKnown
        ? boundError(field, value.length, " options")
        : `must be a list of ${(options ?? []).join(", ")}`;
    }
    default:
      if (!TEXT_TYPES.has(type)) return null;
      if (typeof value !== "string") return "must be text";
      return (
        formatError(type, value) ?? boundError(field, value.length, " characters") ?? misfit(field, value)
      );
  }
}

function boundError({ min, max }: FormField, size: number, unit: string): string | null {
  if (min !== undefined && size < min) return `must be at least ${min}${unit}`;
  return max !== undefined && size > max ? `must be at most ${max}${unit}` : null;
}

function misfit({ pattern }: FormField, value: string): string | null {
  return pattern === undefined || fitsPattern(pattern, value) ? null : `must fit the pattern ${pattern}`;
}

/** @param value no number; an integer beyond 2^53 comes as the text of its digits */
function numberError(value: Json, what: string): string {
  return `must be ${what}${isLongInteger(value) ? " up to 2^53, beyond which digits are lost" : ""}`;
}

const FORMATS: { [type: string]: { schema: z.ZodType; message: string } } = {
  email: { schema: z.email(), message: "must be an email address" },
  url: { schema: z.url({ protocol: /^https?$/ }), message: "must be an http or https URL" },
  uri: { schema: z.url(), message: "must be a URI with its scheme, such as mailto:ann@example.com" },
  date: { schema: z.iso.date(), message: "must be a date such as 2026-06-04" },
  datetime: {
    schema: z.iso.datetime({ offset: true, local: true }),
    message: "must be a time such as 2026-06-04T09:15:30Z",
  },
};

function formatError(type: string, value: string): string | null {
  const format = Object.hasOwn(FORMATS, type) ? FORMATS[type] : undefined;
  return format === undefined || format.schema.safeParse(value).success ? null : format.message;
}
