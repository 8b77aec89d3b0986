import { targetOf } from "../../shared/contracts/definition/index.ts";
import { isObject, listOf, objectOf } from "../../shared/contracts/json.ts";
import {
  between,
  hasType,
  nearest,
  numberFaults,
  pathOf,
  subjectOf,
  typeOf,
  typesIn,
} from "./schema-faults.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

/** Whether a text fits a pattern. */
export type Matches = (pattern: string, text: string) => boolean;

/**
 * The most units of work of a check: a schema may refer to itself and fork at each level. The check of an honest answer takes a few
 * thousand.
 */
const MAX_WORK = 40_000;
const MAX_DEPTH = 400;
const MAX_ERRORS = 5;
const CHARS_OF_UNIT = 1_000;
const UNITS_OF_QUOTE = 100;

/** A value cannot be checked against a schema within the bounds of a check. */
export class SchemaTooComplex extends Error {}

/**
 * What is wrong with a value by a JSON Schema 2020-12, as sentences for a model; none: it fits. All keywords are checked but
 * `format` and the other annotations, and those that `outputSchemaErrors` refuses. A library is not used, because a tenant's
 * schema may take a validator's time without end: here each check counts, and the caller reads the patterns.
 * @throws SchemaTooComplex after 40,000 units of work, or at a depth of 400
 */
export function schemaFaults(value: Json, schema: Json, matches: Matches): string[] {
  return new SchemaCheck(schema, matches).faults(value, schema, "", 0).slice(0, MAX_ERRORS);
}

class SchemaCheck {
  readonly #root: JsonObject;
  readonly #matches: Matches;
  /** The values of each `enum`, by its schema. */
  readonly #choices = new Map<JsonObject, ReadonlySet<string>>();
  #work = 0;

  constructor(root: Json, matches: Matches) {
    this.#root = isObject(root) ? root : {};
    this.#matches = matches;
  }

