import { z } from "zod";
import { likelyName } from "../text/nearest-name.ts";

/**
 * Gives all schemas these sentences where they have none of their own. Zod's sentences speak of its types ("expected
 * nonoptional, received undefined"); these say what would be right.
 */
export function useSentences(): void {
  z.config({ customError: sentenceOf });
}

const TYPES: { readonly [type: string]: string } = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "an object",
  record: "an object",
};

const TIME = "must be a time such as 2026-06-04T09:15:30Z";

function sentenceOf(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case "invalid_type": {
      if (issue.input === undefined) return "is required";
      if (issue.inst instanceof z.ZodISODateTime) return TIME;
      const type = TYPES[issue.expected];
      return type === undefined ? undefined : `must be ${type}`;
    }
    case "too_small":
      return `must ${bound(issue.origin, "least", issue.minimum, issue.inclusive === false)}`;
    case "too_big":
      return `must ${bound(issue.origin, "most", issue.maximum, issue.inclusive === false)}`;
    case "invalid_value":
      return oneOf(issue.input, issue.values.map(String));
    case "invalid_union":
      return unionSentence(issue);
    case "invalid_key":
      return `is no name for a key: it ${issue.issues[0]?.message ?? "has another form"}`;
    case "invalid_format":
      if (issue.format === "date") return "must be a date such as 2026-06-04";
      return issue.format === "datetime" ? TIME : undefined;
    default:
      return undefined;
  }
}

/** The sentence for a union: one by the value of a field, such as the `type` of a step, names the values; any other has its first option's. */
function unionSentence({ discriminator, options, input, errors }: z.core.$ZodRawIssue): string | undefined {
  if (typeof discriminator !== "string" || !Array.isArray(options))
    return FirstSentence.safeParse(errors).data;
  const value =
    typeof input === "object" && input !== null ? new Map(Object.entries(input)).get(discriminator) : input;
  return oneOf(value, options.map(String));
}

/** The message of the first option's issue, if it is about the value itself: one about a part of it would be shown as one about the whole. */
const FirstSentence = z
  .tuple([z.tuple([z.object({ message: z.string(), path: z.tuple([]) })]).rest(z.unknown())])
  .rest(z.unknown())
  .transform(([[{ message }]]) => message);

function oneOf(value: unknown, values: readonly string[]): string {
  if (value === undefined || value === null) return `is required: one of ${values.join(", ")}`;
  const nearest = typeof value === "string" ? likelyName(value, values) : null;
  return nearest === null
    ? `must be one of ${values.join(", ")}`
    : `must be one of ${values.join(", ")}: did you mean "${nearest}"?`;
}

function bound(origin: string, side: "least" | "most", limit: number | bigint, isOpen: boolean): string {
  if (side === "least" && limit === 1 && (origin === "string" || origin === "array")) return "not be empty";
  if (origin === "string") return `have at ${side} ${limit} characters`;
  if (origin === "array" || origin === "set") return `have at ${side} ${limit} items`;
  if (isOpen) return `be ${side === "least" ? "above" : "below"} ${limit}`;
  return `be at ${side} ${limit}`;
}
