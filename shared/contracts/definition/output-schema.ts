import { isObject } from "../json.ts";
import { likelyName } from "../../text/nearest-name.ts";
import { argumentSchemaOf, INNER } from "./tool-schema.ts";
import { innerSchemas, schemaErrors, topErrors } from "./tool-schema-errors.ts";
import type { FieldError } from "../../errors.ts";
import type { Json, JsonObject } from "../json.ts";
import type { OrchestrationDocument } from "./orchestration.ts";

/** The tool by which a model gives an answer of a schema. */
export const ANSWER_TOOL = "final_answer";

/** The one argument that holds an answer which is no object, or which cannot be the arguments as a whole. */
const VALUE = "value";

/** Keywords that a worker does not check. A schema with one of them would promise more than the run keeps. */
const UNCHECKED: { [keyword: string]: string } = {
  unevaluatedProperties: "use additionalProperties",
  unevaluatedItems: "use prefixItems and items",
  dependencies: "use dependentRequired or dependentSchemas",
  $dynamicRef: "use $ref",
  $recursiveRef: "use $ref",
};

/** The keywords of JSON Schema, of all its drafts and of OpenAPI. Others are annotations of the schema's author. */
const KEYWORDS: ReadonlySet<string> = new Set([
  ...INNER.one,
  ...INNER.list,
  ...INNER.table,
  ...Object.keys(UNCHECKED),
  ...`$schema $id id $ref $anchor $comment $vocabulary type enum const format title description
default example examples deprecated readOnly writeOnly nullable minimum maximum exclusiveMinimum
exclusiveMaximum multipleOf minLength maxLength pattern minItems maxItems uniqueItems
minContains maxContains additionalItems minProperties maxProperties required dependentRequired
propertyOrdering propertyOrder comment discriminator contentEncoding contentMediaType contentSchema externalDocs xml
$dynamicAnchor`.split(/\s/),
]);
/** Short keywords are near to too many words. */
const MISSPELT = [...KEYWORDS].filter((keyword) => keyword.length > 3);
const ALIASES: ReadonlyMap<string, string> = new Map([
  ["min", "minimum"],
  ["max", "maximum"],
  ["regex", "pattern"],
]);

/**
 * What makes an `output_schema` unusable: errors of the schema, keywords that are not checked or that are misspelt, patterns that no
 * engine reads.
 */
export function outputSchemaErrors({ steps }: Pick<OrchestrationDocument, "steps">): FieldError[] {
  const meant = meantKeywords();
  return steps.flatMap((step, i) => {
    if ((step.type !== "agent" && step.type !== "llm") || step.output_schema === null) return [];
    const at = `steps[${i}].output_schema`;
    const errors = schemaErrors(step.output_schema, at);
    // The walk over a broken schema could report it twice.
    return errors.length > 0 ? errors : keywordErrors(step.output_schema, at, meant);
  });
}

/** So many names that are no keywords are compared with all keywords: a schema may have thousands, and each costs 50 us. */
const MAX_COMPARED = 100;

type MeantKeyword = (written: string) => string | null;

/** Finds the keyword that a name means, for the first names of a definition; null: none is like it. */
function meantKeywords(): MeantKeyword {
  const found = new Map<string, string | null>();
  return (written) => {
    const known = ALIASES.get(written) ?? found.get(written);
    if (known !== undefined || found.size >= MAX_COMPARED) return known ?? null;
    const meant = likelyName(written, MISSPELT);
    found.set(written, meant);
    return meant;
  };
}

function keywordErrors(schema: Json, at: string, meantBy: MeantKeyword): FieldError[] {
  if (!isObject(schema)) return [];
  const unchecked = Object.entries(UNCHECKED).flatMap(([keyword, instead]) =>
    Object.hasOwn(schema, keyword)
      ? [{ path: `${at}.${keyword}`, message: `is not checked here: ${instead}` }]
      : [],
  );
  const misspelt = Object.keys(schema).flatMap((written) => {
    if (KEYWORDS.has(written)) return [];
    const meant = meantBy(written);
    const message = `is no keyword of JSON Schema: did you mean "${meant}"?`;
    return meant === null ? [] : [{ path: `${at}.${written}`, message }];
  });
  const { pattern, patternProperties } = schema;
  const patterns = [
    ...(typeof pattern === "string" ? [[pattern, `${at}.pattern`] as const] : []),
    ...(isObject(patternProperties)
      ? Object.keys(patternProperties).map((key) => [key, `${at}.patternProperties.${key}`] as const)
      : []),
  ];
  const unreadable = patterns
    .filter(([text]) => !isPattern(text))
    .map(([, path]) => ({ path, message: "is no regular expression of JavaScript" }));
  const inside = innerSchemas(schema, at).flatMap(([inner, path]) => keywordErrors(inner, path, meantBy));
  return [...unchecked, ...misspelt, ...unreadable, ...inside];
}

function isPattern(text: string): boolean {
  try {
    return new RegExp(text, "u").unicode;
  } catch {
    return false;
  }
}

/**
 * An `output_schema` as the arguments of the tool by which a model answers, in the form that all providers take. `isInside`:
 * the answer is the value of the one argument `value`, because the schema is of another type, or has at its top what
 * providers refuse there.
 */
export function answerArguments(schema: JsonObject): { parameters: JsonObject; isInside: boolean } {
  const isPlain =
    schema["type"] === "object" && schema["$ref"] === undefined && topErrors(schema, "").length === 0;
  const { $defs, definitions, ...rest } = schema;
  const wrapped = {
    type: "object",
    properties: { [VALUE]: movedRefs(rest) },
    required: [VALUE],
    additionalProperties: false,
    ...($defs !== undefined && { $defs: movedRefs($defs) }),
    ...(definitions !== undefined && { definitions: movedRefs(definitions) }),
  };
  const result = argumentSchemaOf(isPlain ? schema : wrapped);
  return { parameters: "schema" in result ? result.schema : wrapped, isInside: !isPlain };
}

/** References to parts of a schema that has moved into the property `value`. Its definitions have stayed at the top. */
function movedRefs(schema: Json): Json {
  if (Array.isArray(schema)) return schema.map(movedRefs);
  if (!isObject(schema)) return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) =>
      key === "$ref" && typeof value === "string" ? [key, movedRef(value)] : [key, movedRefs(value)],
    ),
  );
}

function movedRef(ref: string): string {
  return /^#\/(?:\$defs|definitions)\//.test(ref) ? ref : ref.replace(/^#/, `#/properties/${VALUE}`);
}
