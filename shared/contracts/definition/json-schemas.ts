import { z } from "zod";
import { AgentDocument } from "./agent.ts";
import { fieldClasses } from "./field-classes.ts";
import { nullMeanings } from "./fields.ts";
import { OrchestrationDocument } from "./orchestration.ts";
import { stepSchemas } from "./step.ts";
import { toolSchemas } from "./tool.ts";
import type { FieldClass } from "./field-classes.ts";

type Schema = Record<string, unknown>;

/** Writes every part of a schema in its place, without references to components, and what null means there. */
const OPTIONS = {
  io: "input",
  unrepresentable: "any",
  metadata: z.registry<{ id?: string }>(),
  override({
    zodSchema,
    jsonSchema,
  }: {
    zodSchema: z.core.$ZodType;
    jsonSchema: z.core.JSONSchema.BaseSchema;
  }) {
    const meaning = nullMeanings.get(zodSchema)?.nullMeans;
    if (meaning === "end") jsonSchema.description = "With null or an empty text the run ends there";
    if (meaning === "absent") jsonSchema.description = "Null and an empty text mean that it is not set";
    if (meaning !== "default" || !z.safeParse(zodSchema, null).success) return;
    const { default: value, ...given } = jsonSchema;
    for (const key of Object.keys(given)) delete jsonSchema[key];
    Object.assign(jsonSchema, { anyOf: [given, { type: "null" }], description: "Null means the default" });
    if (value !== undefined) jsonSchema.default = value;
  },
} as const;

const refTo = (name: string) => ({ $ref: `#/components/schemas/${name}` });

/**
 * The JSON schemas of definitions as a request may hold them, for the API's document: each type of step and tool is a
 * component of its own. A definition's id stands in the path, so its body may leave it out. Null means the default.
 */
export function definitionSchemas(): { [name: string]: Schema } {
  const steps = byType(stepSchemas, "Step");
  const tools = byType(toolSchemas, "Tool");
  const orchestration = schemaOf(OrchestrationDocument, "id", fieldClasses.orchestration);
  const properties = z.record(z.string(), z.unknown()).parse(orchestration["properties"]);
  return {
    ...steps.each,
    ...tools.each,
    Step: steps.union("type"),
    Tool: tools.union("tool_type"),
    Agent: schemaOf(AgentDocument, "id", fieldClasses.agent),
    Orchestration: {
      ...orchestration,
      properties: { ...properties, steps: { type: "array", minItems: 1, items: refTo("Step") } },
    },
  };
}

/** A component for each type, and their union. The field `propertyName` of `union` has the name of the type. */
function byType(schemas: { [type: string]: z.ZodType }, ending: string) {
  const nameOf = (type: string) =>
    type.replaceAll(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase()) + ending;
  const types = Object.keys(schemas);
  const [idField, classes] =
    ending === "Tool" ? (["name", fieldClasses.tool] as const) : ([null, fieldClasses.step] as const);
  return {
    each: Object.fromEntries(types.map((type) => [nameOf(type), schemaOf(schemas[type], idField, classes)])),
    union: (propertyName: string): Schema => ({
      oneOf: types.map((type) => refTo(nameOf(type))),
      discriminator: {
        propertyName,
        mapping: Object.fromEntries(types.map((type) => [type, refTo(nameOf(type)).$ref])),
      },
    }),
  };
}

function schemaOf(
  schema: z.ZodType | undefined,
  idField: string | null,
  classes: { readonly [field: string]: FieldClass },
): Schema {
  if (schema === undefined) return {};
  const { $schema: _, required, properties = {}, ...json } = z.toJSONSchema(schema, OPTIONS);
  const later = Object.keys(classes).filter((name) => typeof classes[name] === "object");
  return {
    ...json,
    ...(later.length > 0 && {
      description: `Not built yet, and refused with not_yet unless empty or without effect: ${later.join(", ")}`,
    }),
    properties: Object.fromEntries(
      Object.entries(properties).map(([name, field]) => [
        name,
        classes[name] === "kept" && typeof field === "object" ? { ...field, description: KEPT } : field,
      ]),
    ),
    required: (required ?? []).filter((name) => name !== idField),
  };
}

const KEPT = "For editors and people: kept, and given back as it was saved. No run reads it";
