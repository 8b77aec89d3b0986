/** The parts of a schema's check that look at one value alone, and the sentences of faults. */
import { isLongInteger } from "../../shared/contracts/long-integers.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

/** What is wrong with a number by the keywords of numbers. `at`: its path in the answer. */
export function numberFaults(value: number, schema: JsonObject, at: string): string[] {
  const { minimum, maximum, exclusiveMinimum: above, exclusiveMaximum: under, multipleOf: unit } = schema;
  const faults = between(value, minimum, maximum, `${subjectOf(at)} is ${value}`);
  if (typeof above === "number" && value <= above)
    faults.push(`${subjectOf(at)} must be greater than ${above}`);
  if (typeof under === "number" && value >= under) faults.push(`${subjectOf(at)} must be less than ${under}`);
  if (typeof unit === "number" && unit > 0 && !isMultiple(value, unit))
    faults.push(`${subjectOf(at)} must be a multiple of ${unit}`);
  return faults;
}

/** With decimals a quotient such as 0.3 / 0.1 is not quite a whole number. */
function isMultiple(value: number, unit: number): boolean {
  const quotient = value / unit;
  return Math.abs(quotient - Math.round(quotient)) <= Math.abs(quotient) * Number.EPSILON * 2;
}

/** The fault of a count outside of its bounds, as a list of one sentence or none. `what`: the beginning of the sentence. */
export function between(
  count: number,
  least: Json | undefined,
  most: Json | undefined,
  what: string,
): string[] {
  if (typeof least === "number" && count < least) return [`${what}, and the least is ${least}`];
  return typeof most === "number" && count > most ? [`${what}, and the most is ${most}`] : [];
}

/** A part of a sentence about a value that fits no form: the first fault of the form with the fewest. `tried`: the faults of each form. */
export function nearest(tried: readonly string[][]): string {
  const [closest = []] = tried.toSorted((a, b) => a.length - b.length);
  return `fits none of ${tried.length} forms: in the nearest, ${closest[0] ?? "nothing is allowed"}`;
}

/** Whether a value has a type of JSON Schema. An integer beyond 2^53, which is a text of its digits, has the types of numbers. */
export function hasType(value: Json, type: string): boolean {
  if (type === "integer") return isLongInteger(value) || Number.isInteger(value);
  if (type === "number") return isLongInteger(value) || typeof value === "number";
  return typeOf(value) === type;
}

/** The types that a schema names; none: it takes any. */
export function typesIn({ type }: JsonObject): readonly string[] {
  if (!Array.isArray(type)) return typeof type === "string" ? [type] : [];
  const known = typesOfLists.get(type) ?? [...new Set(type.filter((each) => typeof each === "string"))];
  typesOfLists.set(type, known);
  return known;
}

const typesOfLists = new WeakMap<Json[], readonly string[]>();

/** The type of a value, as JSON Schema names it. */
export function typeOf(value: Json): string {
  return value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
}

/** The subject of a sentence about the value at a path; empty: the whole answer. */
export const subjectOf = (at: string): string => (at === "" ? "the answer" : at);
/** The path of a field of the value at `at`. */
export const pathOf = (at: string, field: string): string => (at === "" ? field : `${at}.${field}`);
