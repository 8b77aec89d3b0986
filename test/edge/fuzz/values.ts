/** Values made from schemas: valid ones, ones with a single fault, and hostile ones. */
import fc from "fast-check";
import type { Arbitrary } from "fast-check";
import { z } from "zod";
import type { Schema } from "./document.ts";

const MAX_DEPTH = 5;
const MAX_ITEMS = 4;

/** Texts that break readers: control characters, halves of pairs, names of JavaScript, SQL, paths, templates, lengths. */
const HOSTILE_TEXTS = [
  "",
  " ",
  "\u0000",
  "a\u0000b",
  "\ud800",
  "\u202e\ufeff",
  "__proto__",
  "constructor",
  "' or 1=1; --",
  "%00",
  "../../etc/passwd",
  "{state.user_input}",
  "{{7*7}}",
  "NaN",
  "-1",
  "1e400",
  "null",
  "x".repeat(5_000),
  "😀".repeat(70),
  "https://a:b@example.com/",
  "http://169.254.169.254/",
  "2026-02-30T00:00:00Z",
  "+275760-09-13T00:00:00.001Z",
];

export const hostileText = fc.constantFrom(...HOSTILE_TEXTS);

const hostile: Arbitrary<unknown> = fc.oneof(
  hostileText,
  fc.constantFrom(null, true, -1, 0, 1.5, -0, 2 ** 31, 2 ** 53, -(2 ** 63), 1e308, 5e-324),
  fc.constantFrom([], {}, [null], [[]], { $ref: "#/x" }, JSON.parse('{"__proto__":1}')),
  fc.jsonValue({ maxDepth: 3 }),
);

const Types = z.union([z.string().transform((type) => [type]), z.array(z.string())]).catch([]);
const Schemas = z.array(z.record(z.string(), z.unknown())).catch([]);
const Properties = z.record(z.string(), z.record(z.string(), z.unknown())).catch({});
const Values = z.array(z.unknown()).catch([]);
const Count = z.number().optional().catch(undefined);
const Text = z.string().optional().catch(undefined);

export function valueOf(schema: Schema, schemas: Record<string, Schema>, depth = 0): Arbitrary<unknown> {
  const valueOfInner = (inner: Schema) => valueOf(inner, schemas, depth + 1);
  const ref = Text.parse(schema["$ref"]);
  if (ref !== undefined) return valueOfInner(schemas[ref.split("/").at(-1) ?? ""] ?? {});
  if (schema["const"] !== undefined) return fc.constant(schema["const"]);
  const allowed = Values.parse(schema["enum"]);
  if (allowed.length > 0) return fc.constantFrom(...allowed);
  const branches = [...Schemas.parse(schema["anyOf"]), ...Schemas.parse(schema["oneOf"])];
  if (branches.length > 0)
    return depth > MAX_DEPTH ? valueOfInner(branches[0] ?? {}) : fc.oneof(...branches.map(valueOfInner));
  const [type] = [Types.parse(schema["type"])];
  return fc.oneof(
    ...(type.length === 0 ? ["any"] : type).map((each) => valueOfType(each, schema, valueOfInner, depth)),
  );
}

function valueOfType(
  type: string,
  schema: Schema,
  valueOfInner: (schema: Schema) => Arbitrary<unknown>,
  depth: number,
): Arbitrary<unknown> {
  switch (type) {
    case "string":
      return textOf(schema);
    case "integer":
      return fc.oneof(
        fc.integer({ min: lowest(schema), max: highest(schema) }),
        fc.constantFrom(lowest(schema), highest(schema)),
      );
    case "number":
      return fc.double({ min: lowest(schema), max: highest(schema), noNaN: true });
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    case "array": {
      const least = Count.parse(schema["minItems"]) ?? 0;
      const most =
        depth > MAX_DEPTH ? least : Math.min(Count.parse(schema["maxItems"]) ?? MAX_ITEMS, MAX_ITEMS);
      const items = z.record(z.string(), z.unknown()).catch({}).parse(schema["items"]);
      return fc.array(valueOfInner(items), { minLength: least, maxLength: Math.max(least, most) });
    }
    case "object":
      return objectOf(schema, valueOfInner, depth);
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

function objectOf(
  schema: Schema,
  valueOfInner: (schema: Schema) => Arbitrary<unknown>,
  depth: number,
): Arbitrary<unknown> {
  const properties = Properties.parse(schema["properties"]);
  const names = Object.keys(properties);
  if (names.length === 0)
    return fc.dictionary(fc.string({ maxLength: 8 }), fc.jsonValue({ maxDepth: 1 }), { maxKeys: 3 });
  const required = z.array(z.string()).catch([]).parse(schema["required"]);
  const included = depth > MAX_DEPTH ? names.filter((name) => required.includes(name)) : names;
  const record = Object.fromEntries(included.map((name) => [name, valueOfInner(properties[name] ?? {})]));
  return fc.record(record, { requiredKeys: included.filter((name) => required.includes(name)) });
}

function textOf(schema: Schema): Arbitrary<string> {
  const { pattern, format } = z.object({ pattern: Text, format: Text }).parse(schema);
  if (format === "date-time")
    return fc
      .date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) })
      .map((date) => date.toISOString());
  if (format === "date")
    return fc
      .date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) })
      .map((date) => date.toISOString().slice(0, 10));
  const maxLength = Math.min(Count.parse(schema["maxLength"]) ?? 40, 40);
  if (pattern !== undefined)
    return fc
      .stringMatching(new RegExp(pattern))
      .map((text) => text.slice(0, Count.parse(schema["maxLength"])));
  return fc.string({
    minLength: Math.min(Count.parse(schema["minLength"]) ?? 0, maxLength),
    maxLength,
    unit: "grapheme",
  });
}

const lowest = (schema: Schema) =>
  Count.parse(schema["minimum"]) ?? (Count.parse(schema["exclusiveMinimum"]) ?? -(2 ** 31) - 1) + 1;
const highest = (schema: Schema) => Math.min(Count.parse(schema["maximum"]) ?? 2 ** 31 - 1, 2 ** 31 - 1);

/** The value with a single fault: one of its parts is replaced by something hostile, removed, or added. */
export function withFault(valid: Arbitrary<unknown>): Arbitrary<unknown> {
  return fc
    .tuple(
      valid,
      fc.array(fc.nat(), { minLength: 1, maxLength: 4 }),
      hostile,
      fc.constantFrom("set", "remove", "add"),
    )
    .map(([value, path, replacement, change]) => faulty(value, path, replacement, change));
}

function faulty(
  value: unknown,
  [at = 0, ...rest]: readonly number[],
  replacement: unknown,
  change: "set" | "remove" | "add",
): unknown {
  if (typeof value !== "object" || value === null) return replacement;
  const entries = Object.entries(value);
  if (change === "add" && rest.length === 0) entries.push([`x${at % 3}`, replacement]);
  const index = at % Math.max(entries.length, 1);
  const [name, inner] = entries[index] ?? ["x", null];
  const isDeeper = rest.length > 0 && typeof inner === "object" && inner !== null;
  if (change === "remove" && !isDeeper) entries.splice(index, 1);
  else if (change === "set" || isDeeper)
    entries[index] = [name, isDeeper ? faulty(inner, rest, replacement, change) : replacement];
  return Array.isArray(value) ? entries.map(([, item]) => item) : Object.fromEntries(entries);
}