  faults(value: Json, schema: Json | undefined, at: string, depth: number): string[] {
    this.#spend(1);
    if (depth > MAX_DEPTH) throw new SchemaTooComplex();
    if (schema === false) return [`${subjectOf(at)} must be absent`];
    if (!isObject(schema)) return [];
    const inner = (schemaOf: Json | undefined, valueOf = value, path = at): string[] =>
      this.faults(valueOf, schemaOf, path, depth + 1);
    const { $ref } = schema;
    if ($ref !== undefined) this.#spend(2);
    return [
      ...(typeof $ref === "string" ? inner(targetOf(this.#root, $ref)) : []),
      ...this.#ofValue(value, schema, at),
      ...this.#ofForms(schema, at, inner),
      ...(typeof value === "string" ? this.#ofText(value, schema, at) : []),
      ...(typeof value === "number" ? numberFaults(value, schema, at) : []),
      ...(Array.isArray(value) ? this.#ofList(value, schema, at, inner) : []),
      ...(isObject(value) ? this.#ofObject(value, schema, at, inner) : []),
    ];
  }

  #ofForms(schema: JsonObject, at: string, inner: Inner): string[] {
    const { allOf, anyOf, oneOf, not } = schema;
    const faults = listOf(allOf).flatMap((form) => inner(form));
    if (Array.isArray(anyOf)) {
      const tried = anyOf.map((form) => inner(form));
      if (tried.every((found) => found.length > 0)) faults.push(`${subjectOf(at)} ${nearest(tried)}`);
    }
    if (Array.isArray(oneOf)) {
      const tried = oneOf.map((form) => inner(form));
      const fitting = tried.filter((found) => found.length === 0).length;
      if (fitting === 0) faults.push(`${subjectOf(at)} ${nearest(tried)}`);
      if (fitting > 1) faults.push(`${subjectOf(at)} must fit one form of oneOf, and fits ${fitting}`);
    }
    if (not !== undefined && inner(not).length === 0)
      faults.push(`${subjectOf(at)} must not fit ${this.#brief(not)}`);
    if (schema["if"] !== undefined) {
      const branch = inner(schema["if"]).length === 0 ? schema["then"] : schema["else"];
      faults.push(...inner(branch));
    }
    return faults;
  }

  #ofText(value: string, { minLength, maxLength, pattern }: JsonObject, at: string): string[] {
    this.#spend(value.length / CHARS_OF_UNIT);
    // JSON Schema counts a character outside of the basic plane as one.
    const length = value.length - (value.match(/[\uD800-\uDBFF][\uDC00-\uDFFF]/g)?.length ?? 0);
    return [
      ...between(length, minLength, maxLength, `${subjectOf(at)} has ${length} characters`),
      ...(typeof pattern === "string" && !this.#matches(pattern, value)
        ? [`${subjectOf(at)} must match the pattern ${this.#brief(pattern)}`]
        : []),
    ];
  }

  #ofList(value: Json[], schema: JsonObject, at: string, inner: Inner): string[] {
    const { items, contains, uniqueItems, minItems, maxItems, minContains = 1, maxContains } = schema;
    const prefix = listOf(schema["prefixItems"]);
    const faults = between(value.length, minItems, maxItems, `${subjectOf(at)} has ${value.length} items`);
    for (const [i, item] of value.entries()) {
      faults.push(...inner(i < prefix.length ? prefix[i] : items, item, `${at}[${i}]`));
    }
    if (contains !== undefined) {
      const count = value.filter((item) => inner(contains, item).length === 0).length;
      const what = `${subjectOf(at)} has ${count} items that fit ${this.#brief(contains)}`;
      faults.push(...between(count, minContains, maxContains, what));
    }
    if (uniqueItems === true && new Set(value.map((item) => this.#canonical(item))).size < value.length) {
      faults.push(`${subjectOf(at)} has equal items`);
    }
    return faults;
  }

  #ofObject(value: JsonObject, schema: JsonObject, at: string, inner: Inner): string[] {
    const { minProperties, maxProperties, propertyNames, additionalProperties } = schema;
    const names = Object.keys(value);
    const properties = objectOf(schema["properties"]);
    const patterns = this.#entries(schema["patternProperties"]);
    const neededNames = this.#entries(schema["dependentRequired"]);
    const neededForms = this.#entries(schema["dependentSchemas"]);
    const faults = between(
      names.length,
      minProperties,
      maxProperties,
      `${subjectOf(at)} has ${names.length} fields`,
    );
    const demand = (required: Json | undefined): void => {
      const fields = listOf(required);
      this.#spend(fields.length);
      for (const field of fields) {
        if (typeof field === "string" && !Object.hasOwn(value, field))
          faults.push(`${subjectOf(pathOf(at, field))} is missing`);
      }
    };
    demand(schema["required"]);
    for (const [field, required] of neededNames) {
      if (Object.hasOwn(value, field)) demand(required);
    }
    for (const [field, form] of neededForms) {
      if (Object.hasOwn(value, field)) faults.push(...inner(form));
    }
    for (const [field, item] of Object.entries(value)) {
      const path = pathOf(at, field);
      this.#spend(patterns.length * (1 + field.length / CHARS_OF_UNIT));
      const own = Object.hasOwn(properties, field);
      const fitting = patterns.filter(([pattern]) => this.#matches(pattern, field));
      if (own) faults.push(...inner(properties[field], item, path));
      for (const [, form] of fitting) faults.push(...inner(form, item, path));
      if (!own && fitting.length === 0) faults.push(...inner(additionalProperties, item, path));
      if (propertyNames !== undefined && inner(propertyNames, field).length > 0)
        faults.push(`${subjectOf(path)} has a name that does not fit ${this.#brief(propertyNames)}`);
    }
    return faults;
  }

  /** The entries of a table of the schema, which each object of a list goes through. */
  #entries(table: Json | undefined): [string, Json][] {
    const entries = Object.entries(objectOf(table));
    this.#spend(entries.length / 10);
    return entries;
  }

  #ofValue(value: Json, schema: JsonObject, at: string): string[] {
    const types = typesIn(schema);
    const mayBeNull = value === null && schema["nullable"] === true;
    if (types.length > 0 && !mayBeNull && !types.some((type) => hasType(value, type)))
      return [`${subjectOf(at)} must be of type ${types.join(" or ")}, and is ${typeOf(value)}`];
    const faults: string[] = [];
    const { enum: choices, const: only } = schema;
    if (Array.isArray(choices)) {
      const known = this.#choices.get(schema) ?? new Set(choices.map((choice) => this.#canonical(choice)));
      this.#choices.set(schema, known);
      if (!known.has(this.#canonical(value)))
        faults.push(`${subjectOf(at)} must be one of ${this.#brief(choices)}`);
    }
    if (only !== undefined && this.#canonical(only) !== this.#canonical(value))
      faults.push(`${subjectOf(at)} must be ${this.#brief(only)}`);
    return faults;
  }

  /** The JSON of a value with its fields in order: equal values have equal texts. */
  #canonical(value: Json): string {
    this.#spend(typeof value === "string" ? 1 + value.length / CHARS_OF_UNIT : 1);
    if (Array.isArray(value)) return `[${value.map((item) => this.#canonical(item)).join()}]`;
    if (!isObject(value)) return JSON.stringify(value);
    const fields = Object.keys(value).toSorted();
    return `{${fields.map((field) => `${JSON.stringify(field)}:${this.#canonical(value[field] ?? null)}`).join()}}`;
  }

  /** A part of a schema, for a sentence. Its text may be long, so it costs many units. */
  #brief(value: Json): string {
    this.#spend(UNITS_OF_QUOTE);
    return JSON.stringify(value).slice(0, 200);
  }

  #spend(units: number): void {
    this.#work += units;
    if (this.#work > MAX_WORK) throw new SchemaTooComplex();
  }
}

type Inner = (schema: Json | undefined, value?: Json, path?: string) => string[];
