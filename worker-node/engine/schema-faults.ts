/** The parts of a schema's check that look at one value alone, and the sentences of faults. */
import { isLongInteger } from "../../shared/contracts/long-integers.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

export function ofNumber(value: number, schema: JsonObject, at: string): string[] {
  const { minimum, maximum, exclusiveMinimum: above, exclusiveMaximum: under, multipleOf: unit } = schema;
  const faults = between(value, minimum, maximum, `${name(at)} is ${value}`);
  if (typeof above === "number" && value <= above) faults.push(`${name(at)} must be greater than ${above}`);
  if (typeof under === "number" && value >= under) faults.push(`${name(at)} must be less than ${under}`);
  if (typeof unit === "number" && unit > 0 && !isMultiple(value, unit))
    faults.push(`${name(at)} must be a multiple of ${unit}`);
  return faults;
}

/** With decimals a quotient such as 0.3 / 0.1 is not quite a whole number. */
function isMultiple(value: number, unit: number): boolean {
  const quotient = value / unit;
  return Math.abs(quotient - Math.round(quotient)) <= Math.abs(quotient) * Number.EPSILON * 2;
}

export function between(
  count: number,
  least: Json | undefined,
  most: Json | undefined,
  what: string,
): string[] {
  if (typeof least === "number" && count < least) return [`${what}, and the least is ${least}`];
  return typeof most === "number" && count > most ? [`${what}, and the most is ${most}`] : [];
}

export function nearest(tried: readonly string[][]): string {
  const [closest = []] = tried.toSorted((a, b) => a.length - b.length);
  return `fits none of ${tried.length} forms: in the nearest, ${closest[0] ?? "nothing is allowed"}`;
}

export function hasType(value: Json, type: string): boolean {
  if (type === "integer") return isLongInteger(value) || Number.isInteger(value);
  if (type === "number") return isLongInteger(value) || typeof value === "number";
  return typeOf(value) === type;
}

export function typeOf(value: Json): string {
  return value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
}

export const name = (at: string): string => (at === "" ? "the answer" : at);
export const below = (at: string, field: string): string => (at === "" ? field : `${at}.${field}`);
